//! Both sides, against each other and against what is wrong.

use std::net::IpAddr;
use std::time::Duration;

use super::parameters::{Parameters, quote};
use super::response::{Counted, Proof};
use super::*;
use crate::limits::{DIGEST_COUNT_WINDOW, DIGEST_NONCE_LIFETIME, DIGEST_TRIES_MAX, DIGEST_USER_BYTES_MAX};

const NOW: Duration = Duration::from_secs(1_700_000_000);
const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const URI: &str = "sip:biloxi.com";

/// A registrar at which `bob` has a password.
struct Registrar {
    challenger: Challenger,
    now: Duration,
    peer: IpAddr,
}

/// What a telephone writes.
#[derive(Clone)]
struct Header {
    user: &'static str,
    password: &'static str,
    method: &'static str,
    realm: String,
    nonce: String,
    uri: String,
    algorithm: Algorithm,
    nc: String,
    qop: Option<&'static str>,
}

impl Registrar {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        Self {
            challenger: Challenger::with("biloxi.com", [7; 32], settings),
            now: NOW,
            peer: PEER,
        }
    }

    /// A telephone's answer to a challenge of now.
    fn ask(&mut self) -> Header {
        let challenges = self.challenger.challenge(self.now, self.peer, false);
        let challenge = Parameters::parse(challenges.last().unwrap()).unwrap();
        Header {
            user: "bob",
            password: "zanzibar",
            method: "REGISTER",
            realm: challenge.get("realm").unwrap().to_owned(),
            nonce: challenge.get("nonce").unwrap().to_owned(),
            uri: URI.to_owned(),
            algorithm: Algorithm::parse(challenge.get("algorithm").unwrap()).unwrap(),
            nc: "00000001".to_owned(),
            qop: Some("auth"),
        }
    }

    fn check(&mut self, header: &Header) -> Verdict {
        self.check_text(&header.text())
    }

    fn check_text(&mut self, text: &str) -> Verdict {
        self.challenger
            .check(self.now, "REGISTER", URI, text, self.peer, password_of)
    }
}

impl Header {
    fn text(&self) -> String {
        let counted = self.qop.map(|qop| Counted {
            nc: &self.nc,
            cnonce: "0a4f113b",
            qop,
        });
        let proof = Proof {
            method: self.method,
            uri: &self.uri,
            nonce: &self.nonce,
            counted,
        };
        let ha1 = Ha1::of(self.algorithm, self.user, &self.realm, self.password);
        let rest = self.qop.map_or_else(String::new, |qop| {
            format!(", qop={qop}, nc={}, cnonce=\"0a4f113b\"", self.nc)
        });
        format!(
            "Digest username={}, realm={}, nonce=\"{}\", uri=\"{}\", response=\"{}\", algorithm={}{rest}",
            quote(self.user),
            quote(&self.realm),
            self.nonce,
            self.uri,
            proof.response(&ha1),
            self.algorithm.name(),
        )
    }

    fn counting(&self, nc: &str) -> Self {
        Self {
            nc: nc.to_owned(),
            ..self.clone()
        }
    }
}

fn password_of(user: &str, algorithm: Algorithm) -> Option<Ha1> {
    (user == "bob").then(|| Ha1::of(algorithm, user, "biloxi.com", "zanzibar"))
}

fn bob() -> Verdict {
    Verdict::Good { user: "bob".to_owned() }
}

fn replayed() -> Verdict {
    Verdict::Replayed { user: "bob".to_owned() }
}

fn client() -> Client {
    Client::new("bob", Secret::Password("zanzibar".to_owned()))
}

#[test]
fn challenges_offer_the_stronger_one_first() {
    let mut registrar = Registrar::new();
    let challenges = registrar.challenger.challenge(NOW, PEER, false);
    assert_eq!(challenges.len(), 2);
    assert!(challenges[0].starts_with("Digest realm=\"biloxi.com\", nonce=\""));
    assert!(challenges[0].ends_with("\", qop=\"auth\", algorithm=SHA-256"));
    assert!(challenges[1].ends_with("\", qop=\"auth\", algorithm=MD5"));
    let stale = registrar.challenger.challenge(NOW, PEER, true);
    assert!(stale.iter().all(|challenge| challenge.ends_with(", stale=true")));
    let settings = Settings {
        algorithms: vec![Algorithm::Md5],
        ..Settings::default()
    };
    assert_eq!(
        Registrar::with(settings).challenger.challenge(NOW, PEER, false).len(),
        1
    );
}

