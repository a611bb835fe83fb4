//! A bucket of an S3-compatible store.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as Key;
use object_store::{
    Attribute, Attributes, BackoffConfig, MultipartUpload, ObjectStore, PutMultipartOptions, PutOptions, RetryConfig,
};

use crate::config::UploadConfig;
use crate::limits::{UPLOAD_PART_BYTES, UPLOAD_REQUEST_TIME_MAX};

use super::client::Connections;

pub(super) struct Bucket {
    store: Arc<AmazonS3>,
    /// Before the names of all objects.
    prefix: String,
    part_bytes: usize,
}

impl Bucket {
    pub(super) fn new(config: &UploadConfig) -> anyhow::Result<Self> {
        let credentials = config.read_credentials()?;
        let connections = Connections::new(config)?;
        let retry = RetryConfig {
            backoff: BackoffConfig::default(),
            // Whoever asks tries again, and nothing else meanwhile.
            max_retries: 0,
            retry_timeout: UPLOAD_REQUEST_TIME_MAX,
        };
        let builder = AmazonS3Builder::new()
            .with_bucket_name(&config.bucket)
            .with_region(&config.region)
            .with_endpoint(config.endpoint())
            .with_allow_http(!config.is_encrypted())
            .with_access_key_id(credentials.id)
            .with_secret_access_key(credentials.secret)
            .with_http_connector(connections)
            .with_retry(retry);
        let builder = match credentials.token {
            Some(token) => builder.with_token(token),
            None => builder,
        };
        Ok(Self {
            store: Arc::new(builder.build().context("`recording.upload`")?),
            prefix: config.prefix.clone(),
            part_bytes: UPLOAD_PART_BYTES,
        })
    }

    #[cfg(test)]
    pub(super) fn with_parts(self, part_bytes: usize) -> Self {
        Self { part_bytes, ..self }
    }

    /// Puts a file there under a name, in place of what has it. A long one goes in parts: none, or all of them.
    pub(super) async fn put(&self, name: &str, path: &Path) -> anyhow::Result<()> {
        let mut file = File::open(path)?;
        let key = match self.prefix.is_empty() {
            true => Key::parse(name)?,
            false => Key::parse(format!("{}/{name}", self.prefix))?,
        };
        let attributes = attributes(name);
        let first = read(&mut file, self.part_bytes)?;
        if first.len() < self.part_bytes {
            let options = PutOptions {
                attributes,
                ..PutOptions::default()
            };
            self.store.put_opts(&key, first.into(), options).await?;
            return Ok(());
        }
        let options = PutMultipartOptions {
            attributes,
            ..PutMultipartOptions::default()
        };
        let mut upload = self.store.put_multipart_opts(&key, options).await?;
        let outcome = self.put_parts(&mut *upload, first, &mut file).await;
        if outcome.is_err() {
            // What was put would cost room for ever. If that fails as well, the bucket's own rules remove it.
            let _ = upload.abort().await;
        }
        outcome
    }

    async fn put_parts(&self, upload: &mut dyn MultipartUpload, first: Bytes, file: &mut File) -> anyhow::Result<()> {
        let mut part = first;
        // One in memory at a time.
        while !part.is_empty() {
            upload.put_part(part.into()).await?;
            part = read(file, self.part_bytes)?;
        }
        upload.complete().await?;
        Ok(())
    }
}

/// So much, or what is left.
fn read(file: &mut File, bytes: usize) -> io::Result<Bytes> {
    let mut part = Vec::new();
    file.take(u64::try_from(bytes).unwrap_or(u64::MAX))
        .read_to_end(&mut part)?;
    Ok(part.into())
}

fn attributes(name: &str) -> Attributes {
    let kind = match name.rsplit_once('.') {
        Some((_, "opus")) => "audio/ogg",
        Some((_, "wav")) => "audio/wav",
        Some((_, "json")) => "application/json",
        _ => "application/octet-stream",
    };
    Attributes::from_iter([(Attribute::ContentType, kind)])
}
