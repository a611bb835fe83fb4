//! The command line. Only what is set often has a flag; everything else is in the file and the environment.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use moqswitch_relay::auth::token::Algorithm;

use super::{ListenArguments, SayArguments};

/// A media switch for calls over Media over QUIC (moq-lite).
///
/// Settings come from flags, else from MOQSWITCH_* environment variables, else from the configuration file,
/// else from the defaults; `moqswitch config` prints them all.
#[derive(Clone, Debug, Parser)]
#[command(name = "moqswitch", version, args_conflicts_with_subcommands = false)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub flags: Flags,
}

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Test configuration and host; exit status 1 if anything fails
    Check {
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a configuration file with every setting, its default and what it costs
    Config,
    /// Make keys and tokens, and say what a token grants
    Token {
        #[command(subcommand)]
        action: TokenAction,
    },
    /// Hash the password of a user of telephone calls
    User {
        #[command(subcommand)]
        action: UserAction,
    },
    /// Say where a dialled number goes, and why
    Dial(DialArguments),
    /// Show the other relays and the links to them, or the routes to a broadcast
    Mesh(MeshArguments),
    /// Start the program file anew in place of the relay that runs at --listen: sessions follow, and nothing is lost
    Upgrade,
    /// Play a file as a broadcast
    Say(SayArguments),
    /// Hear a broadcast: as a file, or on standard output for a player
    Listen(ListenArguments),
    /// Print a completion script for a shell
    Completions { shell: Shell },
    /// Print a manual page, for `man -l -`
    Man {
        /// Of this command instead of the whole program
        command: Option<String>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum UserAction {
    /// Print the Argon2id hash of the password that is read from standard input
    Hash {
        /// Print what a telephone of SIP with this number needs, too: lines for `hash`, `ha1` and `ha1_sha256`
        #[arg(long, value_name = "NUMBER")]
        sip: Option<String>,
        /// The realm of the switch, `sip.realm`
        #[arg(long, value_name = "REALM", default_value = "moqswitch", requires = "sip")]
        realm: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct DialArguments {
    /// The number that is dialled
    #[arg(long, value_name = "NUMBER")]
    pub explain: String,
    /// Who dials it
    #[arg(long, value_name = "NUMBER")]
    pub from: String,
    /// The trunk that the call comes by; default: it is somebody of the house who dials
    #[arg(long, value_name = "TRUNK")]
    pub by: Option<String>,
    /// When: 2026-12-24T17:30 in the time zone of the calls, or with an offset or Z; default: now
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// The dialplan; default: that of the configuration
    #[arg(long, value_name = "FILE")]
    pub dialplan: Option<PathBuf>,
    /// Print the answer as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct MeshArguments {
    /// The routes to this broadcast instead, and why the first is chosen
    #[arg(long, value_name = "PATH")]
    pub route: Option<String>,
    /// Print what the relay answers, JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum TokenAction {
    /// Make a key; without --out it is printed
    Generate {
        /// HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or EdDSA
        #[arg(long, default_value = "ES256")]
        algorithm: Algorithm,
        /// Name of the key; default: 16 random hexadecimal digits
        #[arg(long)]
        kid: Option<String>,
        /// File for the key, which must not exist yet; only its owner may read it
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// File for the public half, which is all that the relay needs
        #[arg(long, value_name = "FILE", requires = "out")]
        public: Option<PathBuf>,
        /// What tokens of the key may grant at most; default: everything
        #[command(flatten)]
        scope: GrantArguments,
    },
    /// Print a token
    Sign {
        /// File with the private key, a JWK
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        #[command(flatten)]
        grant: GrantArguments,
        /// It is for another relay of the mesh: everything, unless --publish or --subscribe say less
        #[arg(long)]
        cluster: bool,
        /// How long it is valid, such as 10m; default: without end
        #[arg(long, value_name = "DUR")]
        expires_in: Option<humantime::Duration>,
    },
    /// Check a token; exit status 1 and the reason if it is refused
    Verify(TokenArguments),
    /// Say what a token grants and until when, or why it is refused
    Explain(TokenArguments),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct GrantArguments {
    /// Path that the patterns are below
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true)]
    pub root: String,
    /// What may be published, such as alice/**; repeatable
    #[arg(long, value_name = "PATTERN")]
    pub publish: Vec<String>,
    /// What may be subscribed; repeatable
    #[arg(long, value_name = "PATTERN")]
    pub subscribe: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct TokenArguments {
    /// The token; default: from standard input
    pub token: Option<String>,
    /// Path of the session; default: any
    #[arg(long, value_name = "PATH")]
    pub path: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct Flags {
    /// Configuration file, TOML [env: MOQSWITCH_CONFIG]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// UDP address for QUIC; `[::]:4443` is IPv4 and IPv6 [env: MOQSWITCH_LISTEN]
    #[arg(long, value_name = "ADDR", global = true)]
    pub listen: Option<String>,
    /// TCP address for HTTP [env: MOQSWITCH_HTTP]
    #[arg(long, value_name = "ADDR", global = true)]
    pub http: Option<String>,
    /// TCP address for operators: metrics and announcements [env: MOQSWITCH_ADMIN_LISTEN]
    #[arg(long, value_name = "ADDR", global = true)]
    pub admin: Option<String>,
    /// Number of shards [env: MOQSWITCH_SHARDS]
    #[arg(long, value_name = "N", global = true)]
    pub shards: Option<String>,
    /// Cores to use, such as 0-3,6 [env: MOQSWITCH_CORES]
    #[arg(long, value_name = "LIST", global = true)]
    pub cores: Option<String>,
    /// Certificate chain; repeatable, each with its --tls-key [env: MOQSWITCH_TLS_CERT]
    #[arg(long, value_name = "PEM", global = true)]
    pub tls_cert: Vec<String>,
    /// Private key of the certificate at the same position [env: MOQSWITCH_TLS_KEY]
    #[arg(long, value_name = "PEM", global = true)]
    pub tls_key: Vec<String>,
    /// Who may issue certificates of clients [env: MOQSWITCH_TLS_CLIENT_CA]
    #[arg(long, value_name = "PEM", global = true)]
    pub tls_client_ca: Option<String>,
    /// How long a shard gathers work before a turn [env: MOQSWITCH_BATCH_WINDOW]
    #[arg(long, value_name = "DUR", global = true)]
    pub batch_window: Option<String>,
    /// Paths open to everyone, such as anon/**; repeatable [env: MOQSWITCH_AUTH_PUBLIC]
    #[arg(long, value_name = "PATTERN", global = true)]
    pub auth_public: Vec<String>,
    /// Keys of tokens: a JWK, a JWKS, or a directory of ID.jwk [env: MOQSWITCH_AUTH_KEY]
    #[arg(long, value_name = "FILE|DIR", global = true)]
    pub auth_key: Option<String>,
    /// Auth server that decides on each session [env: MOQSWITCH_AUTH_URL]
    #[arg(long, value_name = "URL", global = true)]
    pub auth_url: Option<String>,
    /// Another relay to dial, such as moql://host:4443?cost=2; repeatable [env: MOQSWITCH_CLUSTER_PEERS]
    #[arg(long, value_name = "URL", global = true)]
    pub cluster_peer: Vec<String>,
    /// Where further ones are found: a JSON file, its URL, or dns:name:port [env: MOQSWITCH_CLUSTER_PEERS_FROM]
    #[arg(long, value_name = "FILE|URL|DNS", global = true)]
    pub cluster_peers: Option<String>,
    /// File with the token that is shown to them [env: MOQSWITCH_CLUSTER_TOKEN_FILE]
    #[arg(long, value_name = "FILE", global = true)]
    pub cluster_token_file: Option<String>,
    /// Take whoever answers for them; for tests [env: MOQSWITCH_CLUSTER_INSECURE]
    #[arg(long, global = true)]
    pub cluster_insecure: bool,
    /// Log level or filter [env: MOQSWITCH_LOG_LEVEL]
    #[arg(long, value_name = "LEVEL", global = true)]
    pub log_level: Option<String>,
}
