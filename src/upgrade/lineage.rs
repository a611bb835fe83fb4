//! What processes that follow each other have in common: the secrets of their relays, the key by which they know each other,
//! and the certificate that was made where none is configured.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context;
use moqswitch_relay::auth::token::{Algorithm, Key, Keys};
use moqswitch_relay::certificate::{CertificatePair, DevelopmentCertificate, KeyKind, PrivateKey};
use moqswitch_relay::limits::GENERATIONS_MAX;
use moqswitch_relay::{RelayHandle, RelayOptions};
use ring::rand::SystemRandom;

use crate::config::Config;

use super::offer::Keepsake;
use super::takeover::Takeover;

/// Made at the start, or handed on.
pub(crate) struct Lineage {
    kin: String,
    certificate: Option<(Vec<u8>, Vec<u8>)>,
    /// The program file of the process that follows, and how it is called.
    pub(crate) program: Program,
}

/// A program file, and its arguments.
type Program = (PathBuf, Vec<OsString>);

impl Lineage {
    /// The options of a relay that another process can follow, and that follows one if it is to. `None`: it is not known
    /// how this one was started, and nobody follows.
    pub(crate) fn begin(
        config: &Config,
        options: RelayOptions,
        program: Option<Program>,
        takeover: Option<&Takeover>,
    ) -> anyhow::Result<(Option<Self>, RelayOptions)> {
        let Some(program) = program else {
            return Ok((None, options));
        };
        let lineage = Self::new(config, program, takeover)?;
        let options = lineage.apply(options, takeover)?;
        Ok((Some(lineage), options))
    }

    fn new(config: &Config, program: Program, takeover: Option<&Takeover>) -> anyhow::Result<Self> {
        let handed = takeover.map(|takeover| &takeover.keepsake);
        let kin = match handed {
            Some(keepsake) => keepsake.kin.clone(),
            None => Key::generate(Algorithm::HS256, KEY_NAME, &SystemRandom::new())
                .context("a key for the process that follows")?
                .to_json(),
        };
        let certificate = match handed.and_then(Keepsake::certificate) {
            _ if !config.tls.certificates.is_empty() => None,
            Some(certificate) => Some(certificate),
            None => {
                let made = DevelopmentCertificate::generate(&[config.listen], SystemTime::now())?;
                Some((made.certificate_der, made.key_der))
            }
        };
        Ok(Self {
            kin,
            certificate,
            program,
        })
    }

    fn apply(&self, options: RelayOptions, takeover: Option<&Takeover>) -> anyhow::Result<RelayOptions> {
        let kin = Keys::parse(&format!(r#"{{"keys":[{}]}}"#, self.kin)).context("the key of the process before")?;
        let certificates = match &self.certificate {
            Some((certificate, key)) => vec![CertificatePair {
                chain: vec![certificate.clone()],
                key: PrivateKey {
                    kind: KeyKind::Pkcs8,
                    der: key.clone(),
                },
            }],
            None => options.certificates,
        };
        let heritage = takeover.map(|takeover| takeover.heritage(options.listen)).transpose()?;
        Ok(RelayOptions {
            generations: GENERATIONS_MAX,
            // Two processes at once are two hops.
            hop: options.hop.filter(|_| heritage.is_none()),
            heritage,
            kin: Some(Arc::new(kin)),
            certificates,
            ..options
        })
    }

    /// For the process that follows.
    pub(crate) fn keepsake(&self, relay: &RelayHandle, devices: Option<String>) -> Keepsake {
        let certificate = self.certificate.as_ref();
        let certificate = certificate.map(|(certificate, key)| (certificate.as_slice(), key.as_slice()));
        Keepsake::new(relay.succession().secrets(), self.kin.clone(), devices, certificate)
    }
}

/// How tokens of processes that follow each other name their key.
const KEY_NAME: &str = "moqswitch-upgrade";
