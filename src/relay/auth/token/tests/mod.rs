mod keys;
mod vectors;

use std::time::{Duration, SystemTime};

use ring::rand::SystemRandom;
use serde_json::{Value, json};

use crate::auth::{Grant, Moment, PatternError};

use super::*;

#[test]
fn each_part_of_a_token_is_looked_at() {
    let fixture = Fixture::new(Algorithm::HS256);
    let claims = r#"{"put":"a"}"#;
    let good = fixture.sign(claims);
    assert!(fixture.verify(&good).is_ok());
    let [header, body, signature] = parts(&good);
    for (token, refusal) in [
        (String::new(), Refusal::Parts),
        ("a".to_owned(), Refusal::Parts),
        ("a.b".to_owned(), Refusal::Parts),
        (format!("{good}."), Refusal::Parts),
        (format!("{good}.{signature}"), Refusal::Parts),
        (format!("{header}..{signature}"), Refusal::Signature),
        (format!(".{body}.{signature}"), Refusal::Header),
        (format!("{header}.{body}."), Refusal::Signature),
        (format!("{header}=.{body}.{signature}"), Refusal::Encoding),
        (format!("{header}.{body}.{signature}="), Refusal::Encoding),
        (format!("{good}\n"), Refusal::Encoding),
        (format!("{good}{}", "A".repeat(8192)), Refusal::TooLong),
    ] {
        assert_eq!(fixture.verify(&token), Err(refusal), "{token}");
    }
    // A signature holds for every byte before it.
    let other = fixture.sign(r#"{"put":"b"}"#);
    let [_, other_body, other_signature] = parts(&other);
    for token in [
        format!("{header}.{other_body}.{signature}"),
        format!("{header}.{body}.{other_signature}"),
    ] {
        assert_eq!(fixture.verify(&token), Err(Refusal::Signature));
    }
}

#[test]
fn headers_that_are_not_understood_are_refused() {
    let fixture = Fixture::new(Algorithm::HS256);
    for (header, refusal) in [
        (r#"{"alg":"none"}"#, Refusal::UnknownAlgorithm),
        (r#"{"alg":"hs256"}"#, Refusal::UnknownAlgorithm),
        (r#"{"alg":"ES512"}"#, Refusal::UnknownAlgorithm),
        (r#"{"alg":"HS384"}"#, Refusal::AlgorithmMismatch),
        (r#"{"alg":"RS256"}"#, Refusal::AlgorithmMismatch),
        (r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, Refusal::Critical),
        (r#"{"alg":"HS256","crit":null}"#, Refusal::Critical),
        (r#"{"alg":"HS256","typ":"JWE"}"#, Refusal::Type),
        (r#"{"alg":"HS256","typ":1}"#, Refusal::Type),
        (r#"{"alg":"HS256","kid":1}"#, Refusal::Header),
        (r#"{"alg":"HS256","alg":"HS256"}"#, Refusal::Header),
        (r#"{"alg":1}"#, Refusal::Header),
        ("{}", Refusal::Header),
        ("[]", Refusal::Header),
        ("", Refusal::Header),
        ("\u{feff}{}", Refusal::Header),
    ] {
        assert_eq!(
            fixture.verify(&fixture.sign_with(header, r#"{"put":"a"}"#)),
            Err(refusal),
            "{header}"
        );
    }
    for header in [
        r#"{"alg":"HS256"}"#,
        r#"{"alg":"HS256","typ":"jwt","kid":"any","cty":"x","jku":"https://a.example/"}"#,
    ] {
        assert!(
            fixture.verify(&fixture.sign_with(header, r#"{"put":"a"}"#)).is_ok(),
            "{header}"
        );
    }
}

#[test]
fn a_public_key_is_no_secret() {
    // A verifier that believes the header would take the public key for a shared secret.
    for algorithm in [Algorithm::ES256, Algorithm::EdDSA] {
        let fixture = Fixture::new(algorithm);
        let public: Value = serde_json::from_str(&fixture.key.to_json()).unwrap();
        let secret = json!({ "kty": "oct", "alg": "HS256", "k": public["x"] });
        let forger = Key::parse(&secret.to_string()).unwrap();
        let token = forger.sign(r#"{"put":"a"}"#, &SystemRandom::new()).unwrap();
        assert_eq!(fixture.verify(&token), Err(Refusal::AlgorithmMismatch));
    }
}

#[test]
fn claims_old_and_new_grant_full_paths() {
    let grant = |claims: &str| {
        let claims = Claims::parse(claims.as_bytes()).unwrap();
        (claims.publish.to_string(), claims.subscribe.to_string())
    };
    let both = |publish: &str, subscribe: &str| (publish.to_owned(), subscribe.to_owned());
    assert_eq!(
        grant(r#"{"root":"demo","publish":["a","b/*"],"subscribe":["**/chat","x*"]}"#),
        both("demo/a, demo/b/*", "demo/**/chat, demo/x*")
    );
    assert_eq!(
        grant(r#"{"root":"/demo//x/","put":"a/","get":["","b"]}"#),
        both("demo/x/a/**", "demo/x/**, demo/x/b/**")
    );
    assert_eq!(grant(r#"{"get":""}"#), both("", "**"));
    assert_eq!(grant(r#"{"put":[],"get":["a"]}"#), both("", "a/**"));
    assert_eq!(grant(r#"{"publish":[""],"root":"a"}"#), both("a", ""));
    assert_eq!(grant(r#"{"publish":[""]}"#), both("\"\"", ""));
    assert_eq!(
        grant(r#"{"put":"a","iss":{"x":[1]},"sub":null,"jti":"1","exp":null,"iat":-1}"#),
        both("a/**", "")
    );
}

#[test]
fn claims_that_are_not_understood_are_refused() {
    let many = json!({ "publish": vec!["a"; 257] }).to_string();
    // Short as it is written, long in memory.
    let large = json!({ "publish": vec!["a/a/a/a/a/a"; 150], "subscribe": vec!["a/a/a/a/a/a"; 150] }).to_string();
    let deep = json!({ "root": "a/".repeat(32), "publish": ["a"] }).to_string();
    let unknown = |name: &str| Refusal::UnknownClaim(name.to_owned());
    for (claims, refusal) in [
        ("", Refusal::Claims),
        ("[]", Refusal::Claims),
        (r#"{"put":"a","put":"b"}"#, Refusal::Claims),
        (r#"{"put":"a","aud":"x"}"#, unknown("aud")),
        (r#"{"put":"a","clusters":true}"#, unknown("clusters")),
        (r#"{"put":"a","cluster":1}"#, Refusal::Claims),
        (r#"{"put":"a","Root":"x"}"#, unknown("Root")),
        (r#"{"put":"a","":1}"#, unknown("")),
        (r#"{"put":"a","exp":"1"}"#, Refusal::Time("exp")),
        (r#"{"put":"a","exp":1.5}"#, Refusal::Time("exp")),
        (r#"{"put":"a","nbf":true}"#, Refusal::Time("nbf")),
        (r#"{"put":"a","iat":[]}"#, Refusal::Time("iat")),
        (r#"{"put":"a","exp":99999999999999999999}"#, Refusal::Time("exp")),
        (r#"{"put":null,"publish":["a"]}"#, PatternsError::Type("put").into()),
        (r#"{"get":1}"#, PatternsError::Type("get").into()),
        (r#"{"get":["a",1]}"#, PatternsError::Type("get").into()),
        (r#"{"publish":"a"}"#, PatternsError::Type("publish").into()),
        (r#"{"subscribe":null}"#, PatternsError::Type("subscribe").into()),
        (r#"{"root":null,"put":"a"}"#, PatternsError::Type("root").into()),
        (r#"{"put":"a","subscribe":["b"]}"#, PatternsError::Mixed.into()),
        (r#"{"put":[],"publish":["b"]}"#, PatternsError::Mixed.into()),
        ("{}", PatternsError::Nothing.into()),
        (r#"{"root":"a","put":[],"get":[]}"#, PatternsError::Nothing.into()),
        (
            r#"{"publish":["/a"]}"#,
            PatternsError::from(PatternError::EmptySegment).into(),
        ),
        (
            r#"{"publish":["a//b"]}"#,
            PatternsError::from(PatternError::EmptySegment).into(),
        ),
        (
            r#"{"publish":["**/a/**"]}"#,
            PatternsError::from(PatternError::OpenTwice).into(),
        ),
        (
            r#"{"root":"a*","publish":["b"]}"#,
            PatternsError::from(PatternError::RootStar).into(),
        ),
        (
            r#"{"put":"a*"}"#,
            PatternsError::from(PatternError::Stars("a*".to_owned())).into(),
        ),
        (&many, PatternsError::TooMany.into()),
        (&large, PatternsError::TooLarge.into()),
        (&deep, PatternsError::from(PatternError::TooManySegments).into()),
    ] {
        assert_eq!(Claims::parse(claims.as_bytes()), Err(refusal), "{claims}");
    }
}

#[test]
fn time_is_exact() {
    let claims = Claims::parse(br#"{"put":"a","nbf":100,"exp":200}"#).unwrap();
    let at = |milliseconds| {
        let grant = claims.grant(moment(Duration::from_millis(milliseconds)))?;
        Ok(grant.expires.unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap())
    };
    assert_eq!(at(99_999), Err(Refusal::NotYetValid));
    assert_eq!(at(100_000), Ok(Duration::from_secs(200)));
    assert_eq!(at(199_999), Ok(Duration::from_secs(200)));
    assert_eq!(at(200_000), Err(Refusal::Expired));
    let grant = |claims: &str| Claims::parse(claims.as_bytes()).unwrap().grant(moment(Duration::ZERO));
    assert_eq!(grant(r#"{"put":"a","exp":-1}"#), Err(Refusal::Expired));
    assert_eq!(grant(r#"{"put":"a","exp":0}"#), Err(Refusal::Expired));
    let endless: Grant = grant(r#"{"put":"a","nbf":-5,"exp":9223372036854775807}"#).unwrap();
    assert!(endless.expires.is_none_or(|at| at > SystemTime::now()));
    // A clock that cannot be right lets nobody in.
    let unset = Moment(SystemTime::UNIX_EPOCH - Duration::from_secs(1));
    let by_unset = |claims: &str| Claims::parse(claims.as_bytes()).unwrap().grant(unset);
    assert_eq!(by_unset(r#"{"put":"a","exp":100}"#), Err(Refusal::Expired));
    assert_eq!(by_unset(r#"{"put":"a","nbf":0}"#), Err(Refusal::NotYetValid));
}

#[test]
fn refusals_say_nothing_of_the_token() {
    let fixture = Fixture::new(Algorithm::HS256);
    for token in [
        "secret.secret.secret",
        "secret",
        &fixture.sign_with(r#"{"alg":"secret"}"#, "secret"),
    ] {
        let refusal = fixture.verify(token).unwrap_err();
        assert!(!refusal.to_string().contains("secret"), "{refusal}");
    }
}

pub(super) struct Fixture {
    pub(super) key: Key,
    keys: Keys,
}

impl Fixture {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        let key = Key::generate(algorithm, "k", &SystemRandom::new()).unwrap();
        let keys = Keys::parse(&key.to_json()).unwrap();
        Self { key, keys }
    }

    pub(super) fn sign(&self, claims: &str) -> String {
        self.key.sign(claims, &SystemRandom::new()).unwrap()
    }

    /// Any header and any claims, signed.
    fn sign_with(&self, header: &str, claims: &str) -> String {
        let encode = |text: &str| base64::encode(text.as_bytes());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let written: Value = serde_json::from_str(&self.key.to_json()).unwrap();
        let secret = base64::decode(written["k"].as_str().unwrap()).unwrap();
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret);
        let signature = ring::hmac::sign(&key, signed.as_bytes());
        format!("{signed}.{}", base64::encode(signature.as_ref()))
    }

    fn verify(&self, token: &str) -> Result<Claims, Refusal> {
        self.keys.verify(token)
    }
}

fn parts(token: &str) -> [&str; 3] {
    let parts: Vec<&str> = token.split('.').collect();
    parts.try_into().unwrap()
}

fn moment(since_1970: Duration) -> Moment {
    Moment(SystemTime::UNIX_EPOCH + since_1970)
}

#[test]
fn a_token_says_that_its_session_is_another_relay() {
    let is_peer = |claims: &str| {
        let claims = Claims::parse(claims.as_bytes()).unwrap();
        claims.grant(Moment(SystemTime::now())).unwrap().is_peer
    };
    assert!(is_peer(r#"{"put":"","cluster":true}"#));
    assert!(!is_peer(r#"{"put":"","cluster":false}"#) && !is_peer(r#"{"put":""}"#));
}
