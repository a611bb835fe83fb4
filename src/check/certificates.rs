//! Configured certificates: readable, undamaged, matching their keys, in force, named.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use moqswitch_relay::certificate::{
    CertificateFiles, CertificatePair, ClientAuthorities, Inspection, KeyMatch, PairError,
};

use crate::config::TlsConfig;

use super::access::{self, Access};
use super::{CERTIFICATE, Check, Status};

pub(super) fn check(tls: &TlsConfig, listen: SocketAddr, now: SystemTime) -> Vec<Check> {
    let mut checks: Vec<Check> = tls.certificates.iter().map(|files| check_files(files, now)).collect();
    if checks.is_empty() {
        checks.push(check_development(listen));
    }
    let clients = tls.client_ca.as_deref();
    checks.extend(clients.map(|path| check_issuers("clients", "tls.client_ca", path)));
    checks
}

/// Who may issue certificates of those who connect.
pub(super) fn check_issuers(whose: &str, setting: &str, path: &Path) -> Check {
    match ClientAuthorities::load(path, false) {
        Ok(authorities) => {
            let count = authorities.certificates.len();
            Check::new(
                CERTIFICATE,
                Status::Pass,
                format!("{whose}: {count} in {}", path.display()),
            )
        }
        Err(error) => Check::new(CERTIFICATE, Status::Fail, error.to_string()).advise(format!(
            "check the path in `{setting}`, and that the user running moqswitch may read it"
        )),
    }
}

fn check_development(listen: SocketAddr) -> Check {
    let reason = "none configured: a development certificate is made at every start";
    if listen.ip().to_canonical().is_loopback() {
        return Check::new(CERTIFICATE, Status::Pass, reason);
    }
    Check::new(CERTIFICATE, Status::Warn, reason).advise(
        "clients on other machines must pin it (GET /certificate.sha256) after each start; \
         configure `tls.certificates` for anything lasting",
    )
}

fn check_files(files: &CertificateFiles, now: SystemTime) -> Check {
    let name = files.certificate.display();
    match CertificatePair::load(files).and_then(|pair| pair.inspect()) {
        Ok(inspection) => match (judge(&inspection, now), check_access(&files.key)) {
            (check, Some(access)) if access.status > check.status => access,
            (check, _) => check.prefix(&format!("{name}: ")),
        },
        Err(error @ PairError::OtherKey(..)) => Check::new(CERTIFICATE, Status::Fail, error.to_string()),
        Err(error) => Check::new(CERTIFICATE, Status::Fail, error.to_string()).advise(
            "check the paths in `tls.certificates`, that the user running moqswitch may read them, and that both are PEM",
        ),
    }
}

/// Who has the private key can be the relay. That a group reads it is common, for a group of those who serve TLS.
fn check_access(key: &Path) -> Option<Check> {
    let check = |status, reason: String| Some(Check::new(CERTIFICATE, status, reason));
    let name = key.display();
    if let Some(access) = access::writers(key) {
        return check(
            access.status(),
            format!("the private key {name} may be written by {access}"),
        )?
        .advise("chmod go-w")
        .into();
    }
    if access::readers(key) == Some(Access::Everybody) {
        return check(Status::Warn, format!("the private key {name} may be read by everybody"))?
            .advise("chmod o-rwx; if others had access to this host, let the certificate be issued for another key")
            .into();
    }
    None
}

fn judge(inspection: &Inspection, now: SystemTime) -> Check {
    let check = |status, reason: String| Check::new(CERTIFICATE, status, reason);
    if now < inspection.not_before {
        return check(Status::Fail, "not valid yet".to_owned()).advise("check this machine's clock, or wait");
    }
    let Ok(left) = inspection.not_after.duration_since(now) else {
        return check(Status::Fail, "expired".to_owned()).advise(RENEWAL);
    };
    let days = left.as_secs() / SECONDS_PER_DAY;
    if inspection.names.is_empty() {
        return check(Status::Warn, "it has no subject alternative names".to_owned())
            .advise("clients refuse it unless they pin it; have it issued with its DNS names");
    }
    let names = inspection.names.join(", ");
    if left < RENEWAL_DUE {
        return check(Status::Warn, format!("{names}; expires in {days} day(s)")).advise(RENEWAL);
    }
    if inspection.key_match == KeyMatch::Unknown {
        return check(
            Status::Warn,
            format!("{names}; whether its key matches cannot be told for this kind of key"),
        )
        .advise("ECDSA P-256, ECDSA P-384, Ed25519 and RSA keys can be checked");
    }
    check(Status::Pass, format!("{names}; expires in {days} day(s)"))
}

impl Check {
    fn prefix(mut self, prefix: &str) -> Self {
        self.reason.insert_str(0, prefix);
        self
    }
}

const RENEWAL: &str = "renew it and send SIGHUP (`systemctl reload moqswitch`)";
const SECONDS_PER_DAY: u64 = 24 * 60 * 60;
const RENEWAL_DUE: Duration = Duration::from_secs(7 * SECONDS_PER_DAY);
