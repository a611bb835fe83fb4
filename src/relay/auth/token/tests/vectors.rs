//! Keys and tokens that other programs made.

use super::*;

#[test]
fn tokens_of_other_programs_are_read() {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("vectors.json")).unwrap();
    let mut algorithms = Vec::new();
    for vector in &vectors {
        let by = vector["by"].as_str().unwrap();
        let token = vector["token"].as_str().unwrap();
        let keys = Keys::parse(&vector["key"].to_string()).unwrap();
        let algorithm = keys.iter().next().unwrap().algorithm();
        algorithms.push(algorithm.to_string());
        let claims = keys
            .verify(token)
            .unwrap_or_else(|refusal| panic!("{by} {algorithm}: {refusal}"));
        assert_eq!(claims.publish.to_string(), "room/alice/**", "{by} {algorithm}");
        let subscribe = vector["subscribe"].as_str().unwrap();
        assert_eq!(claims.subscribe.to_string(), subscribe, "{by} {algorithm}");
        assert_eq!(claims.expires, Some(4_102_444_800), "{by} {algorithm}");
        // No bit of it may change.
        for at in (0..token.len()).step_by(7) {
            let mut damaged = token.as_bytes().to_vec();
            damaged[at] = if damaged[at] == b'A' { b'B' } else { b'A' };
            let damaged = String::from_utf8(damaged).unwrap();
            assert!(keys.verify(&damaged).is_err(), "{by} {algorithm}: {at}");
        }
    }
    for algorithm in Algorithm::ALL {
        assert!(algorithms.contains(&algorithm.to_string()), "no vector of {algorithm}");
    }
}
