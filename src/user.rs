//! `moqswitch user`: what a file of users needs.
#![forbid(unsafe_code)]

use std::io::{self, IsTerminal, Read, Write};

use anyhow::Context;
use moqswitch_signalling::User;
use moqswitch_signalling::calls::Number;
use moqswitch_signalling::sip::digest::{Algorithm, Ha1};

use crate::config::UserAction;
use crate::{generate, limits};

/// Does what is asked for.
pub fn run(action: UserAction) -> anyhow::Result<()> {
    match action {
        UserAction::Hash { sip, realm } => {
            if io::stdin().is_terminal() {
                // What is typed is seen; whoever minds gives it by a file or a pipe.
                write!(io::stderr(), "password: ")?;
            }
            let password = read_password()?;
            let hash = User::hash(&password).context("the password")?;
            let lines = match sip {
                None => format!("{hash}\n"),
                Some(number) => lines_of(&number, &realm, &password, &hash)?,
            };
            generate::print(lines.as_bytes())?;
        }
    }
    Ok(())
}

/// For a file of users.
fn lines_of(number: &str, realm: &str, password: &str, hash: &str) -> anyhow::Result<String> {
    let number = Number::new(number).context("the number")?;
    let of = |algorithm| Ha1::of(algorithm, number.as_str(), realm, password);
    let (md5, sha256) = (of(Algorithm::Md5), of(Algorithm::Sha256));
    Ok(format!(
        "hash = \"{hash}\"\nha1 = \"{}\"\nha1_sha256 = \"{}\"\n",
        md5.hex(),
        sha256.hex()
    ))
}

/// A line. What follows it is not the password.
fn read_password() -> anyhow::Result<String> {
    let mut text = String::new();
    let limit = limits::PASSWORD_INPUT_BYTES_MAX;
    // One byte more than allowed tells a password that is too long.
    let mut input = io::BufReader::new(io::stdin().take(limit + 1));
    io::BufRead::read_line(&mut input, &mut text)?;
    let password = text.trim_end_matches(['\n', '\r']);
    anyhow::ensure!(!password.is_empty(), "there is no password on standard input");
    anyhow::ensure!(text.len() as u64 <= limit, "the password is longer than {limit} bytes");
    Ok(password.to_owned())
}
