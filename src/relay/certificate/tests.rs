use super::pair::{CertificateFiles, KeyMatch};
use super::*;

#[test]
fn development_certificate_is_what_webtransport_accepts() {
    let now = SystemTime::now();
    let certificate = development(now);
    let inspection = pair(&certificate.certificate_pem, &certificate.key_pem)
        .inspect()
        .unwrap();
    let validity = inspection.not_after.duration_since(inspection.not_before).unwrap();
    assert!(validity < Duration::from_secs(14 * 24 * 60 * 60));
    assert!(inspection.not_before <= now - Duration::from_secs(59 * 60));
    assert!(inspection.not_after > now + Duration::from_secs(12 * 24 * 60 * 60));
    assert_eq!(inspection.key_match, KeyMatch::Matches);
    assert!(certificate.key_pem.contains("BEGIN PRIVATE KEY"), "PKCS #8 expected");
}

#[test]
fn development_certificate_names_what_is_listened_on() {
    let listen = ["192.0.2.7:1", "[::]:2", "127.0.0.1:3"].map(|text| text.parse().unwrap());
    let certificate = DevelopmentCertificate::generate(&listen, SystemTime::now()).unwrap();
    let names = pair(&certificate.certificate_pem, &certificate.key_pem)
        .inspect()
        .unwrap()
        .names;
    assert_eq!(names, ["localhost", "127.0.0.1", "::1", "192.0.2.7"]);
}

#[test]
fn fingerprint_is_sha256_in_hexadecimal() {
    assert_eq!(
        fingerprint(b"abc"),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    let certificate = development(SystemTime::now());
    let loaded = pair(&certificate.certificate_pem, &certificate.key_pem);
    assert_eq!(loaded.fingerprint(), certificate.fingerprint());
    assert_eq!(loaded.chain, [certificate.certificate_der]);
}

#[test]
fn every_certificate_has_its_own_key() {
    let now = SystemTime::now();
    let (one, other) = (development(now), development(now));
    let error = load(&one.certificate_pem, &other.key_pem).err().unwrap().to_string();
    for word in ["key.pem", "another certificate", "chain.pem", "issued for"] {
        assert!(error.contains(word), "{error}");
    }
    let mixed = CertificatePair {
        key: pair(&other.certificate_pem, &other.key_pem).key,
        ..pair(&one.certificate_pem, &one.key_pem)
    };
    assert_eq!(mixed.inspect().unwrap().key_match, KeyMatch::Differs);
}

#[test]
fn keys_of_all_usual_kinds_are_matched() {
    for (name, certificate, key) in [
        ("P-256 in RFC 5915", P256_CERTIFICATE, P256_SEC1_KEY),
        ("RSA in PKCS #1", RSA_CERTIFICATE, RSA_PKCS1_KEY),
        ("Ed25519 in PKCS #8", ED25519_CERTIFICATE, ED25519_KEY),
    ] {
        let inspection = pair(certificate, key).inspect().unwrap();
        assert_eq!(inspection.key_match, KeyMatch::Matches, "{name}");
    }
}

#[test]
fn pem_mistakes_are_told_apart() {
    let certificate = development(SystemTime::now());
    let (chain, key) = (&certificate.certificate_pem, &certificate.key_pem);
    assert!(matches!(load(key, key), Err(PairError::NoCertificate(_))));
    assert!(matches!(load(chain, chain), Err(PairError::NoKey(_))));
    assert!(matches!(load("", key), Err(PairError::NoCertificate(_))));
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    assert!(matches!(load(chain, &encrypted), Err(PairError::EncryptedKey(_))));
    let damaged = chain.replace("-----END", "!!-----END");
    assert!(matches!(load(&damaged, key), Err(PairError::Pem(..))));
    let both = format!("{chain}{key}");
    assert!(load(&both, &both).is_ok(), "one file may hold both");
}

#[test]
fn missing_file_is_named() {
    let files = CertificateFiles {
        certificate: "/nowhere/chain.pem".into(),
        key: "/nowhere/key.pem".into(),
    };
    let error = CertificatePair::load(&files).err().unwrap();
    assert!(error.to_string().contains("/nowhere/chain.pem"), "{error}");
}

fn development(now: SystemTime) -> DevelopmentCertificate {
    DevelopmentCertificate::generate(&[], now).unwrap()
}

fn pair(chain: &str, key: &str) -> CertificatePair {
    load(chain, key).unwrap()
}

fn load(chain: &str, key: &str) -> Result<CertificatePair, PairError> {
    CertificatePair::from_pem("chain.pem", chain.as_bytes(), "key.pem", key.as_bytes())
}

// Made by openssl for these tests alone.
const P256_CERTIFICATE: &str = include_str!("testdata/p256-certificate.pem");
const P256_SEC1_KEY: &str = include_str!("testdata/p256-sec1-key.pem");
const RSA_CERTIFICATE: &str = include_str!("testdata/rsa-certificate.pem");
const RSA_PKCS1_KEY: &str = include_str!("testdata/rsa-pkcs1-key.pem");
const ED25519_CERTIFICATE: &str = include_str!("testdata/ed25519-certificate.pem");
const ED25519_KEY: &str = include_str!("testdata/ed25519-key.pem");