#[test]
fn realms_of_any_kind_come_through() {
    let realm = "a \"b\" \\ c\r\nX: y";
    let mut challenger = Challenger::new(realm, [1; 32]);
    let challenges = challenger.challenge(NOW, PEER, false);
    assert!(!challenges[0].contains(['\r', '\n']));
    let challenges: Vec<&str> = challenges.iter().map(String::as_str).collect();
    let mut client = client();
    let sent = client
        .answer(
            &mut Attempt::default(),
            Place::Server,
            &challenges,
            "REGISTER",
            URI,
            "c",
        )
        .unwrap();
    let secret = |user: &str, algorithm| Some(Ha1::of(algorithm, user, "a \"b\" \\ cX: y", "zanzibar"));
    let verdict = challenger.check(NOW, "REGISTER", URI, &sent[0].value, PEER, secret);
    assert_eq!(verdict, bob());
}

/// rsipstack reads the count as hexadecimal and writes it as decimal.
#[test]
fn counts_are_hexadecimal() {
    let mut registrar = Registrar::new();
    let header = registrar.ask();
    for count in 1..=0x101 {
        let nc = format!("{count:08x}");
        assert_eq!(registrar.check(&header.counting(&nc)), bob(), "{nc}");
    }
    for nc in ["00000010", "000000ff", "00000100", "00000101"] {
        assert_eq!(registrar.check(&header.counting(nc)), replayed(), "{nc}");
    }
    for nc in ["0000010A", "0000010b", "10c", "FFFFFFFF"] {
        assert_eq!(registrar.check(&header.counting(nc)), bob(), "{nc}");
    }
}

#[test]
fn what_is_no_count_is_refused() {
    let mut registrar = Registrar::new();
    let header = registrar.ask();
    for nc in ["00000000", "000000001", "+1", "-1", "0x1", "g", "\"\"", "\u{661}"] {
        let verdict = registrar.check(&header.counting(nc));
        assert_eq!(verdict, Verdict::Malformed(Fault::Count), "{nc}");
    }
    let quoted = header.text().replace("nc=00000001", "nc=\"00000001\"");
    assert_eq!(registrar.check_text(&quoted), bob());
}

#[test]
fn requests_may_overtake_each_other_and_none_counts_twice() {
    let mut registrar = Registrar::new();
    let header = registrar.ask();
    let mut check = |count: u32| registrar.check(&header.counting(&format!("{count:08x}")));
    assert_eq!(check(100), bob());
    assert_eq!(check(98), bob());
    assert_eq!(check(99), bob());
    assert_eq!(check(98), replayed());
    assert_eq!(check(100 - DIGEST_COUNT_WINDOW), bob());
    assert_eq!(check(100 - DIGEST_COUNT_WINDOW - 1), replayed());
    assert!(replayed().is_stale());
}

#[test]
fn a_wrong_password_uses_up_nothing() {
    let mut registrar = Registrar::new();
    let header = registrar.ask();
    let wrong = Header {
        password: "zanzibas",
        ..header.clone()
    };
    assert_eq!(registrar.check(&wrong), Verdict::Wrong { user: "bob".to_owned() });
    let unknown = Header {
        user: "bo\"b",
        ..header.clone()
    };
    assert_eq!(
        registrar.check(&unknown),
        Verdict::Unknown {
            user: "bo\"b".to_owned()
        }
    );
    assert_eq!(registrar.challenger.nonces(), 0);
    assert_eq!(registrar.check(&header), bob());
    assert_eq!(registrar.challenger.nonces(), 1);
    let other_method = Header {
        method: "INVITE",
        ..header.counting("2")
    };
    assert_eq!(
        registrar.check(&other_method),
        Verdict::Wrong { user: "bob".to_owned() }
    );
}

