//! What str0m encrypts with: ring and the crates that SRTP of this switch uses, and DTLS by dimpl.

mod dtls;
mod hashes;
mod srtp;

use std::sync::{Arc, OnceLock};

use str0m::config::CryptoProvider;

use dtls::Dtls;
use hashes::Hashes;
use srtp::Srtp;

/// The same for all sessions of the process.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let provider = PROVIDER.get_or_init(|| {
        Arc::new(CryptoProvider {
            srtp_provider: &Srtp,
            sha1_hmac_provider: &Hashes,
            sha256_provider: &Hashes,
            dtls_provider: &Dtls,
        })
    });
    Arc::clone(provider)
}
