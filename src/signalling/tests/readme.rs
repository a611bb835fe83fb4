//! Each `curl` example of the README is done.

use serde_json::json;

use crate::curl::curl;
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
        // By curl itself where there is one, and in its place otherwise.
        let ours = example.replace("http://127.0.0.1:4443", &format!("http://{}", switch.address));
        let status = match curl(&ours.replace('…', &other), &[("CALL", &call)]).await {
            Some((status, _)) => status,
            None => answered(&switch, example, &path, &other).await,
        };
        // There is no trunk.
        let expected = match path.as_str() {
            "/api/genesys/status" => 503,
            "/api/call/make" => 202,
            // Nothing is recorded.
            path if path.starts_with("/api/recordings") => 404,
            _ => 200,
        };
        assert_eq!(status, expected, "{example}");
        if path.ends_with("/hold") {
            switch.post(&path, &json!({ "hold": false })).await;
        }
    }
}

async fn answered(switch: &Switch, example: &str, path: &str, other: &str) -> u16 {
    let body = example.split_once("-d '").and_then(|(_, rest)| rest.split_once('\''));
    let json = [("Content-Type", "application/json")];
    let answer = match body {
        Some((body, _)) => switch.http("POST", path, &json, &body.replace('…', other)).await,
        None => switch.get(path).await,
    };
    answer.status
}
