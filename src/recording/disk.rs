//! The disk, as far as recordings need it. A test has one of its own.

use std::fs::OpenOptions;
use std::io::{self, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A file that is written.
pub trait Sink: Write + Seek + Send {}

impl<T: Write + Seek + Send> Sink for T {}

/// Where files are made.
pub trait Disk: Send {
    /// A new file, which others may not read. One that is there already is an error.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Sink>>;

    /// Bytes that may still be written below a directory.
    fn free(&self, directory: &Path) -> io::Result<u64>;
}

/// The system's.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalDisk;

impl Disk for LocalDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Sink>> {
        let mut options = OpenOptions::new();
        let file = options.create_new(true).write(true).mode(0o600).open(path)?;
        Ok(Box::new(file))
    }

    fn free(&self, directory: &Path) -> io::Result<u64> {
        let room = rustix::fs::statvfs(directory)?;
        Ok(room.f_bavail.saturating_mul(room.f_frsize))
    }
}
