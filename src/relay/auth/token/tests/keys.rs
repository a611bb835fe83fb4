use super::*;

#[test]
fn texts_that_are_no_key_are_refused() {
    assert!(Key::parse(&oct("")).is_ok());
    refuse(&[
        ("", KeyError::Syntax),
        ("[]", KeyError::Syntax),
        ("%", KeyError::Syntax),
        (&oct(r#","kty":"oct""#), KeyError::Syntax),
        (&" ".repeat(1024 * 1024 + 1), KeyError::TooLong),
        (r#"{"kty":"oct"}"#, KeyError::Missing("alg")),
        (r#"{"alg":"HS256"}"#, KeyError::Missing("kty")),
        (r#"{"kty":"oct","alg":"none"}"#, KeyError::Algorithm(UnknownAlgorithm)),
        (r#"{"kty":"x","alg":"HS256"}"#, KeyError::Invalid("kty")),
        (&oct(r#","kid":"a/b""#), KeyError::Id),
        (&oct(r#","kid":"""#), KeyError::Id),
        (&oct(&format!(r#","kid":"{}""#, "a".repeat(129))), KeyError::Id),
        (&oct(r#","use":"enc""#), KeyError::Use),
        (&oct(r#","key_ops":"verify""#), KeyError::Invalid("key_ops")),
        (&oct(r#","scope":{"put":["a"],"put":["b"]}"#), KeyError::Syntax),
        (&oct(r#","scope":null"#), KeyError::Invalid("scope")),
        (&oct(r#","scope":{}"#), KeyError::Scope(PatternsError::Nothing)),
        (
            &oct(r#","scope":{"put":"a"}"#),
            KeyError::Scope(PatternsError::Type("put")),
        ),
        (
            &oct(r#","scope":{"put":["a"],"publish":["a"]}"#),
            KeyError::Scope(PatternsError::Mixed),
        ),
        (
            &oct(r#","scope":{"put":["a"],"x":1}"#),
            KeyError::UnknownScope("x".to_owned()),
        ),
    ]);
}

#[test]
fn keys_that_lack_or_mismatch_their_parts_are_refused() {
    let mismatch = || KeyError::Mismatch {
        algorithm: Algorithm::ES256,
    };
    let rsa = |modulus: usize| {
        let modulus = "_".repeat(modulus) + "w";
        format!(r#"{{"kty":"RSA","alg":"RS256","n":"{modulus}","e":"AQAB","d":"AQAB"}}"#)
    };
    let edwards =
        r#"{"kty":"OKP","alg":"EdDSA","crv":"Ed25519","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","d":"AA"}"#;
    let curve =
        r#"{"kty":"EC","alg":"ES256","crv":"P-256","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","y":"AA"}"#;
    refuse(&[
        (r#"{"kty":"oct","alg":"HS256"}"#, KeyError::Missing("k")),
        (r#"{"kty":"oct","alg":"HS256","k":"AAAA"}"#, KeyError::ShortSecret),
        (r#"{"kty":"oct","alg":"HS256","k":"+"}"#, KeyError::Invalid("k")),
        (r#"{"kty":"oct","alg":"HS256","k":1}"#, KeyError::Invalid("k")),
        (r#"{"kty":"oct","alg":"ES256"}"#, mismatch()),
        (r#"{"kty":"EC","alg":"ES256","crv":"P-384"}"#, mismatch()),
        (r#"{"kty":"EC","alg":"ES256"}"#, KeyError::Missing("crv")),
        (curve, KeyError::Invalid("y")),
        (edwards, KeyError::Invalid("d")),
        (
            r#"{"kty":"RSA","alg":"RS256","n":"AQAB","e":"AQAB"}"#,
            KeyError::Modulus,
        ),
        (
            r#"{"kty":"RSA","alg":"RS256","n":"AAAA","e":"AQAB"}"#,
            KeyError::Invalid("n"),
        ),
        (&rsa(341), KeyError::PrivateIncomplete),
        (&rsa(1501), KeyError::Modulus),
    ]);
}

#[test]
fn public_keys_that_could_verify_nothing_are_refused() {
    let key = Key::generate(Algorithm::ES256, "k", &SystemRandom::new()).unwrap();
    let other = Key::generate(Algorithm::ES256, "k", &SystemRandom::new()).unwrap();
    let with = |key: &Key, member: &str, value: &Value| {
        let mut written: Value = serde_json::from_str(&key.to_public().unwrap().to_json()).unwrap();
        written[member] = value.clone();
        written.to_string()
    };
    let other_y = serde_json::from_str::<Value>(&other.to_json()).unwrap()["y"].clone();
    let rsa = |first: u8, last: u8, exponent: &str| {
        let mut modulus = vec![0xff; 256];
        (modulus[0], modulus[255]) = (first, last);
        let modulus = base64::encode(&modulus);
        format!(r#"{{"kty":"RSA","alg":"PS256","n":"{modulus}","e":"{exponent}"}}"#)
    };
    assert!(Key::parse(&rsa(0x80, 1, "AQAB")).is_ok() && Key::parse(&rsa(0x80, 1, "Af____8")).is_ok());
    refuse(&[
        (&with(&key, "y", &other_y), KeyError::Point),
        (&with(&key, "x", &json!("A".repeat(43))), KeyError::Point),
        // 2047 bits; an even number.
        (&rsa(0x7f, 1, "AQAB"), KeyError::Modulus),
        (&rsa(0x80, 2, "AQAB"), KeyError::Modulus),
        (&rsa(0x80, 1, "AQ"), KeyError::Exponent),
        (&rsa(0x80, 1, "Ag"), KeyError::Exponent),
        (&rsa(0x80, 1, "AgAAAAE"), KeyError::Exponent),
    ]);
}

#[test]
fn what_verifies_has_no_private_half() {
    for algorithm in [Algorithm::ES256, Algorithm::EdDSA] {
        let fixture = Fixture::new(algorithm);
        let kept = fixture.keys.iter().next().unwrap();
        let secret = serde_json::from_str::<Value>(&fixture.key.to_json()).unwrap()["d"].clone();
        assert!(!kept.to_json().contains(secret.as_str().unwrap()));
        // That there was one is still told: the file should not hold it.
        assert!(kept.is_private() && kept.print() == fixture.key.print());
        assert_eq!(
            kept.sign(r#"{"put":"a"}"#, &SystemRandom::new()),
            Err(SignError::Public)
        );
    }
}

#[test]
fn a_key_is_another_when_its_numbers_or_its_scope_are() {
    let fixture = Fixture::new(Algorithm::ES256);
    let key = &fixture.key;
    let changed = |member: &str, value: Value| {
        let mut written: Value = serde_json::from_str(&key.to_json()).unwrap();
        written[member] = value;
        Keys::parse(&written.to_string()).unwrap()
    };
    assert!(fixture.keys.has(key.print()));
    assert!(changed("kid", json!("other")).has(key.print()));
    assert!(!changed("key_ops", json!(["sign"])).has(key.print()));
    assert!(!changed("scope", json!({ "put": ["a"] })).has(key.print()));
    assert!(!Fixture::new(Algorithm::ES256).keys.has(key.print()));
}

fn refuse(cases: &[(&str, KeyError)]) {
    for (text, error) in cases {
        assert_eq!(
            Key::parse(text).as_ref().err(),
            Some(error),
            "{}",
            &text[..text.len().min(200)]
        );
    }
}

/// A good key with further members.
fn oct(members: &str) -> String {
    let secret = "A".repeat(43);
    format!(r#"{{"kty":"oct","alg":"HS256","k":"{secret}"{members}}}"#)
}

#[test]
fn a_key_may_be_written_as_base64url() {
    let fixture = Fixture::new(Algorithm::ES384);
    let text = base64::encode(fixture.key.to_json().as_bytes());
    let keys = Keys::parse(&format!("{text}\n")).unwrap();
    assert!(keys.verify(&fixture.sign(r#"{"put":"a"}"#)).is_ok());
}

#[test]
fn a_set_is_asked_by_name() {
    let random = SystemRandom::new();
    let [a, b] = ["a", "b"].map(|id| Key::generate(Algorithm::HS256, id, &random).unwrap());
    let sign = |key: &Key| key.sign(r#"{"put":"x"}"#, &random).unwrap();
    let set = |keys: &[&Key]| {
        let list: Vec<String> = keys.iter().map(|key| key.to_json()).collect();
        Keys::parse(&format!(r#"{{"keys":[{}]}}"#, list.join(",")))
    };
    let both = set(&[&a, &b]).unwrap();
    assert!(both.verify(&sign(&a)).is_ok() && both.verify(&sign(&b)).is_ok());
    let only_b = set(&[&b]).unwrap();
    assert_eq!(only_b.verify(&sign(&a)), Err(Refusal::UnknownKey));
    // A file with one key answers for any name.
    let file = Keys::parse(&b.to_json()).unwrap();
    assert_eq!(file.verify(&sign(&a)), Err(Refusal::Signature));

    let mut nameless: Value = serde_json::from_str(&a.to_json()).unwrap();
    nameless.as_object_mut().unwrap().remove("kid");
    let nameless = Key::parse(&nameless.to_string()).unwrap();
    assert_eq!(both.verify(&sign(&nameless)), Err(Refusal::NoKeyId));
    assert!(set(&[&a]).unwrap().verify(&sign(&nameless)).is_ok());

    assert_eq!(set(&[&a, &b, &a]).unwrap_err(), KeysError::Twice("a".to_owned()));
    let none = set(&[]).unwrap();
    assert!(none.is_empty() && !both.is_empty());
    for key in [&a, &nameless] {
        assert_eq!(none.verify(&sign(key)), Err(Refusal::UnknownKey));
    }
    let twice = format!(r#"{{"keys":[{}]}}"#, oct(r#","kty":"oct""#));
    assert_eq!(Keys::parse(&twice).unwrap_err(), KeyError::Syntax.into());
    assert_eq!(Keys::parse(r#"{"keys":{}}"#).unwrap_err(), KeysError::NoList);
    let error = Keys::parse(r#"{"keys":[1]}"#).unwrap_err();
    assert_eq!(
        error.to_string(),
        "key 0: no JSON object, and no base64url of one; or a member comes twice"
    );
}

#[test]
fn operations_bound_what_a_key_is_for() {
    let fixture = Fixture::new(Algorithm::HS512);
    let with = |operations: Value| {
        let mut written: Value = serde_json::from_str(&fixture.key.to_json()).unwrap();
        written["key_ops"] = operations;
        Key::parse(&written.to_string()).unwrap()
    };
    let token = fixture.sign(r#"{"put":"a"}"#);
    let signer = with(json!(["sign"]));
    assert_eq!(
        Keys::parse(&signer.to_json()).unwrap().verify(&token),
        Err(Refusal::NotForVerifying)
    );
    let verifier = with(json!(["verify", "wrapKey"]));
    assert!(Keys::parse(&verifier.to_json()).unwrap().verify(&token).is_ok());
    let signed = verifier.sign(r#"{"put":"a"}"#, &SystemRandom::new());
    assert_eq!(signed, Err(SignError::NotForSigning));
}

#[test]
fn the_scope_of_a_key_is_a_ceiling() {
    let fixture = Fixture::new(Algorithm::EdDSA);
    let scoped = fixture
        .key
        .with_scope(json!({ "root": "demo", "publish": ["live/**", "exact"], "subscribe": ["**"] }))
        .unwrap();
    // Who has the private key could sign more; so it is the verifier who looks.
    let keys = Keys::parse(&scoped.to_public().unwrap().to_json()).unwrap();
    let verify = |claims: &str| keys.verify(&fixture.sign(claims)).map(|_| ());
    for claims in [
        r#"{"root":"demo","publish":["live/a","live/**","exact"]}"#,
        r#"{"root":"demo/live","put":""}"#,
        r#"{"publish":["demo/live/*"],"subscribe":["demo/**/x"]}"#,
    ] {
        assert_eq!(verify(claims), Ok(()), "{claims}");
    }
    for claims in [
        r#"{"root":"demo","publish":["live/a","other"]}"#,
        r#"{"root":"demo","put":"exact"}"#,
        r#"{"root":"demo/lively","put":""}"#,
        r#"{"publish":["**"]}"#,
        r#"{"subscribe":["**"]}"#,
        r#"{"subscribe":["*/x"]}"#,
    ] {
        assert_eq!(verify(claims), Err(Refusal::ScopeExceeded), "{claims}");
    }
}

#[test]
fn what_is_secret_is_not_shown() {
    let key = Key::generate(Algorithm::ES256, "k", &SystemRandom::new()).unwrap();
    let written: Value = serde_json::from_str(&key.to_json()).unwrap();
    let secret = written["d"].as_str().unwrap();
    assert!(!format!("{key:?}").contains(secret));
    let public = key.to_public().unwrap();
    assert!(!public.to_json().contains(secret) && !public.is_private() && key.is_private());
    assert_eq!(
        public.sign(r#"{"put":"a"}"#, &SystemRandom::new()),
        Err(SignError::NotForSigning)
    );
}
