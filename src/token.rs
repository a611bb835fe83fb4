//! `moqswitch token`: makes keys and tokens, and says what a token grants.
#![forbid(unsafe_code)]

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use boring::bn::BigNumRef;
use boring::rsa::Rsa;
use moqswitch_relay::auth::token::{Algorithm, Claims, Key, Keys, Refusal};
use moqswitch_relay::auth::{Grant, Moment, Patterns};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Map, Value, json};

use crate::config::{Config, Flags, GrantArguments, TokenAction, TokenArguments};
use crate::{generate, keys, limits};

/// Does what is asked for. A token that is refused is status 1.
pub fn run(action: &TokenAction, flags: &Flags) -> anyhow::Result<ExitCode> {
    match action {
        TokenAction::Generate {
            algorithm,
            kid,
            out,
            public,
            scope,
        } => {
            let key = make_key(*algorithm, kid.as_deref(), scope)?;
            let public_key = public.as_ref().map(|_| key.to_public()).transpose()?;
            match out {
                Some(path) => write(path, &key.to_json(), PRIVATE_MODE)?,
                None => print(&key.to_json())?,
            }
            if let (Some(path), Some(key)) = (public, public_key) {
                write(path, &key.to_json(), PUBLIC_MODE)?;
            }
        }
        TokenAction::Sign {
            key: path,
            grant,
            cluster,
            expires_in,
        } => {
            let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            let key = Key::parse(&text).with_context(|| path.display().to_string())?;
            let expires_in = expires_in.map(|duration| *duration);
            let claims = claims(grant, *cluster, SystemTime::now(), expires_in)?;
            print(&key.sign(&claims, &SystemRandom::new())?)?;
        }
        TokenAction::Verify(arguments) => {
            if let Err(refusal) = decide(arguments, flags)? {
                writeln!(io::stderr(), "refused: {refusal}")?;
                return Ok(ExitCode::FAILURE);
            }
        }
        TokenAction::Explain(arguments) => match decide(arguments, flags)? {
            Ok(claims) => print(&explain(&claims))?,
            Err(refusal) => {
                print(&format!("refused: {refusal}"))?;
                return Ok(ExitCode::FAILURE);
            }
        },
    }
    Ok(ExitCode::SUCCESS)
}

/// What a token grants, in a sentence.
pub fn explain(claims: &Claims) -> String {
    let list = |patterns: &Patterns| match patterns.is_empty() {
        true => "nothing".to_owned(),
        false => patterns.to_string(),
    };
    let until = match claims.expires.map(u64::try_from) {
        None => "without end".to_owned(),
        Some(Ok(seconds)) if seconds <= LAST_DATE_SECONDS => {
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            format!("until {}", humantime::format_rfc3339_seconds(at))
        }
        Some(seconds) => format!("until {} s after 1970", seconds.unwrap_or_default()),
    };
    let (publish, subscribe) = (list(&claims.publish), list(&claims.subscribe));
    format!("may publish {publish}; may subscribe {subscribe}; {until}")
}

fn decide(arguments: &TokenArguments, flags: &Flags) -> anyhow::Result<Result<Claims, Refusal>> {
    let config = Config::load(flags, std::env::vars())?;
    let path = config.auth.key.context("say by --auth-key where the keys are")?;
    let keys = keys::load(&path)?;
    let token = match &arguments.token {
        Some(token) => token.clone(),
        None => read_token()?,
    };
    let moment = Moment(SystemTime::now());
    Ok(check(&keys, token.trim(), arguments.path.as_deref(), moment))
}

fn check(keys: &Keys, token: &str, path: Option<&str>, moment: Moment) -> Result<Claims, Refusal> {
    let claims = keys.verify(token)?;
    let grant: Grant = claims.grant(moment)?;
    match path {
        Some(path) if !grant.may_use_below(path) => Err(Refusal::Elsewhere),
        _ => Ok(claims),
    }
}

