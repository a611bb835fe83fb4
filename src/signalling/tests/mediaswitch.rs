//! The HTTP of mediaswitch, path by path: statuses, phrases and bodies as control programs have always had them.

use serde_json::{Value, json};

use crate::control::{Control, DOMAIN, Edge};
use crate::harness::{Answer, Normal, compare_text};

/// `"201 created"`.
fn line(answer: &Answer) -> &str {
    let line = answer.head.lines().next().unwrap();
    line.strip_prefix("http/1.1 ").unwrap()
}

async fn expect(edge: &Edge, method: &str, path: &str, body: &str, status: &str) -> Answer {
    let answer = edge.ask(method, path, body).await;
    assert_eq!(line(&answer), status, "{method} {path} {body}: {answer:?}");
    if answer.status != 200 {
        assert_eq!(answer.body, "", "errors have no body");
    }
    assert!(answer.head.contains("content-type: text/json"));
    answer
}

#[tokio::test]
async fn directory_is_a_tree_that_is_pushed() {
    let edge = Edge::plain().await;
    let domain = format!("/dir/{DOMAIN}");
    let seed = r#"{ "control": "http://127.0.0.1:9001", "users": [ { "username": "1003", "secret": "1123654789"}]}"#;
    expect(&edge, "PUT", &domain, seed, "201 created").await;
    let shown = edge.get(&domain).await;
    assert_eq!(shown.body, r#"{"users":["1003"],"control":"http://127.0.0.1:9001"}"#);
    for (path, body) in [
        ("/dir", r#"{"domains":["com"]}"#),
        ("/dir/com", r#"{"domains":["babblevoice"]}"#),
        ("/dir/babblevoice.com", r#"{"domains":["bling"]}"#),
    ] {
        assert_eq!(edge.get(path).await.body, body, "{path}");
    }
    let user = format!("{domain}/1004");
    for (method, path, body, status) in [
        ("PUT", "/dir", seed, "400 path too short"),
        ("PUT", user.as_str(), r#"{ "secret": "1123654789" }"#, "200 updated"),
        ("PATCH", user.as_str(), r#"{ "secret": "2" }"#, "200 updated"),
        ("PATCH", user.as_str(), "{}", "400 secret required"),
        ("PATCH", user.as_str(), r#"{"secret":1}"#, "400 secret required"),
        (
            "PUT",
            "/dir/unknown.example/1",
            r#"{"secret":"1"}"#,
            "404 domain not found",
        ),
        ("PATCH", "/dir/unknown.example", "{}", "404 domain not found"),
        (
            "PATCH",
            domain.as_str(),
            r#"{"control":{"host":"127.0.0.1","port":9001}}"#,
            "200 updated",
        ),
        (
            "PATCH",
            domain.as_str(),
            r#"{"control":"gopher://x"}"#,
            "400 bad control",
        ),
        ("PUT", domain.as_str(), r#"{"users":{}}"#, "400 bad users"),
        (
            "PUT",
            domain.as_str(),
            r#"{"users":[{"username":"a b","secret":"x"}]}"#,
            "400 bad users",
        ),
        ("GET", "/dir/unknown.example", "", "404 not found"),
        ("GET", "/dir/a.b.c.d.e.f", "", "400 bad path"),
        ("GET", "/dir/a/b/c", "", "400 path wrong length"),
        ("DELETE", "/dir/unknown.example", "", "400 bad path"),
        ("DELETE", "/dir/unknown.example/1", "", "404 no such domain"),
        ("DELETE", "/dir", "", "400 path too short"),
        ("DELETE", user.as_str(), "", "200 removed"),
        ("DELETE", user.as_str(), "", "200 removed"),
        ("HEAD", "/dir", "", "405 method not allowed"),
    ] {
        expect(&edge, method, path, body, status).await;
    }
    assert_eq!(
        edge.get(&domain).await.body,
        r#"{"users":["1003"],"control":"http://127.0.0.1:9001"}"#,
        "errors changed nothing"
    );
    // A user without a name or a secret is skipped.
    let incomplete = r#"[{"users":[{"username":"1"},{"secret":"x"},{"username":"2","secret":"x"}]}]"#;
    expect(&edge, "POST", &domain, incomplete, "201 created").await;
    assert_eq!(edge.get(&domain).await.body, r#"{"users":["2"]}"#);
    expect(&edge, "DELETE", &domain, "", "200 removed").await;
    expect(&edge, "GET", "/dir/com", "", "404 not found").await;
}

#[tokio::test]
async fn registrations_are_counted_and_listed() {
    let mut control = Control::start().await;
    let edge = Edge::controlled(&control, &["1000", "1001", "1003"]).await;
    assert_eq!(edge.get("/reg").await.body, r#"{"count":0}"#);
    let phone = edge.phone("1003").await;
    let (what, body) = control.next().await;
    assert_eq!(what, format!("PUT /reg/{DOMAIN}/1003"));
    let told: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&told["host"], &told["user"]),
        (&json!("127.0.0.1"), &json!(format!("1003@{DOMAIN}")))
    );
    let port = told["port"].clone();
    assert_eq!(edge.get("/reg/").await.body, r#"{"count":1}"#);
    let listed = edge.get(&format!("/reg/{DOMAIN}")).await;
    let since = listed.json()["users"]["1003"]["epochs"]["registered"].clone();
    assert!(since.as_u64().unwrap() > 1_600_000_000);
    let user = format!(
        r#""1003":{{"registered":true,"outstandingping":0,"remote":{{"host":"127.0.0.1","port":{port}}},"epochs":{{"registered":{since}}}}}"#
    );
    assert_eq!(
        listed.body,
        format!(
            r#"{{"domain":"{DOMAIN}","count":3,"registered":1,"users":{{"1000":{{"registered":false}},"1001":{{"registered":false}},{user}}}}}"#
        )
    );
    let one = edge.get(&format!("/reg/{DOMAIN}/1003")).await;
    assert_eq!(
        one.body,
        format!(r#"{{"domain":"{DOMAIN}","count":3,"registered":1,"users":{{{user}}}}}"#)
    );
    let none = edge.get(&format!("/reg/{DOMAIN}/1009")).await.json();
    assert_eq!((&none["registered"], &none["users"]), (&json!(0), &json!({})));
    expect(&edge, "GET", "/reg/unknown.example", "", "404 domain not found").await;
    expect(&edge, "PUT", "/reg/x", "", "405 method not allowed").await;
    let mut phone = phone;
    phone.send("unregister", json!({})).await;
    phone.expect("unregistered").await;
    let (what, body) = control.next().await;
    assert_eq!((what, body.as_str()), (format!("DELETE /reg/{DOMAIN}/1003"), ""));
}

#[tokio::test]
async fn secrets_of_the_directory_let_devices_in() {
    let edge = Edge::plain().await;
    edge.push("http://127.0.0.1:1", &["1003"]).await;
    let mut phone = crate::harness::Phone::connect(edge.switch.address, "/ws").await;
    for (dn, password, code) in [
        (format!("1003@{DOMAIN}"), "wrong", 403),
        (format!("1003@{}", DOMAIN.to_uppercase()), "wrong", 403),
        (format!("1004@{DOMAIN}"), "s", 403),
    ] {
        phone.send("register", json!({ "dn": dn, "password": password })).await;
        assert_eq!(phone.expect("registrationFailed").await["code"], code, "{dn}");
    }
    phone
        .send("register", json!({ "dn": format!("1003@{DOMAIN}"), "password": "s" }))
        .await;
    phone.expect("registered").await;
    // Nobody is told a secret.
    let shown = edge.get(&format!("/dir/{DOMAIN}")).await.body;
    assert_eq!(shown, r#"{"users":["1003"],"control":"http://127.0.0.1:1"}"#);
}

/// Ids, times, ports and tokens as they are each time.
fn normal(normal: &mut Normal, text: &str) -> String {
    let mut value: Value = serde_json::from_str(text).unwrap();
    for (name, at) in value["epochs"].as_object_mut().unwrap() {
        if *at != json!(0) {
            *at = json!(format!("<{name}>"));
        }
    }
    value["remote"]["port"] = json!("<port>");
    if let Some(contact) = value["contact"].as_str() {
        let (address, _) = contact.rsplit_once(':').unwrap();
        value["contact"] = json!(format!("{address}:<port>>"));
    }
    normal.value(&value).to_string()
}

/// The top-level fields, in the order in which they came.
fn fields(text: &str) -> Vec<String> {
    let (mut depth, mut fields, mut rest) = (0, Vec::new(), text.char_indices().peekable());
    while let Some((at, character)) = rest.next() {
        match character {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            '"' => {
                let end = text[at + 1..].find('"').unwrap() + at + 1;
                while rest.next_if(|(next, _)| *next <= end).is_some() {}
                if depth == 1 && text[end + 1..].starts_with(':') {
                    fields.push(text[at + 1..end].to_owned());
                }
            }
            _ => {}
        }
    }
    fields
}

#[tokio::test]
async fn control_server_is_told_the_whole_state_at_each_change() {
    let mut control = Control::start().await;
    let edge = Edge::controlled(&control, &["1000"]).await;
    let mut phone = edge.phone("1000").await;
    control.next().await;
    phone.send("call", json!({ "to": "6" })).await;
    let (mut told, mut ids) = (Vec::new(), Normal::default());
    let (what, first) = control.next().await;
    let call = what.strip_prefix("PUT /dialog/").unwrap().to_owned();
    let order = "callid domain to from contact maxforwards authenticated ring answered hold originator hangup error remote sdp media epochs";
    assert_eq!(fields(&first).join(" "), order);
    told.push(first);
    let callid = json!({ "callid": call });
    edge.act("ring", &json!({ "callid": call, "alertinfo": "somealertinfo" }))
        .await;
    told.push(control.next().await.1);
    edge.act("ring", &callid).await;
    edge.act("answer", &callid).await;
    told.push(control.next().await.1);
    phone.expect("callAccepted").await;
    for hold in [true, false] {
        phone.send("hold", json!({ "callId": call, "hold": hold })).await;
        told.push(control.next().await.1);
    }
    phone.send("transfer", json!({ "callId": call, "to": "1004" })).await;
    let (_, referred) = control.next().await;
    assert_eq!(
        fields(&referred).join(" "),
        order.replace("maxforwards", "maxforwards refer")
    );
    told.push(referred);
    edge.act("notify", &callid).await;
    told.push(control.next().await.1);
    assert_eq!(phone.expect("callEnded").await["reason"], "transferred");
    let lines: Vec<String> = told.iter().map(|text| normal(&mut ids, text)).collect();
    compare_text("mediaswitch-callbacks.txt", &(lines.join("\n") + "\n"));
    assert_eq!(edge.get("/dialog").await.body, r#"{"count":0,"counter":1}"#);
}

#[tokio::test]
async fn calls_are_begun_in_every_form_there_was() {
    let mut control = Control::start().await;
    let edge = Edge::controlled(&control, &["1003"]).await;
    let mut phone = edge.phone("1003").await;
    let forms = [
        json!({"from":{"domain":DOMAIN,"user":"1000"},"to":{"user":"1003"},"maxforwards":70,"cid":{"number":"123","name":"Alice"}}),
        json!([{"domain":DOMAIN,"to":"1003","from":"1000","maxforwards":70,"callerid":{"number":"123","name":"Alice","private":false},"control":control.url()}]),
        json!({"to":format!("1003@{DOMAIN}"),"from":"","callerid":{"number":"123","name":"Alice"}}),
    ];
    for form in &forms {
        for (method, path) in [
            ("POST", "/dialog/invite"),
            ("PUT", "/dialog/invite"),
            ("POST", "/invite"),
        ] {
            let answer = edge.ask(method, path, &form.to_string()).await;
            assert_eq!(line(&answer), "200 ok", "{form}: {answer:?}");
            let call = answer.json()["callid"].as_str().unwrap().to_owned();
            let incoming = phone.expect("incomingCall").await;
            assert_eq!(
                (&incoming["callId"], &incoming["from"], &incoming["displayName"]),
                (&json!(call), &json!("123"), &json!("Alice"))
            );
            let state = control.dialog(|state| state["ring"] == true).await;
            assert_eq!((&state["callid"], &state["originator"]), (&json!(call), &json!(true)));
            assert!(state.get("to").is_none(), "no INVITE came");
            edge.act("hangup", &json!({ "callid": call })).await;
            assert_eq!(phone.expect("callEnded").await["reason"], "unallocated");
            control.dialog(|state| state["hangup"] == true).await;
        }
    }
    let private =
        json!({"to":format!("1003@{DOMAIN}"),"from":"1000","cid":{"number":"123","name":"Alice","private":true}});
    edge.post("/dialog/invite", &private).await;
    let incoming = phone.expect("incomingCall").await;
    assert_eq!(
        (&incoming["from"], &incoming["displayName"]),
        (&json!("anonymous"), &json!(""))
    );
}

#[tokio::test]
async fn calls_that_cannot_be_begun_say_why() {
    let edge = Edge::plain().await;
    edge.push("http://127.0.0.1:1", &["1003", "1004"]).await;
    let mut phone = edge.phone("1004").await;
    let to = |user: &str, more: Value| {
        let mut body = json!({ "from": "1000", "to": { "user": user, "domain": DOMAIN } });
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        body.to_string()
    };
    for (body, status) in [
        ("{}".to_owned(), "500 missing param or params in invite"),
        (r#"{"to":"1003"}"#.to_owned(), "500 missing param or params in invite"),
        (r#"{"from":"1"}"#.to_owned(), "500 missing param or params in invite"),
        (
            r#"{"from":"1","to":""}"#.to_owned(),
            "500 missing param or params in invite",
        ),
        (
            r#"{"from":"1","to":7}"#.to_owned(),
            "500 missing param or params in invite",
        ),
        (to("1003", json!({})), "480 temporarily unavailable"),
        (to("1009", json!({})), "404 not found"),
        (to("a b", json!({})), "404 not found"),
        (to("1004", json!({ "maxforwards": 0 })), "483 too many hops"),
        (to("1004", json!({ "control": 7 })), "400 bad control"),
        (r#"{"from":"1","to":"x@a.b.c.d.e.f"}"#.to_owned(), "404 not found"),
    ] {
        expect(&edge, "POST", "/dialog/invite", &body, status).await;
    }
    // A ninth call of a number is one too many.
    for _ in 0..8 {
        expect(
            &edge,
            "POST",
            "/dialog/invite",
            &to("1004", json!({ "control": "http://127.0.0.1:1" })),
            "200 ok",
        )
        .await;
    }
    let answer = edge.ask("POST", "/dialog/invite", &to("1004", json!({}))).await;
    assert!([200, 486].contains(&answer.status), "{answer:?}");
    phone.send("unregister", json!({})).await;
    phone.expect("unregistered").await;
    assert_eq!(edge.live().await, (json!(0), json!([])));
}

#[tokio::test]
async fn unknown_dialogs_and_actions_are_not_found() {
    let edge = Edge::plain().await;
    let unknown = format!(r#"{{"callid":"{}"}}"#, "0".repeat(32));
    for action in [
        "ring", "answer", "ok", "notify", "hangup", "invite", "mix", "unmix", "dance",
    ] {
        for method in ["PUT", "POST"] {
            let path = format!("/dialog/{action}");
            expect(&edge, method, &path, &unknown, "404 not found").await;
        }
        if action != "invite" {
            expect(&edge, "PUT", &format!("/dialog/{action}"), "{}", "404 not found").await;
        }
        expect(
            &edge,
            "PUT",
            &format!("/dialog/{action}"),
            r#"{"callid":7}"#,
            "404 not found",
        )
        .await;
    }
    for (method, path, status) in [
        ("GET", "/", "405 method not allowed"),
        ("GET", "/nothing", "404 not found"),
        ("DELETE", "/dialog", "405 method not allowed"),
        ("PUT", "/dialog/ring/x", "404 not found"),
        ("GET", "/%ff", "400 bad path"),
    ] {
        expect(&edge, method, path, "", status).await;
    }
    assert_eq!(edge.get("/dialog").await.body, r#"{"count":0,"counter":0}"#);
}

/// Each `curl` example of the manual is done.
#[tokio::test]
async fn examples_of_the_manual_are_answered() {
    let mut control = Control::start().await;
    let edge = Edge::plain().await;
    let manual = include_str!("../mediaswitch/README.md");
    let examples: Vec<&str> = manual.lines().filter(|line| line.starts_with("curl ")).collect();
    assert!(examples.len() > 15, "{examples:?}");
    let (mut alice, mut callees, mut call, mut other) = (None, Vec::new(), String::new(), String::new());
    for example in examples {
        if example.contains("/invite") && alice.is_none() {
            // Its control server is this test's, and there is somebody to call.
            edge.push(&control.url(), &["1000", "1003"]).await;
            let mut phone = edge.phone("1000").await;
            phone.send("call", json!({ "to": "6" })).await;
            call = control.call().await;
            alice = Some(phone);
        }
        let (_, path) = example.split_once("http://127.0.0.1:9000").unwrap();
        let method = example
            .split_once("-X ")
            .map_or("GET", |(_, rest)| rest.split(' ').next().unwrap());
        let body = example
            .split_once("--data-raw '")
            .map_or("", |(_, rest)| rest.split_once('\'').unwrap().0);
        let body = body.replace("http://127.0.0.1:9001", &control.url());
        let body = body.replace("$CALL", &call).replace("$OTHER", &other);
        let mut bob = None;
        if example.contains("/invite") {
            bob = Some(edge.phone("1003").await);
        }
        let answer = edge.ask(method, path, &body).await;
        let expected = match (method, path) {
            ("PUT", path) if path.ends_with(".com") => 201,
            ("POST", "/") => 503,
            _ => 200,
        };
        assert_eq!(answer.status, expected, "{example}: {answer:?}");
        if let Some(mut bob) = bob.filter(|_| example.contains("/dialog/invite")) {
            other = answer.json()["callid"].as_str().unwrap().to_owned();
            bob.expect("incomingCall").await;
            bob.send("answer", json!({ "callId": other })).await;
            bob.expect("callAccepted").await;
            alice.as_mut().unwrap().sync().await;
            // It stays, so that it can be mixed.
            callees.push(bob);
        }
    }
}
