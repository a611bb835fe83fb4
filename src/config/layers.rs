//! Collects the text of every setting from file, environment and flags, later layers over earlier ones,
//! and refuses names no setting has. Values stay text here; `resolve` gives them types.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::{fs, io};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::limits;

use super::error::nearest;
use super::form::{Kind, Setting, VARIABLE_PREFIX};
use super::{ConfigError, Flags, Source, settings};

/// The winning text of each setting, by path.
pub(super) struct Layers(BTreeMap<&'static str, Given>);

/// What one layer says about a setting.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) at: Source,
    pub(super) content: Content,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    One(String),
    List(Vec<String>),
    Certificates(Vec<(String, String)>),
}

impl Layers {
    pub(super) fn load(
        flags: &Flags,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let (environment_file, environment) = read_environment(environment)?;
        let mut layers = Self::defaults();
        if let Some(path) = flags.config.clone().or(environment_file) {
            let text = read_file(&path).map_err(|source| ConfigError::Read {
                path: path.clone(),
                source,
            })?;
            layers.apply(Document::new(Some(&path), &text).read()?);
        }
        layers.apply(environment);
        layers.apply(read_flags(flags)?);
        Ok(layers)
    }

    pub(super) fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let mut layers = Self::defaults();
        layers.apply(Document::new(None, text).read()?);
        Ok(layers)
    }

    pub(super) fn get(&self, path: &str) -> Option<&Given> {
        self.0.get(path)
    }

    fn defaults() -> Self {
        let mut values = Document::new(None, &settings::template())
            .read()
            .expect("the template is valid TOML of known keys; a test reads it");
        for given in values.values_mut() {
            given.at = Source::Default;
        }
        Self(values)
    }

    fn apply(&mut self, layer: Values) {
        self.0.extend(layer);
    }
}

type Values = BTreeMap<&'static str, Given>;

/// One TOML text.
struct Document<'a> {
    path: Option<&'a Path>,
    text: &'a str,
}

impl<'a> Document<'a> {
    fn new(path: Option<&'a Path>, text: &'a str) -> Self {
        Self { path, text }
    }

    fn read(&self) -> Result<Values, ConfigError> {
        let table = DeTable::parse(self.text).map_err(|error| ConfigError::Syntax {
            at: self.source(error.span().map_or(0, |span| span.start)),
            message: error.message().to_owned(),
        })?;
        let mut values = Values::new();
        self.read_table("", table.get_ref(), &mut values)?;
        Ok(values)
    }

    // Depth is bounded by the TOML parser's own recursion limit.
    fn read_table(&self, prefix: &str, table: &DeTable<'_>, values: &mut Values) -> Result<(), ConfigError> {
        for (key, value) in table {
            let path = if prefix.is_empty() {
                key.get_ref().to_string()
            } else {
                format!("{prefix}.{}", key.get_ref())
            };
            let at = self.source(key.span().start);
            if let Some(setting) = settings::all().find(|setting| setting.path == path) {
                let content = self.read_value(setting, value, &at)?;
                values.insert(setting.path, Given { at, content });
                continue;
            }
            match value.get_ref() {
                DeValue::Table(inner) if is_section(&path) || !inner.is_empty() => {
                    self.read_table(&path, inner, values)?;
                }
                _ if is_section(&path) => {
                    return Err(ConfigError::Kind {
                        at,
                        key: path,
                        expected: "a table of settings",
                    });
                }
                _ => return Err(unknown_key(at, path)),
            }
        }
        Ok(())
    }

