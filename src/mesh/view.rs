//! `moqswitch mesh`: the links of a relay that runs, or its routes to a broadcast, as a table.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::Value;

use crate::config::MeshArguments;
use crate::{generate, limits};

/// Prints the answer of the relay whose operators' address this is.
pub fn run(asked: &MeshArguments, admin: Option<SocketAddr>) -> anyhow::Result<()> {
    let admin =
        admin.context("the relay answers operators nowhere: `admin.listen` is empty; name an address by --admin")?;
    anyhow::ensure!(admin.port() != 0, "name the relay's address for operators by --admin");
    let target = match &asked.route {
        None => "/cluster".to_owned(),
        Some(path) => format!("/route/{}", utf8_percent_encode(path.trim_matches('/'), ESCAPED)),
    };
    let text = get(admin, &target).with_context(|| format!("asking {admin}"))?;
    let answer: Value = serde_json::from_str(&text).with_context(|| format!("{admin} answered no JSON: {text}"))?;
    let shown = match (asked.json, &asked.route) {
        (true, _) => format!("{text}\n"),
        (false, None) => links(&answer),
        (false, Some(_)) => routes(&answer),
    };
    generate::print(shown.as_bytes())?;
    Ok(())
}

fn get(address: SocketAddr, target: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_WAIT_MAX)?;
    stream.set_read_timeout(Some(ANSWER_WAIT_MAX))?;
    // Of the older version, so that the body comes in one piece.
    write!(stream, "GET {target} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(limits::MESH_ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("that is no answer of HTTP")?;
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    anyhow::ensure!(matches!(status, "200" | "404"), "{status} {body}");
    Ok(body.to_owned())
}

fn links(answer: &Value) -> String {
    let mut rows = vec![
        [
            "PEER",
            "STATE",
            "HOP",
            "DRAFT",
            "RTT ms",
            "COST",
            "ANNOUNCES",
            "SUBSCRIBES",
            "SINCE s",
            "LAST END",
        ]
        .map(str::to_owned),
    ];
    for link in answer["links"].as_array().into_iter().flatten() {
        let peer = match link["peer"].as_str() {
            Some(peer) => peer.to_owned(),
            None => format!("from {}", text(&link["remote"])),
        };
        let rtt = link["rtt_ms"]
            .as_f64()
            .map_or_else(String::new, |rtt| format!("{rtt:.1}"));
        let last_end = match (link["last_end"].as_str(), link["again_ms"].as_u64()) {
            (Some(reason), Some(wait)) => format!("{reason}; again in {wait} ms"),
            (Some(reason), None) => reason.to_owned(),
            (None, _) => String::new(),
        };
        rows.push([
            peer,
            text(&link["state"]),
            text(&link["hop"]),
            text(&link["draft"]),
            rtt,
            text(&link["cost"]),
            text(&link["announced"]),
            text(&link["subscriptions"]),
            text(&link["since_s"]),
            last_end,
        ]);
    }
    format!(
        "this relay is hop {}\n{}{}",
        text(&answer["hop"]),
        table(&rows),
        list(&answer["list"])
    )
}

/// A line about the list of peers, if there is one.
fn list(list: &Value) -> String {
    let Some(from) = list["from"].as_str() else {
        return String::new();
    };
    let good = match list["good_s"].as_u64() {
        Some(seconds) => format!("good {seconds} s ago"),
        None => "not good yet".to_owned(),
    };
    let fault = list["fault"]
        .as_str()
        .map(|fault| format!("; {fault}"))
        .unwrap_or_default();
    format!("{} peers by {from}, {good}{fault}\n", text(&list["peers"]))
}

fn routes(answer: &Value) -> String {
    let mut rows = vec![["", "VIA", "COST", "HOPS", "WORSE BY"].map(str::to_owned)];
    for route in answer["routes"].as_array().into_iter().flatten() {
        let hops: Vec<String> = route["hops"].as_array().into_iter().flatten().map(text).collect();
        let via = match route["via"].as_str() {
            Some(via) => via.to_owned(),
            None => "published here".to_owned(),
        };
        rows.push([
            if route["chosen"] == true { "*" } else { "" }.to_owned(),
            via,
            text(&route["cost"][0]),
            hops.join(" "),
            text(&route["worse_by"]),
        ]);
    }
    match rows.len() {
        1 => format!("no route to {}\n", text(&answer["path"])),
        _ => table(&rows),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Columns as wide as their widest cell.
fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let mut out = String::new();
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..COLUMNS).map(width).collect();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            write!(line, "{cell:width$}  ").expect("writing to a String does not fail");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

const ANSWER_WAIT_MAX: Duration = Duration::from_secs(5);

/// What a path of HTTP does not have as it is.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`');

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn links_and_routes_are_tables() {
        let shown = links(&json!({ "hop": 7, "links": [
            { "peer": "moql://b:1", "state": "up", "hop": 9, "draft": "moq-lite-06", "rtt_ms": 1.25, "cost": 1, "announced": 3,
              "subscriptions": 2, "since_s": 60 },
            { "peer": "moql://c:1", "state": "waiting", "last_end": "silent for 3 s", "again_ms": 400 },
            { "remote": "[::1]:5", "state": "up" },
        ], "list": { "from": "https://l:443/", "peers": 2, "good_s": 9, "fault": "it answered 500" } }));
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), 6);
        assert_eq!(lines[5], "2 peers by https://l:443/, good 9 s ago; it answered 500");
        assert!(
            lines[2].starts_with("moql://b:1    up       9    moq-lite-06  1.2"),
            "{shown}"
        );
        assert!(
            lines[3].ends_with("silent for 3 s; again in 400 ms") && lines[4].starts_with("from [::1]:5"),
            "{shown}"
        );
        let shown = routes(&json!({ "path": "a", "routes": [
            { "chosen": true, "via": null, "cost": [1, 1], "hops": [4] },
            { "chosen": false, "via": "moql://b:1", "cost": [3, 3], "hops": [4, 9], "worse_by": "cost" },
        ] }));
        assert!(
            shown.contains("*  published here  1     4") && shown.trim_end().ends_with("cost"),
            "{shown}"
        );
        assert_eq!(routes(&json!({ "path": "a", "routes": [] })), "no route to a\n");
    }
}
