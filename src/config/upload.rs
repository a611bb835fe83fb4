//! Where finished recordings are uploaded to, and by whom.

use std::env;
use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, bail};

use super::layers::Layers;
use super::{ConfigError, ServiceUrl, values};
use crate::limits;

/// An S3-compatible store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadConfig {
    /// Its name.
    pub bucket: String,
    /// Before the names of all objects, without a slash at its end. Empty: nothing.
    pub prefix: String,
    pub region: String,
    /// `None`: that of Amazon in this region.
    pub endpoint: Option<ServiceUrl>,
    /// File with the key. `None`: the environment has it.
    pub credentials: Option<PathBuf>,
    /// PEM file with the authorities that the store's certificate may be of. `None`: the system's.
    pub ca: Option<PathBuf>,
}

/// By which the store knows the switch.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) token: Option<String>,
}

impl UploadConfig {
    /// Where the store is.
    pub(crate) fn url(&self) -> ServiceUrl {
        let of_amazon = || ServiceUrl::Https {
            host: format!("s3.{}.amazonaws.com", self.region),
            port: 443,
            target: "/".to_owned(),
        };
        self.endpoint.clone().unwrap_or_else(of_amazon)
    }

    /// The same as text, without the port that needs none.
    pub(crate) fn endpoint(&self) -> String {
        let uri = self.url().request_uri();
        let plain = match self.is_encrypted() {
            true => uri.strip_suffix(":443/"),
            false => uri.strip_suffix(":80/"),
        };
        plain.unwrap_or(uri.trim_end_matches('/')).to_owned()
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        matches!(self.url(), ServiceUrl::Https { .. })
    }

    /// The key: two lines of the file, or three with a session's token; or the variables that every tool of S3 knows.
    pub(crate) fn read_credentials(&self) -> anyhow::Result<Credentials> {
        let Some(path) = &self.credentials else {
            let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
            let (id, secret) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"));
            return match id.zip(secret) {
                Some((id, secret)) => Ok(Credentials {
                    id,
                    secret,
                    token: variable("AWS_SESSION_TOKEN"),
                }),
                None => bail!(
                    "set `recording.upload.credentials`, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment"
                ),
            };
        };
        let place = || format!("`recording.upload.credentials`: {}", path.display());
        if std::fs::metadata(path).with_context(place)?.len() > limits::UPLOAD_CREDENTIALS_BYTES_MAX {
            bail!("{}: is too long", place());
        }
        let text = std::fs::read_to_string(path).with_context(place)?;
        match text.lines().collect::<Vec<_>>()[..] {
            [id, secret] if !id.is_empty() && !secret.is_empty() => Ok(credentials(id, secret, None)),
            [id, secret, token] if !id.is_empty() && !secret.is_empty() => Ok(credentials(id, secret, Some(token))),
            _ => bail!(
                "{}: write the id of the key on one line, and its secret on the next",
                place()
            ),
        }
    }
}

fn credentials(id: &str, secret: &str, token: Option<&str>) -> Credentials {
    Credentials {
        id: id.to_owned(),
        secret: secret.to_owned(),
        token: token.filter(|token| !token.is_empty()).map(str::to_owned),
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Credentials")
    }
}

/// There is none without a bucket.
pub(super) fn upload(layers: &Layers) -> Result<Option<UploadConfig>, ConfigError> {
    let bucket = layers.optional("recording.upload.bucket", bucket)?;
    let region = layers.one("recording.upload.region", |text| match is_name(text) {
        true => Ok(text.to_owned()),
        false => Err("a region, such as eu-central-1".to_owned()),
    })?;
    let endpoint = layers.optional("recording.upload.endpoint", |text| match text.parse()? {
        ServiceUrl::Unix(_) => Err("https://host:port, or http:// for this host".to_owned()),
        ServiceUrl::Http { target, .. } | ServiceUrl::Https { target, .. } if target != "/" => {
            Err("it has no path: buckets are below the root".to_owned())
        }
        url => Ok(url),
    })?;
    let credentials = layers.optional("recording.upload.credentials", values::path)?;
    let ca = layers.optional("recording.upload.ca", values::path)?;
    Ok(bucket.map(|(bucket, prefix)| UploadConfig {
        bucket,
        prefix,
        region,
        endpoint,
        credentials,
        ca,
    }))
}

/// A bucket, and what names in it begin with.
fn bucket(text: &str) -> Result<(String, String), String> {
    let (bucket, prefix) = text.split_once('/').unwrap_or((text, ""));
    let prefix = prefix.trim_end_matches('/');
    let is_prefix = prefix.is_empty() || prefix.split('/').all(is_name);
    match is_name(bucket) && is_prefix && text.len() <= 512 {
        true => Ok((bucket.to_owned(), prefix.to_owned())),
        false => Err("a bucket, or bucket/prefix, of letters, digits, `-`, `_` and `.`".to_owned()),
    }
}

fn is_name(text: &str) -> bool {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !text.is_empty() && text.len() <= 255 && !matches!(text, "." | "..") && text.bytes().all(is_of_name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn read(lines: &str) -> Result<UploadConfig, ConfigError> {
        let text = format!("[recording]\ndirectory = \"/r\"\n[recording.upload]\n{lines}\n");
        Config::from_toml(&text).map(|config| config.calls.unwrap().recording.unwrap().upload.unwrap())
    }

    #[test]
    fn a_store_is_that_of_amazon_unless_another_is_named() {
        let config = read("bucket = \"calls/north/2\"").unwrap();
        assert_eq!((&*config.bucket, &*config.prefix), ("calls", "north/2"));
        assert_eq!(config.endpoint(), "https://s3.us-east-1.amazonaws.com");
        let config = read("bucket = \"calls\"\nendpoint = \"http://127.0.0.1:9000\"").unwrap();
        assert_eq!(
            (config.endpoint(), config.is_encrypted()),
            ("http://127.0.0.1:9000".to_owned(), false)
        );
        for wrong in [
            "bucket = \"a b\"",
            "bucket = \"a/../b\"",
            "bucket = \"a\"\nendpoint = \"http://store.example\"",
            "bucket = \"a\"\nendpoint = \"https://store.example/path\"",
            "bucket = \"a\"\nregion = \"x/y\"",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let without = Config::from_toml("[recording]\ndirectory = \"/r\"\n").unwrap();
        assert_eq!(without.calls.unwrap().recording.unwrap().upload, None);
    }

    #[test]
    fn a_key_is_two_lines_and_shown_to_nobody() {
        let path = env::temp_dir().join(format!("moqswitch-upload-key-{}", std::process::id()));
        std::fs::write(&path, "AKIDEXAMPLE\nhidden\n").unwrap();
        let config = read(&format!("bucket = \"a\"\ncredentials = \"{}\"", path.display())).unwrap();
        let key = config.read_credentials().unwrap();
        assert_eq!((&*key.id, &*key.secret, &key.token), ("AKIDEXAMPLE", "hidden", &None));
        assert!(!format!("{key:?}{config:?}").contains("hidden"));
        std::fs::write(&path, "AKIDEXAMPLE\n").unwrap();
        assert!(config.read_credentials().is_err());
        std::fs::remove_file(&path).unwrap();
        assert!(config.read_credentials().is_err());
    }
}