    fn read_value(&self, setting: &Setting, value: &Spanned<DeValue<'_>>, at: &Source) -> Result<Content, ConfigError> {
        let wrong = |expected| ConfigError::Kind {
            at: at.clone(),
            key: setting.path.to_owned(),
            expected,
        };
        match (setting.kind, value.get_ref()) {
            (Kind::Certificates, DeValue::Array(tables)) => {
                let pairs = tables.iter().map(|table| self.read_certificate(table));
                Ok(Content::Certificates(pairs.collect::<Result<_, _>>()?))
            }
            (Kind::Certificates, _) => Err(wrong("an array of tables with `certificate` and `key`")),
            (Kind::List, DeValue::Array(items)) => items
                .iter()
                .map(|item| scalar(item.get_ref()).ok_or_else(|| wrong("a list of strings")))
                .collect::<Result<_, _>>()
                .map(Content::List),
            (Kind::List, value) => scalar(value)
                .map(|text| Content::List(vec![text]))
                .ok_or_else(|| wrong("a list of strings")),
            (Kind::One, value) => scalar(value)
                .map(Content::One)
                .ok_or_else(|| wrong("a single string, number or boolean")),
        }
    }

    fn read_certificate(&self, value: &Spanned<DeValue<'_>>) -> Result<(String, String), ConfigError> {
        let at = self.source(value.span().start);
        let wrong = || ConfigError::Kind {
            at: at.clone(),
            key: "tls.certificates".to_owned(),
            expected: "tables with two strings, `certificate` and `key`",
        };
        let table = value.get_ref().as_table().ok_or_else(wrong)?;
        for key in table.keys() {
            let name: &str = key.get_ref();
            if !CERTIFICATE_KEYS.contains(&name) {
                return Err(ConfigError::UnknownKey {
                    at: self.source(key.span().start),
                    key: format!("tls.certificates.{name}"),
                    nearest: nearest(name, CERTIFICATE_KEYS.into_iter())
                        .map(|known| format!("tls.certificates.{known}")),
                });
            }
        }
        let file = |key| table.get(key).and_then(|value| scalar(value.get_ref()));
        file("certificate").zip(file("key")).ok_or_else(wrong)
    }

    fn source(&self, offset: usize) -> Source {
        let before = self.text.as_bytes().iter().take(offset);
        Source::File {
            path: self.path.map(Path::to_path_buf),
            line: 1 + before.filter(|byte| **byte == b'\n').count(),
        }
    }
}