#[test]
fn a_secret_of_another_algorithm_is_none() {
    let mut registrar = Registrar::new();
    let text = registrar.ask().text();
    let secret = |user: &str, _| Some(Ha1::of(Algorithm::Sha256, user, "biloxi.com", "zanzibar"));
    let verdict = registrar.challenger.check(NOW, "REGISTER", URI, &text, PEER, secret);
    assert_eq!(verdict, Verdict::Unknown { user: "bob".to_owned() });
}

#[test]
fn nonces_grow_old() {
    let mut registrar = Registrar::new();
    let (header, other) = (registrar.ask(), registrar.ask());
    assert_eq!(registrar.check(&header), bob());
    registrar.now = NOW + DIGEST_NONCE_LIFETIME;
    assert_eq!(registrar.check(&header.counting("2")), bob());
    registrar.now += Duration::from_millis(1);
    assert_eq!(registrar.check(&header.counting("3")), Verdict::Stale);
    assert_eq!(registrar.check(&other), Verdict::Stale, "it was never used");
    assert_eq!(registrar.challenger.nonces(), 0);
    // A clock that went back.
    let header = registrar.ask();
    registrar.now = NOW;
    assert_eq!(registrar.check(&header), Verdict::Stale);
    assert!(Verdict::Stale.is_stale());
}

#[test]
fn nonces_of_others_are_foreign() {
    let mut registrar = Registrar::new();
    let header = registrar.ask();
    registrar.peer = "192.0.2.2".parse().unwrap();
    assert_eq!(registrar.check(&header), Verdict::Foreign);
    registrar.peer = "::ffff:192.0.2.1".parse().unwrap();
    assert_eq!(registrar.check(&header), bob());
    registrar.challenger = Challenger::new("biloxi.com", [8; 32]);
    assert_eq!(registrar.check(&header.counting("2")), Verdict::Foreign);
    for nonce in ["", "0", "dcd98b7102dd2f0e8b11d0f600bfb0c093"] {
        let forged = Header {
            nonce: nonce.to_owned(),
            ..header.clone()
        };
        assert_eq!(registrar.check(&forged), Verdict::Foreign, "{nonce}");
    }
    assert!(Verdict::Foreign.is_stale());
}

#[test]
fn a_restart_with_the_same_key_loses_no_nonce() {
    let mut registrar = Registrar::new();
    let header = registrar.ask();
    registrar.challenger = Registrar::new().challenger;
    assert_eq!(registrar.check(&header), bob());
}

#[test]
fn credentials_for_another_realm_are_passed_over() {
    let mut registrar = Registrar::new();
    let header = Header {
        realm: "atlanta.com".to_owned(),
        ..registrar.ask()
    };
    assert_eq!(registrar.check(&header), Verdict::OtherRealm);
    let foreign = "Digest realm=x, whatever";
    assert_eq!(registrar.check_text(foreign), Verdict::Malformed(Fault::Syntax));
    assert_eq!(registrar.check_text("Digest realm=x"), Verdict::OtherRealm);
}

#[test]
fn old_clients_use_each_nonce_once() {
    let mut registrar = Registrar::new();
    let header = Header {
        qop: None,
        ..registrar.ask()
    };
    assert_eq!(registrar.check(&header), bob());
    assert_eq!(registrar.check(&header), Verdict::Stale);
    let counting = Header {
        qop: Some("auth"),
        ..header.clone()
    };
    assert_eq!(registrar.check(&counting), Verdict::Stale);
    let mut other = registrar.ask();
    assert_eq!(registrar.check(&other), bob());
    other.qop = None;
    assert_eq!(registrar.check(&other), Verdict::Stale);
}

#[test]
fn old_clients_may_be_refused_and_know_md5_only() {
    let mut registrar = Registrar::with(Settings {
        admits_old_clients: false,
        ..Settings::default()
    });
    let mut header = registrar.ask();
    header.qop = None;
    assert_eq!(registrar.check(&header), Verdict::Malformed(Fault::Quality));
    let mut registrar = Registrar::new();
    let mut header = registrar.ask();
    (header.qop, header.algorithm) = (None, Algorithm::Sha256);
    assert_eq!(registrar.check(&header), Verdict::Malformed(Fault::Quality));
}

