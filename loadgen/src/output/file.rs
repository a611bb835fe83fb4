//! Where figures go: standard output, whose reader may have had enough, or a file, which is what it was until the new one is
//! whole.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// A file that is being written beside the one that it will replace, or standard output, which `-` stands for.
pub(crate) struct Destination {
    path: PathBuf,
    /// Where it is written until it is whole, and where it goes then. `None`: written in place, as a device or a pipe is.
    beside: Option<Beside>,
    writer: Box<dyn Write + Send>,
}

struct Beside {
    written: PathBuf,
    whole: PathBuf,
}

impl Destination {
    /// Makes sure, rather now than after a run, that it can be written.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let (beside, writer) = open(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            beside,
            writer,
        })
    }

    /// Gives it its name.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        let finished = forgive(self.writer.flush()).and_then(|()| match self.beside.take() {
            Some(Beside { written, whole }) => {
                fs::rename(&written, whole).inspect_err(|_| drop(fs::remove_file(&written)))
            }
            None => Ok(()),
        });
        finished.with_context(|| format!("cannot write {}", self.path.display()))
    }
}

impl Write for Destination {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write_all(bytes).or_else(|error| forgive(Err(error)))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        forgive(self.writer.flush())
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        // It is not whole: the file of before stays.
        if let Some(beside) = &self.beside {
            let _ = fs::remove_file(&beside.written);
        }
    }
}

/// Whether `-` was given, and standard output belongs to the figures.
pub(crate) fn is_standard_output(path: Option<&Path>) -> bool {
    path.is_some_and(|path| path.as_os_str() == "-")
}

/// Writes a whole file.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut destination = Destination::open(path)?;
    destination
        .write_all(bytes)
        .with_context(|| format!("cannot write {}", path.display()))?;
    destination.finish()
}

/// A line for people: on standard output, or beside figures that are there.
pub(crate) fn say(text: &impl std::fmt::Display, is_beside: bool) -> io::Result<()> {
    if is_beside {
        complain(text);
        return Ok(());
    }
    let mut output = io::stdout().lock();
    forgive(writeln!(output, "{text}").and_then(|()| output.flush()))
}

/// A line on standard error. That nobody can be told there is nobody's fault.
pub(crate) fn complain(text: &impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

fn open(path: &Path) -> io::Result<(Option<Beside>, Box<dyn Write + Send>)> {
    if is_standard_output(Some(path)) {
        return Ok((None, Box::new(io::stdout())));
    }
    // What stands behind a symbolic link is replaced, not the link.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(metadata) if !metadata.is_file() => {
            let file = File::options().write(true).open(&path)?;
            Ok((None, Box::new(BufWriter::new(file))))
        }
        known => {
            let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
            name.push(format!(".{}.part", std::process::id()));
            let written = path.with_file_name(name);
            let file = File::create(&written)?;
            // As it was, also in who may read it.
            if let Ok(metadata) = known {
                let _ = file.set_permissions(metadata.permissions());
            }
            Ok((Some(Beside { written, whole: path }), Box::new(BufWriter::new(file))))
        }
    }
}

/// A reader that has had enough, as `head` has, is no error.
fn forgive(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_what_it_was_until_the_new_one_is_whole() {
        let directory = std::env::temp_dir().join(format!("loadgen-file-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let (file, link) = (directory.join("a.json"), directory.join("link.json"));
        write(&file, b"old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let mut destination = Destination::open(&link).unwrap();
        destination.write_all(b"half").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"old");
        drop(destination);
        assert_eq!(fs::read(&file).unwrap(), b"old");
        let mut destination = Destination::open(&link).unwrap();
        destination.write_all(b"whole").unwrap();
        destination.finish().unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"whole");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let left: Vec<_> = fs::read_dir(&directory)
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        assert_eq!(left.len(), 2, "{left:?}");
        // What is no file is not replaced.
        write(Path::new("/dev/null"), b"x").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        let error = Destination::open(&directory.join("nowhere/a.json"))
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains("cannot write") && error.contains("nowhere/a.json"),
            "{error}"
        );
        assert!(Destination::open(&directory).is_err());
        fs::remove_dir_all(directory).unwrap();
    }
}