/// Also returns the configuration file the environment names. An empty variable counts as unset.
fn read_environment(
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<(Option<PathBuf>, Values), ConfigError> {
    let mut values = Values::new();
    let mut file = None;
    let mut certificates = Vec::new();
    let mut keys = Vec::new();
    for (name, text) in environment {
        if !name.starts_with(VARIABLE_PREFIX) {
            continue;
        }
        let known = settings::all()
            .filter(|setting| setting.kind != Kind::Certificates)
            .find(|setting| setting.variable() == name);
        match (name.as_str(), known) {
            (CONFIG_VARIABLE | CERTIFICATE_VARIABLE | KEY_VARIABLE, _) if text.is_empty() => {}
            (CONFIG_VARIABLE, _) => file = Some(PathBuf::from(text)),
            (CERTIFICATE_VARIABLE, _) => certificates = split_list(&text),
            (KEY_VARIABLE, _) => keys = split_list(&text),
            (_, None) => return Err(unknown_variable(name)),
            (_, Some(_)) if text.is_empty() => {}
            (_, Some(setting)) => {
                let content = match setting.kind {
                    Kind::List => Content::List(split_list(&text)),
                    Kind::One | Kind::Certificates => Content::One(text),
                };
                let at = Source::Variable(name);
                values.insert(setting.path, Given { at, content });
            }
        }
    }
    let at = Source::Variable(CERTIFICATE_VARIABLE.to_owned());
    insert_certificates(&mut values, at, certificates, keys)?;
    Ok((file, values))
}

fn read_flags(flags: &Flags) -> Result<Values, ConfigError> {
    let mut values = Values::new();
    let ones = [
        ("listen", "--listen", &flags.listen),
        ("http", "--http", &flags.http),
        ("admin.listen", "--admin", &flags.admin),
        ("shards", "--shards", &flags.shards),
        ("cores", "--cores", &flags.cores),
        ("batch_window", "--batch-window", &flags.batch_window),
        ("tls.client_ca", "--tls-client-ca", &flags.tls_client_ca),
        ("auth.key", "--auth-key", &flags.auth_key),
        ("auth.url", "--auth-url", &flags.auth_url),
        ("cluster.peers_from", "--cluster-peers", &flags.cluster_peers),
        ("cluster.token_file", "--cluster-token-file", &flags.cluster_token_file),
        ("log.level", "--log-level", &flags.log_level),
    ];
    for (path, flag, text) in ones {
        if let Some(text) = text {
            let content = Content::One(text.clone());
            let at = Source::Flag(flag);
            values.insert(path, Given { at, content });
        }
    }
    let lists = [
        ("auth.public", "--auth-public", &flags.auth_public),
        ("cluster.peers", "--cluster-peer", &flags.cluster_peer),
    ];
    for (path, flag, texts) in lists {
        if !texts.is_empty() {
            let content = Content::List(texts.clone());
            let at = Source::Flag(flag);
            values.insert(path, Given { at, content });
        }
    }
    if flags.cluster_insecure {
        let content = Content::One("true".to_owned());
        let at = Source::Flag("--cluster-insecure");
        values.insert("cluster.insecure", Given { at, content });
    }
    let at = Source::Flag("--tls-cert");
    insert_certificates(&mut values, at, flags.tls_cert.clone(), flags.tls_key.clone())?;
    Ok(values)
}

fn insert_certificates(
    values: &mut Values,
    at: Source,
    certificates: Vec<String>,
    keys: Vec<String>,
) -> Result<(), ConfigError> {
    if certificates.len() != keys.len() {
        return Err(ConfigError::Unpaired {
            at,
            certificates: certificates.len(),
            keys: keys.len(),
        });
    }
    if !certificates.is_empty() {
        let content = Content::Certificates(certificates.into_iter().zip(keys).collect());
        values.insert("tls.certificates", Given { at, content });
    }
    Ok(())
}

fn read_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let limit = limits::CONFIG_FILE_BYTES_MAX;
    let file = fs::File::open(path)?;
    // One byte more than allowed tells a file that is too long from one that just fits.
    if file.take(limit + 1).read_to_string(&mut text)? as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("longer than {limit} bytes"),
        ));
    }
    Ok(text)
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .ok()
            .map(|number| number.to_string()),
        DeValue::Boolean(value) => Some(value.to_string()),
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

fn split_list(text: &str) -> Vec<String> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect()
}

fn is_section(path: &str) -> bool {
    settings::all().any(|setting| {
        setting
            .path
            .strip_prefix(path)
            .is_some_and(|rest| rest.starts_with('.'))
    })
}

fn unknown_key(at: Source, key: String) -> ConfigError {
    let nearest = nearest(&key, settings::all().map(|setting| setting.path)).map(str::to_owned);
    ConfigError::UnknownKey { at, key, nearest }
}

fn unknown_variable(name: String) -> ConfigError {
    let known: Vec<_> = settings::all()
        .filter(|setting| setting.kind != Kind::Certificates)
        .map(Setting::variable)
        .collect();
    let special = [CONFIG_VARIABLE, CERTIFICATE_VARIABLE, KEY_VARIABLE];
    let candidates = known.iter().map(String::as_str).chain(special);
    let nearest = nearest(&name, candidates).map(str::to_owned);
    ConfigError::UnknownVariable { name, nearest }
}

const CONFIG_VARIABLE: &str = "MOQSWITCH_CONFIG";
const CERTIFICATE_VARIABLE: &str = "MOQSWITCH_TLS_CERT";
const KEY_VARIABLE: &str = "MOQSWITCH_TLS_KEY";
const CERTIFICATE_KEYS: [&str; 2] = ["certificate", "key"];