#[test]
fn what_was_not_offered_is_refused() {
    let mut registrar = Registrar::with(Settings {
        algorithms: vec![Algorithm::Sha256],
        ..Settings::default()
    });
    let header = registrar.ask();
    let text = header.text();
    let md5 = Header {
        algorithm: Algorithm::Md5,
        ..header
    };
    for (text, fault) in [
        (md5.text(), Fault::Algorithm),
        (text.replace("SHA-256", "SHA-256-sess"), Fault::Algorithm),
        (text.replace(", algorithm=SHA-256", ""), Fault::Algorithm),
        (text.replace("qop=auth", "qop=auth-int"), Fault::Quality),
        (text.replace("qop=auth", "qop=\"auth,auth-int\""), Fault::Quality),
        (text.replace("qop=auth", "userhash=true, qop=auth"), Fault::UserHash),
        (text.replace("response=\"", "response=\"0"), Fault::Response),
        (text.replace("cnonce", "xnonce"), Fault::Missing("cnonce")),
        (text.replace("nc=", "n="), Fault::Missing("nc")),
        (text.replace(", nonce=", ", x="), Fault::Missing("nonce")),
        (text.replace("realm=", "real="), Fault::Missing("realm")),
        (text.replace("\"bob\"", "\"\""), Fault::Missing("username")),
        (
            text.replace("bob", &"b".repeat(DIGEST_USER_BYTES_MAX + 1)),
            Fault::TooLong,
        ),
        (text.replace("qop=auth", "qop=auth, Realm=x"), Fault::Duplicate),
        (text.replace("uri=\"sip:biloxi", "uri=\"sip:eve@biloxi"), Fault::Uri),
    ] {
        assert_eq!(registrar.check_text(&text), Verdict::Malformed(fault), "{text}");
    }
    let loose = text
        .replace("SHA-256", "\"sha-256\"")
        .replace("qop=auth", "QOP=\"auth\"")
        .replace("Digest ", "digest\t");
    assert_eq!(registrar.check_text(&loose), bob());
}

#[test]
fn the_uri_may_differ_where_proxies_rewrite_it() {
    let mut registrar = Registrar::new();
    let mut header = registrar.ask();
    header.uri = "sip:BILOXI.com:5060;transport=udp".to_owned();
    assert_eq!(registrar.check(&header), bob());
    header.uri = "sip:alice@biloxi.com".to_owned();
    assert_eq!(registrar.check(&header), Verdict::Malformed(Fault::Uri));
}

#[test]
fn when_the_table_is_full_the_oldest_nonce_is_stale() {
    let mut registrar = Registrar::with(Settings {
        nonces_max: 3,
        ..Settings::default()
    });
    let headers: Vec<Header> = (0..4).map(|_| registrar.ask()).collect();
    for header in &headers {
        assert_eq!(registrar.check(header), bob());
    }
    assert_eq!(registrar.challenger.nonces(), 3);
    assert_eq!(registrar.check(&headers[0]), Verdict::Stale, "not good once more");
    assert_eq!(registrar.check(&headers[0].counting("2")), Verdict::Stale);
    for header in &headers[1..] {
        assert_eq!(registrar.check(header), replayed());
        assert_eq!(registrar.check(&header.counting("2")), bob());
    }
}

#[test]
fn no_cut_header_counts_or_panics() {
    let mut registrar = Registrar::new();
    let text = registrar.ask().text() + ", opaque=\"Zo\u{eb}\"";
    let challenge = registrar.challenger.challenge(NOW, PEER, true).remove(0);
    let needed = text.find(", opaque").unwrap();
    for (end, _) in text.char_indices() {
        let verdict = registrar.check_text(&text[..end]);
        assert!(end >= needed || verdict != bob(), "{end}");
        let _ = registrar.check_text(&text[end..]);
        let _ = registrar.check_text(&format!("{}\u{1f4de}{}", &text[..end], &text[end..]));
        let _ = registrar.check_text(&format!("{}\"{}", &text[..end], &text[end..]));
    }
    for (end, _) in challenge.char_indices() {
        let mut client = client();
        for text in [&challenge[..end], &challenge[end..]] {
            let _ = client.answer(&mut Attempt::default(), Place::Server, &[text], "REGISTER", URI, "c");
        }
    }
}