fn read_token() -> io::Result<String> {
    let mut token = String::new();
    io::stdin()
        .take(limits::TOKEN_INPUT_BYTES_MAX)
        .read_to_string(&mut token)?;
    Ok(token)
}

fn make_key(algorithm: Algorithm, id: Option<&str>, scope: &GrantArguments) -> anyhow::Result<Key> {
    let random = SystemRandom::new();
    let id = match id {
        Some(id) => id.to_owned(),
        None => random_id(&random)?,
    };
    let is_rsa = matches!(algorithm.to_string().as_bytes(), [b'R' | b'P', b'S', ..]);
    let key = match is_rsa {
        true => make_rsa(algorithm, &id)?,
        false => Key::generate(algorithm, &id, &random)?,
    };
    if scope.publish.is_empty() && scope.subscribe.is_empty() {
        anyhow::ensure!(scope.root.is_empty(), "--root needs --publish or --subscribe");
        return Ok(key);
    }
    Ok(key.with_scope(Value::Object(granted(scope)))?)
}

/// `ring` makes no RSA keys; BoringSSL, which TLS is by, does.
fn make_rsa(algorithm: Algorithm, id: &str) -> anyhow::Result<Key> {
    let rsa = Rsa::generate(RSA_BITS)?;
    let part = |number: Option<&BigNumRef>| number.map(BigNumRef::to_vec).context("an incomplete RSA key");
    let parts = [
        rsa.n().to_vec(),
        rsa.e().to_vec(),
        rsa.d().to_vec(),
        part(rsa.p())?,
        part(rsa.q())?,
        part(rsa.dmp1())?,
        part(rsa.dmq1())?,
        part(rsa.iqmp())?,
    ];
    Ok(Key::from_rsa(algorithm, id, &parts)?)
}

fn random_id(random: &SystemRandom) -> anyhow::Result<String> {
    let mut bytes = [0; 8];
    random
        .fill(&mut bytes)
        .map_err(|_| anyhow::anyhow!("the system gave no randomness"))?;
    Ok(format!("{:016x}", u64::from_be_bytes(bytes)))
}

fn claims(
    grant: &GrantArguments,
    is_peer: bool,
    now: SystemTime,
    expires_in: Option<Duration>,
) -> anyhow::Result<String> {
    let seconds = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).map(|since| since.as_secs());
    let everything = GrantArguments {
        root: String::new(),
        publish: vec!["**".to_owned()],
        subscribe: vec!["**".to_owned()],
    };
    let is_all = is_peer && grant.publish.is_empty() && grant.subscribe.is_empty();
    let mut claims = granted(if is_all { &everything } else { grant });
    if is_peer {
        claims.insert("cluster".to_owned(), json!(true));
    }
    claims.insert("iat".to_owned(), json!(seconds(now)?));
    if let Some(expires_in) = expires_in {
        let at = now.checked_add(expires_in).context("--expires-in is too long")?;
        claims.insert("exp".to_owned(), json!(seconds(at)?));
    }
    Ok(Value::Object(claims).to_string())
}

/// As prefixes if that says it all: every reader knows them. Otherwise as patterns.
fn granted(grant: &GrantArguments) -> Map<String, Value> {
    let mut members = Map::new();
    if !grant.root.is_empty() {
        members.insert("root".to_owned(), json!(grant.root));
    }
    let older = [&grant.publish, &grant.subscribe].map(|patterns| {
        let prefixes = patterns.iter().map(|pattern| prefix_of(pattern));
        prefixes.collect::<Option<Vec<&str>>>()
    });
    let lists = match older {
        [Some(put), Some(get)] => [("put", json!(put)), ("get", json!(get))],
        _ => [("publish", json!(grant.publish)), ("subscribe", json!(grant.subscribe))],
    };
    let is_filled = |list: &Value| list.as_array().is_some_and(|list| !list.is_empty());
    for (name, list) in lists.into_iter().filter(|(_, list)| is_filled(list)) {
        members.insert(name.to_owned(), list);
    }
    members
}

