//! Shell completions and manual pages, from the definition of a command line; of `moqswitch` and of `loadgen`.
#![forbid(unsafe_code)]

use std::io::{self, Write};

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

/// Writes a script for `shell` to standard output.
pub fn completions(mut command: Command, shell: Shell) -> io::Result<()> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    print(&script)
}

/// Writes the manual page of a program, or of one of its commands, to standard output.
pub fn manual(program: Command, command: Option<&str>) -> io::Result<()> {
    let mut program = program.disable_help_subcommand(true);
    program.build();
    let subject = match command {
        None => &program,
        Some(name) => program
            .find_subcommand(name)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no command `{name}`")))?,
    };
    let mut page = Vec::new();
    Man::new(subject.clone()).render(&mut page)?;
    print(&page)
}

/// Writes to standard output. A reader that has had enough, as `head` has, is no error; a full disk is.
pub fn print(bytes: &[u8]) -> io::Result<()> {
    let mut output = io::stdout().lock();
    match output.write_all(bytes).and_then(|()| output.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}
