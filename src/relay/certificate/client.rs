//! Who may issue certificates of clients.

use std::path::Path;

use super::pair::{PairError, certificates, read_pem};

/// Who may issue certificates of clients, and whether each client needs one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuthorities {
    /// DER; never empty.
    pub certificates: Vec<Vec<u8>>,
    /// A client without a certificate gets no connection.
    pub is_required: bool,
}

impl ClientAuthorities {
    /// Reads a PEM file with one certificate or more. A file above
    /// [`PEM_FILE_BYTES_MAX`](crate::limits::PEM_FILE_BYTES_MAX) is refused unread.
    pub fn load(path: &Path, is_required: bool) -> Result<Self, PairError> {
        let certificates = certificates(&path.display().to_string(), &read_pem(path)?)?;
        Ok(Self {
            certificates,
            is_required,
        })
    }
}
