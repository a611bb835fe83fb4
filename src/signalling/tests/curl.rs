//! What older pages and manuals show, by `curl` itself: their own lines, with another host and port. Where there is no curl,
//! these tests say so and try nothing.

use std::net::SocketAddr;

use crate::control::Edge;
use crate::harness::Switch;

/// Runs a line of a shell that begins with `curl`; `None`: there is none here. The status and the body.
pub(crate) async fn curl(line: &str, variables: &[(&str, &str)]) -> Option<(u16, String)> {
    assert!(line.starts_with("curl "), "{line}");
    let mut command = tokio::process::Command::new("sh");
    command.args(["-c", &line.replacen("curl ", "curl -sS -m 60 -w '\n%{http_code}' ", 1)]);
    command.envs(variables.iter().copied());
    let output = command.output().await.unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    if output.status.code() == Some(127) {
        eprintln!("SKIPPED: there is no curl: {line}");
        return None;
    }
    let (body, status) = told
        .rsplit_once('\n')
        .unwrap_or_else(|| panic!("{line}: {:?}", output.stderr));
    Some((status.parse().unwrap(), body.to_owned()))
}

/// Lines of a page, each with the status that it is to have.
async fn all(lines: &[(&str, u16)], at: SocketAddr, places: &[&str]) {
    for (line, expected) in lines {
        let mut ours = (*line).to_owned();
        for place in places {
            ours = ours.replace(place, &format!("http://{at}"));
        }
        assert_ne!(ours, *line, "it would go elsewhere");
        if let Some((status, body)) = curl(&ours, &[]).await {
            assert_eq!(status, *expected, "{line}: {body}");
        }
    }
}

#[tokio::test]
async fn lines_of_the_call_centre_work() {
    let switch = Switch::plain().await;
    let _agent = switch.phone("5001").await;
    let _customer = switch.phone("1003").await;
    let make = r#"curl -k -X POST https://192.168.210.54:8443/api/call/make \
  -H "Content-Type: application/json" \
  -d '{"from":"5001","to":"1003"}'"#;
    let lines = [
        ("curl -k https://192.168.210.54:8443/api/health", 200),
        ("curl -k https://192.168.210.54:8443/api/dn/5001", 200),
        ("curl -k https://192.168.210.54:8443/api/calls/active", 200),
        (make, 202),
    ];
    all(&lines, switch.address, &["https://192.168.210.54:8443"]).await;
}

#[tokio::test]
async fn lines_of_mediaswitch_work() {
    let edge = Edge::plain().await;
    let lines = [
        (
            r#"curl -X PUT --data-raw '{ "control": "http://127.0.0.1:9001", "users": [ { "username": "1003", "secret": "1123654789"}]}' -H "Content-Type:application/json" http://127.0.0.1/dir/bling.babblevoice.com"#,
            201,
        ),
        (
            r#"curl -X PUT --data-raw '{ "secret": "1123654789" }' -H "Content-Type:application/json" http://127.0.0.1/dir/bling.babblevoice.com/1003"#,
            200,
        ),
        // A quotation mark is missing in the page: it is no JSON.
        (
            r#"curl -X POST --data-raw '[{ "domain": "bling.babblevoice.com", "to: "", "from": "", "maxforwards": 70, "callerid": { "number": "123", "name": "123", "private": false }, "control": { "host": "127.0.0.1", "port": 9001 } }]' -H "Content-Type:application/json" http://127.0.0.1/invite"#,
            500,
        ),
        // With it, it is to nobody.
        (
            r#"curl -X POST --data-raw '[{ "domain": "bling.babblevoice.com", "to": "", "from": "", "maxforwards": 70, "callerid": { "number": "123", "name": "123", "private": false }, "control": { "host": "127.0.0.1", "port": 9001 } }]' -H "Content-Type:application/json" http://127.0.0.1/invite"#,
            500,
        ),
        // The page means /dialog/ring, and says another path.
        (
            r#"curl -X  POST --data-raw '{ "callid": "<callid>", "alertinfo": "somealertinfo" }' -H "Content-Type:application/json" http://sip/dir"#,
            400,
        ),
        (
            r#"curl -X  POST --data-raw '{ "callid": "<callid>", "alertinfo": "somealertinfo" }' -H "Content-Type:application/json" http://sip/dialog/ring"#,
            404,
        ),
        // Nothing has RTP here.
        (
            r#"curl -X  POST --data-raw '{}' -H "Content-Type:application/json" http://rtp/"#,
            503,
        ),
    ];
    // What stands in a body is not the place of the request.
    let places = ["json\" http://127.0.0.1", "json\" http://sip", "json\" http://rtp"];
    for (line, expected) in lines {
        let place = places.iter().find(|place| line.contains(**place)).unwrap();
        let ours = line.replace(place, &format!("json\" http://{}", edge.address()));
        if let Some((status, body)) = curl(&ours, &[]).await {
            assert_eq!(status, expected, "{line}: {body}");
        }
    }
}
