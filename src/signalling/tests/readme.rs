//! Each `curl` example of the README is done.

use serde_json::json;

use crate::harness::Switch;
use crate::main_path::connect;
use crate::rest::{event, follow};

#[tokio::test]
async fn examples_are_answered() {
    let readme = include_str!("../README.md");
    let switch = Switch::plain().await;
    let mut chief = switch.phone("5009").await;
    let mut carol = switch.phone("5003").await;
    let mut alice = switch.phone("5001").await;
    let mut bob = switch.phone("5002").await;
    let (_, call) = connect(&mut alice, &mut bob, "5002").await;
    // Calls go on when `make` and `hangup` have been shown; the latter ends a call of its own.
    let (_, other) = connect(&mut carol, &mut chief, "5009").await;
    let examples: Vec<&str> = readme.lines().filter(|line| line.starts_with("curl ")).collect();
    assert!(examples.len() > 15, "{examples:?}");
    for example in examples {
        if example.contains("/api/events") {
            // It has no end of its own: something happens, and is told.
            let mut events = follow(&switch, None).await;
            switch.phone("5010").await;
            assert_eq!(event(&mut events, &["registration"]).await.2["dn"], "5010");
            continue;
        }
        let (_, path) = example.split_once("http://127.0.0.1:4443").unwrap();
        // What follows it says what it is for.
        let path = path.split_whitespace().next().unwrap_or_default();
        let path = path.trim_end_matches('"').replace("$CALL", &call);
        let body = example.split_once("-d '").and_then(|(_, rest)| rest.split_once('\''));
        let answer = match body {
            Some((body, _)) => {
                let body = body.replace('…', &other);
                switch
                    .http("POST", &path, &[("Content-Type", "application/json")], &body)
                    .await
            }
            None if example.contains("-X DELETE") => switch.http("DELETE", &path, &[], "").await,
            None => switch.get(&path).await,
        };
        // There is no trunk.
        let expected = match path.as_str() {
            "/api/genesys/status" => 503,
            "/api/call/make" => 202,
            // Nothing is recorded, and nobody leaves messages.
            path if path.starts_with("/api/recordings") || path.starts_with("/api/voicemail") => 404,
            _ => 200,
        };
        assert_eq!(answer.status, expected, "{example}: {answer:?}");
        if path.ends_with("/hold") {
            switch.post(&path, &json!({ "hold": false })).await;
        }
    }
}