/// RFC 7616, section 3.9.1.
#[test]
fn clients_answer_the_examples_of_rfc_7616() {
    let challenge = |algorithm: &str| {
        format!(
            "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm={algorithm}, \
             nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", \
             opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
        )
    };
    let (md5, sha256) = (challenge("MD5"), challenge("SHA-256"));
    let other = challenge("SHA-512-256");
    let answer = |challenges: &[&str]| {
        let mut client = Client::new("Mufasa", Secret::Password("Circle of Life".to_owned()));
        let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        let mut attempt = Attempt::default();
        let sent = client.answer(&mut attempt, Place::Proxy, challenges, "GET", "/dir/index.html", cnonce);
        let Credentials { place, value } = sent.unwrap().remove(0);
        assert_eq!(place.answering(), "Proxy-Authorization");
        value
    };
    for challenges in [[&*md5, &*sha256], [&*sha256, &*md5], [&*other, &*sha256]] {
        let value = answer(&challenges);
        assert!(value.contains("response=\"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1\""));
        assert!(value.contains("algorithm=SHA-256, ") && value.contains("qop=auth, nc=00000001, "));
        assert!(value.contains("opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""));
    }
    assert!(answer(&[&md5]).contains("response=\"8ca523f5e9506fed4657c9700eebdbec\""));
}

/// RFC 3261, section 22.4, with the password of draft-smith-sipping-auth-examples-01.
#[test]
fn clients_answer_servers_that_are_older_than_qop() {
    let challenge = "Digest realm=\"biloxi.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\"";
    let (mut client, mut attempt) = (client(), Attempt::default());
    let uri = "sip:bob@biloxi.com";
    let sent = client.answer(&mut attempt, Place::Server, &[challenge], "INVITE", uri, "c");
    assert_eq!(
        sent.unwrap()[0].value,
        "Digest username=\"bob\", realm=\"biloxi.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", \
         uri=\"sip:bob@biloxi.com\", response=\"bf57e4e0d0bffc0fbaedce64d59add5e\""
    );
    assert!(
        client.begin(&mut Attempt::default(), "INVITE", uri, "c").is_empty(),
        "a nonce is good once"
    );
    assert_eq!(client.begin(&mut attempt, "INVITE", uri, "c").len(), 1);
}

#[test]
fn clients_and_registrars_understand_each_other() {
    for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
        let mut registrar = Registrar::with(Settings {
            algorithms: vec![algorithm],
            ..Settings::default()
        });
        let ha1 = Ha1::of(algorithm, "bob", "biloxi.com", "zanzibar");
        let hash = Secret::Hash {
            realm: "biloxi.com".to_owned(),
            ha1,
        };
        for mut client in [client(), Client::new("bob", hash)] {
            let mut attempt = Attempt::default();
            assert!(client.begin(&mut attempt, "REGISTER", URI, "c").is_empty());
            let verdict = answer(&mut client, &mut attempt, &mut registrar, false).unwrap();
            assert_eq!(verdict, bob());
            // Nobody asks from then on, until the nonce is too old.
            for count in 2..300 {
                let mut attempt = Attempt::default();
                let sent = client.begin(&mut attempt, "REGISTER", URI, "c").remove(0).value;
                assert!(sent.contains(&format!("nc={count:08x}")) && sent.contains(algorithm.name()));
                assert_eq!(registrar.check_text(&sent), bob());
            }
            registrar.now += DIGEST_NONCE_LIFETIME * 2;
            let mut attempt = Attempt::default();
            let sent = client.begin(&mut attempt, "REGISTER", URI, "c").remove(0).value;
            assert_eq!(registrar.check_text(&sent), Verdict::Stale);
            let verdict = answer(&mut client, &mut attempt, &mut registrar, true).unwrap();
            assert_eq!(verdict, bob());
        }
    }
}

/// The registrar asks, the client answers.
fn answer(
    client: &mut Client,
    attempt: &mut Attempt,
    registrar: &mut Registrar,
    is_stale: bool,
) -> Result<Verdict, GiveUp> {
    let challenges = registrar.challenger.challenge(registrar.now, registrar.peer, is_stale);
    let challenges: Vec<&str> = challenges.iter().map(String::as_str).collect();
    let sent = client.answer(attempt, Place::Server, &challenges, "REGISTER", URI, "c")?;
    Ok(registrar.check_text(&sent[0].value))
}

#[test]
fn a_wrong_password_is_sent_once() {
    let mut registrar = Registrar::new();
    let mut client = Client::new("bob", Secret::Password("wrong".to_owned()));
    let mut attempt = Attempt::default();
    let mut ask = |attempt: &mut Attempt, is_stale| answer(&mut client, attempt, &mut registrar, is_stale);
    let wrong = Verdict::Wrong { user: "bob".to_owned() };
    assert_eq!(ask(&mut attempt, false), Ok(wrong));
    assert_eq!(ask(&mut attempt, false), Err(GiveUp::Refused));
    assert!(client.begin(&mut Attempt::default(), "REGISTER", URI, "c").is_empty());
}

#[test]
fn who_says_stale_for_ever_is_left() {
    let mut client = client();
    let mut attempt = Attempt::default();
    for index in 0..DIGEST_TRIES_MAX {
        let challenge = format!("Digest realm=\"r\", nonce=\"{index}\", qop=\"auth\", stale=TRUE");
        assert!(ask(&mut client, &mut attempt, Place::Server, &[&challenge]).is_ok());
    }
    let challenge = "Digest realm=\"r\", nonce=\"x\", qop=\"auth\", stale=TRUE";
    assert_eq!(
        ask(&mut client, &mut attempt, Place::Server, &[challenge]),
        Err(GiveUp::TooMany)
    );
}

#[test]
fn a_nonce_that_is_asked_for_again_is_refused() {
    for stale in ["", ", stale=true"] {
        let mut client = client();
        let challenge = format!("Digest realm=\"r\", nonce=\"n\", qop=\"auth\"{stale}");
        let mut attempt = Attempt::default();
        assert!(ask(&mut client, &mut attempt, Place::Server, &[&challenge]).is_ok());
        let again = ask(&mut client, &mut attempt, Place::Server, &[&challenge]);
        assert_eq!(again, Err(GiveUp::Refused));
    }
}

/// Report 22 of the research: reused or expired nonces, with and without `stale`.
#[test]
fn a_nonce_of_before_may_be_refused_once_without_a_word() {
    let (mut client, mut attempt) = (client(), Attempt::default());
    let challenge = |nonce: &str| format!("Digest realm=\"r\", nonce=\"{nonce}\", qop=\"auth\"");
    assert!(ask(&mut client, &mut attempt, Place::Server, &[&challenge("1")]).is_ok());
    let mut attempt = Attempt::default();
    assert!(
        client.begin(&mut attempt, "INVITE", URI, "c")[0]
            .value
            .contains("nc=00000002")
    );
    // It is sent once more for another reason, such as a 422.
    assert_eq!(client.begin(&mut attempt, "INVITE", URI, "c").len(), 1);
    let sent = ask(&mut client, &mut attempt, Place::Server, &[&challenge("2")]).unwrap();
    assert!(sent[0].value.contains("nonce=\"2\"") && sent[0].value.contains("nc=00000001"));
    let sent = ask(&mut client, &mut attempt, Place::Server, &[&challenge("3")]);
    assert_eq!(sent, Err(GiveUp::Refused));
}

#[test]
fn proxies_and_servers_are_answered_together() {
    let (mut client, mut attempt) = (client(), Attempt::default());
    let proxy = "Digest realm=\"r\", nonce=\"p\", qop=\"auth\", algorithm=MD5";
    let server = "Digest realm=\"r\", nonce=\"s\"";
    assert_eq!(ask(&mut client, &mut attempt, Place::Proxy, &[proxy]).unwrap().len(), 1);
    // Another request, meanwhile, changes what is known of the proxy.
    let other = "Digest realm=\"r\", nonce=\"q\", qop=\"auth\"";
    assert!(ask(&mut client, &mut Attempt::default(), Place::Proxy, &[other]).is_ok());
    let sent = ask(&mut client, &mut attempt, Place::Server, &[server]).unwrap();
    let places: Vec<Place> = sent.iter().map(|credentials| credentials.place).collect();
    assert_eq!(places, [Place::Proxy, Place::Server]);
    assert!(sent[0].value.contains("nonce=\"q\"") && sent[0].value.contains("nc=00000002"));
    assert!(!sent[0].value.contains("algorithm") && !sent[1].value.contains("nc="));
}

#[test]
fn what_did_not_go_along_may_be_asked_for() {
    let (mut client, mut attempt) = (client(), Attempt::default());
    let old = |nonce: &str| format!("Digest realm=\"r\", nonce=\"{nonce}\"");
    assert!(ask(&mut client, &mut attempt, Place::Proxy, &[&old("1")]).is_ok());
    assert!(ask(&mut client, &mut Attempt::default(), Place::Proxy, &[&old("2")]).is_ok());
    // The proxy's last nonce is the other request's, and good for that only.
    let sent = ask(&mut client, &mut attempt, Place::Server, &[&old("3")]).unwrap();
    assert_eq!(sent.len(), 1);
    assert_eq!(
        ask(&mut client, &mut attempt, Place::Proxy, &[&old("4")])
            .unwrap()
            .len(),
        2
    );
    assert_eq!(
        ask(&mut client, &mut attempt, Place::Proxy, &[&old("5")]),
        Err(GiveUp::Refused)
    );
}

#[test]
fn one_nonce_for_many_requests_is_counted_on() {
    let mut client = client();
    let challenge = "Digest realm=\"r\", nonce=\"n\", qop=\"auth\"";
    for count in 1..4 {
        let sent = ask(&mut client, &mut Attempt::default(), Place::Server, &[challenge]).unwrap();
        assert!(sent[0].value.contains(&format!("nc={count:08x}")));
    }
}

#[test]
fn what_cannot_be_answered_is_not() {
    for challenge in [
        "Basic realm=\"r\"",
        "Digest realm=\"r\", nonce=\"n\", qop=\"auth-int\"",
        "Digest realm=\"r\", nonce=\"n\", algorithm=MD5-sess",
        "Digest realm=\"r\"",
        "Digest nonce=\"n\"",
    ] {
        let sent = ask(&mut client(), &mut Attempt::default(), Place::Server, &[challenge]);
        assert_eq!(sent, Err(GiveUp::Unsupported), "{challenge}");
    }
    let hash = Secret::Hash {
        realm: "r".to_owned(),
        ha1: Ha1::of(Algorithm::Md5, "bob", "r", "zanzibar"),
    };
    let mut client = Client::new("bob", hash);
    let challenges = [
        "Digest realm=\"r\", nonce=\"n\", algorithm=SHA-256",
        "Digest realm=\"s\", nonce=\"n\"",
        "Digest realm=\"r\", nonce=\"m\"",
    ];
    let sent = ask(&mut client, &mut Attempt::default(), Place::Server, &challenges).unwrap();
    assert!(sent.len() == 1 && sent[0].value.contains("nonce=\"m\""));
}

#[test]
fn realms_are_bounded() {
    let mut client = client();
    for index in 0..100 {
        let challenge = format!("Digest realm=\"{index}\", nonce=\"n\", qop=\"auth\"");
        assert!(ask(&mut client, &mut Attempt::default(), Place::Server, &[&challenge]).is_ok());
    }
    let sent = client.begin(&mut Attempt::default(), "INVITE", URI, "c");
    assert_eq!(sent.len(), crate::limits::DIGEST_REALMS_MAX);
    assert!(sent[3].value.contains("realm=\"99\""));
}

#[test]
fn secrets_are_not_shown() {
    let client = client();
    assert!(!format!("{client:?}").contains("zanzibar"));
    let shown = format!("{:?}", Challenger::new("r", [0x5a; 32]));
    assert!(!shown.contains("5a") && !shown.contains("90, 90"));
}

fn ask(
    client: &mut Client,
    attempt: &mut Attempt,
    place: Place,
    challenges: &[&str],
) -> Result<Vec<Credentials>, GiveUp> {
    client.answer(attempt, place, challenges, "INVITE", URI, "c")
}
