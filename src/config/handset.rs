//! The command line of `moqswitch say` and `moqswitch listen`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::PeerUrl;

/// Where a handset finds its relay, and why it believes it.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct RelayArguments {
    /// The relay: moql://host:port/path for raw QUIC, https://host:port/path for WebTransport
    #[arg(long, value_name = "URL", default_value = "moql://127.0.0.1:4443/")]
    pub relay: PeerUrl,
    /// File with the token that is shown to it; a URL with ?jwt= has one already
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// SHA-256 of its certificate, in hexadecimal: that one is taken and no other
    #[arg(long, value_name = "HEX", conflicts_with_all = ["ca", "insecure"])]
    pub certificate_sha256: Option<String>,
    /// PEM file with who may issue its certificate; default: the system's authorities, on loopback anybody
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub ca: Option<PathBuf>,
    /// Take whoever answers for it, and show it the token; for tests
    #[arg(long)]
    pub insecure: bool,
}

/// What is played, and as what.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(after_help = SAY_STATUS)]
pub struct SayArguments {
    /// WAV or Ogg Opus
    pub file: PathBuf,
    /// The broadcast that it becomes
    #[arg(long, value_name = "BROADCAST")]
    pub to: String,
    /// The codec of its track `audio`; audio.opus, audio.pcmu, audio.pcma and audio.g722 are there too
    #[arg(long, value_enum, default_value = "opus")]
    pub codec: CodecName,
    /// Begin anew at the end, until it is interrupted
    #[arg(long = "loop")]
    pub is_loop: bool,
    /// Begin when somebody listens
    #[arg(long)]
    pub wait: bool,
    /// Say nothing but errors
    #[arg(long, short)]
    pub quiet: bool,
    #[command(flatten)]
    pub at: RelayArguments,
}

/// What is heard, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(after_help = LISTEN_STATUS)]
pub struct ListenArguments {
    /// The broadcast
    pub broadcast: String,
    /// The track; audio.pcmu and its like are heard in their codec
    #[arg(long, value_name = "NAME", default_value = "audio")]
    pub track: String,
    /// What the track is of; default: what its name or the broadcast's catalog says
    #[arg(long, value_enum)]
    pub codec: Option<CodecName>,
    /// Where it is written; default: standard output, for a player
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// How it is written; default: by the ending of the file, else Ogg for Opus and WAV for the others
    #[arg(long, value_enum)]
    pub format: Option<FileFormat>,
    /// End after so long, such as 10s; default: with the broadcast, or when it is interrupted
    #[arg(long, value_name = "DUR")]
    pub duration: Option<humantime::Duration>,
    /// How long a broadcast is waited for that is not there
    #[arg(long, value_name = "DUR", default_value = "5s")]
    pub wait: humantime::Duration,
    /// Say nothing but errors
    #[arg(long, short)]
    pub quiet: bool,
    #[command(flatten)]
    pub at: RelayArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CodecName {
    Opus,
    Pcmu,
    Pcma,
    G722,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FileFormat {
    Ogg,
    Wav,
}

const SAY_STATUS: &str = "\
Exit status: 0 when all was played, or at SIGINT and SIGTERM; 1 when the file is none or the relay cannot be reached; 2 for a \
wrong command line; 4 when the relay goes away. Progress goes to standard error, once a second.";

const LISTEN_STATUS: &str = "\
Exit status: 0 when the broadcast has ended, the time is over, the player has gone, or at SIGINT and SIGTERM; 1 when the relay \
cannot be reached, the track cannot be heard or the file not be written; 2 for a wrong command line; 3 when there is no such \
broadcast; 4 when the relay goes away. What was heard until then is in the file. Progress goes to standard error, once a \
second.";