fn prefix_of(pattern: &str) -> Option<&str> {
    let prefix = match pattern {
        "**" => "",
        _ => pattern.strip_suffix("/**")?,
    };
    (!prefix.contains('*')).then_some(prefix)
}

/// A file that is there stays as it is.
fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| writeln!(file, "{text}"));
    written.with_context(|| format!("cannot write {}", path.display()))
}

fn print(text: &str) -> io::Result<()> {
    generate::print(format!("{text}\n").as_bytes())
}

const RSA_BITS: u32 = 2048;
const PRIVATE_MODE: u32 = 0o600;
const PUBLIC_MODE: u32 = 0o644;

/// The end of the year 9999, beyond which a date has no agreed form.
const LAST_DATE_SECONDS: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_each_algorithm_is_made_and_its_token_explained() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let grant = GrantArguments {
            root: "call".to_owned(),
            publish: vec!["7/a/**".to_owned()],
            subscribe: vec!["7/*".to_owned()],
        };
        for algorithm in Algorithm::ALL {
            let key = make_key(algorithm, None, &GrantArguments::default()).unwrap();
            let public = key
                .to_public()
                .map_or_else(|_| key.to_json(), |public| public.to_json());
            let keys = Keys::parse(&public).unwrap();
            let claims = claims(&grant, false, now, Some(Duration::from_secs(60))).unwrap();
            let token = key.sign(&claims, &SystemRandom::new()).unwrap();
            let at = |now, path| check(&keys, &token, path, Moment(now));
            assert_eq!(
                explain(&at(now, Some("call/7")).unwrap()),
                "may publish call/7/a/**; may subscribe call/7/*; until 2027-01-15T08:01:00Z",
                "{algorithm}"
            );
            assert_eq!(at(now + Duration::from_secs(60), None), Err(Refusal::Expired));
            assert_eq!(at(now, Some("other")), Err(Refusal::Elsewhere));
        }
    }

    #[test]
    fn subtrees_are_written_as_older_readers_expect() {
        let grant = |publish: &[&str], subscribe: &[&str]| {
            let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
            Value::Object(granted(&GrantArguments {
                root: String::new(),
                publish: owned(publish),
                subscribe: owned(subscribe),
            }))
        };
        assert_eq!(grant(&["a/**"], &["**"]), json!({ "put": ["a"], "get": [""] }));
        assert_eq!(
            grant(&["a/**"], &["b"]),
            json!({ "publish": ["a/**"], "subscribe": ["b"] })
        );
        assert_eq!(grant(&["a/*/**"], &[]), json!({ "publish": ["a/*/**"] }));
    }

    #[test]
    fn a_scope_bounds_what_is_signed() {
        let scope = GrantArguments {
            root: "demo".to_owned(),
            publish: vec!["**".to_owned()],
            subscribe: Vec::new(),
        };
        let key = make_key(Algorithm::ES384, Some("s"), &scope).unwrap();
        let sign = |claims: &str| key.sign(claims, &SystemRandom::new());
        assert!(sign(r#"{"put":"demo/a"}"#).is_ok());
        assert!(sign(r#"{"put":"other"}"#).is_err() && sign(r#"{"get":"demo"}"#).is_err());
    }

    #[test]
    fn a_private_key_is_its_owners_and_never_overwritten() {
        use std::os::unix::fs::PermissionsExt;
        let path = std::env::temp_dir().join(format!("moqswitch-token-{}.jwk", std::process::id()));
        write(&path, "{}", PRIVATE_MODE).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        let again = write(&path, "x", PRIVATE_MODE);
        fs::remove_file(&path).unwrap();
        assert_eq!(mode & 0o777, 0o600);
        assert!(again.is_err());
    }
}
