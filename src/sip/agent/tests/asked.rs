//! Requests of ours that somebody wants a password for, and what crosses the end of a call.

use super::bench::Bench;
use super::hostile::{answer, bench, call_by, methods};
use super::*;
use crate::digest::Secret;

fn known() -> Bench {
    let mut bench = bench();
    bench
        .agent
        .set_account(1, "1002", Secret::Password("secret".to_owned()));
    bench
}

/// A proxy asks, or a server.
fn challenge(request: &Message, status: u16, realm: &str) -> Vec<u8> {
    let mut response = Message::response(request, status, "X");
    let name = if status == 401 {
        "WWW-Authenticate"
    } else {
        "Proxy-Authenticate"
    };
    let nonce = format!("{}{realm}", request.get("CSeq").unwrap().replace(' ', ""));
    response.push(
        name,
        format!("Digest realm=\"{realm}\", nonce=\"{nonce}\", qop=\"auth\", algorithm=MD5"),
    );
    response.to_bytes()
}

/// It is asked for, and sent once more: with the next number, and a password.
fn asked_once(bench: &mut Bench, request: &Message, status: u16) -> Message {
    let (sent, _) = bench.take(&challenge(request, status, "carrier"));
    assert_eq!(methods(&sent), [request.method().unwrap().name()], "{request:?}");
    let again = sent[0].clone();
    let number = |message: &Message| message.cseq().unwrap().0;
    assert_eq!(number(&again), number(request) + 1);
    let name = if status == 401 {
        "Authorization"
    } else {
        "Proxy-Authorization"
    };
    assert!(again.get(name).is_some(), "{again:?}");
    assert_eq!(again.to_tag(), request.to_tag());
    // What was wrong is not said again.
    let (sent, _) = bench.take(&challenge(&again, status, "carrier"));
    assert!(sent.is_empty(), "{sent:?}");
    again
}

#[test]
fn each_request_of_a_call_is_sent_once_more_with_a_password() {
    let mut bench = known();
    let (key, invite) = call_by(&mut bench, Some(1));
    let more = [("Require", "100rel"), ("RSeq", "1")];
    let (pracks, _) = bench.take(&answer(&invite, 183, "t", &more));
    assert_eq!(methods(&pracks), ["PRACK"]);
    asked_once(&mut bench, &pracks[0], 407);
    bench.take(&answer(&invite, 200, "t", &[]));
    assert!(bench.agent.press(bench.now, key, '5', Duration::from_millis(100)));
    let info = bench.outcome().0.remove(0);
    asked_once(&mut bench, &info, 401);
    bench.agent.legs.get_mut(&key).unwrap().transfer = Some(7);
    bench.agent.tell_transfer(bench.now, key, 100);
    let notify = bench.outcome().0.remove(0);
    assert!(notify.get("Contact").is_some(), "RFC 3515");
    asked_once(&mut bench, &notify, 407);
    bench.agent.hang_up(bench.now, key, 487, None);
    let bye = bench.outcome().0.remove(0);
    assert_eq!(bye.method(), Some(&Method::Bye));
    asked_once(&mut bench, &bye, 407);
    bench.is_idle();
    // Without an account there is nothing to say.
    let (key, invite) = call_by(&mut bench, None);
    bench.take(&answer(&invite, 200, "t", &[]));
    bench.agent.hang_up(bench.now, key, 487, None);
    let bye = bench.outcome().0.remove(0);
    assert!(bench.take(&challenge(&bye, 407, "carrier")).0.is_empty());
    bench.is_idle();
}

#[test]
fn who_asks_for_several_realms_has_a_header_of_each_and_the_ack_has_them_too() {
    let mut bench = known();
    let (key, mut invite) = call_by(&mut bench, Some(1));
    for (status, realm) in [(407, "a"), (407, "b"), (401, "c")] {
        let (sent, _) = bench.take(&challenge(&invite, status, realm));
        assert_eq!(methods(&sent), ["ACK", "INVITE"]);
        invite = sent[1].clone();
    }
    let realms = |message: &Message| {
        let all = message.all("Proxy-Authorization").chain(message.all("Authorization"));
        let realm = |value: &str| value.split("realm=\"").nth(1).unwrap()[..1].to_owned();
        all.map(realm).collect::<String>()
    };
    assert_eq!(realms(&invite), "abc");
    let (sent, _) = bench.take(&answer(&invite, 200, "t", &[]));
    assert_eq!((methods(&sent), realms(&sent[0])), (vec!["ACK"], "abc".to_owned()));
    // That of an answer that nobody wants, too.
    let (sent, _) = bench.take(&answer(&invite, 200, "u", &[]));
    assert_eq!(
        (methods(&sent), realms(&sent[0])),
        (vec!["ACK", "BYE"], "abc".to_owned())
    );
    assert!(bench.agent.offer(bench.now, key, "v=0 again"));
    let offer = bench.outcome().0.remove(0);
    let (sent, _) = bench.take(&answer(&offer, 200, "t", &[]));
    assert_eq!(realms(&sent[0]), realms(&offer));
    bench.agent.hang_up(bench.now, key, 487, None);
    bench.is_idle();
}

#[test]
fn an_answer_to_an_offer_that_crosses_our_bye_is_acknowledged() {
    let mut bench = known();
    let (key, invite) = call_by(&mut bench, Some(1));
    bench.take(&answer(
        &invite,
        200,
        "t",
        &[("Record-Route", "<sip:203.0.113.9:5070;lr>")],
    ));
    assert!(bench.agent.offer(bench.now, key, "v=0 again"));
    let offer = bench.outcome().0.remove(0);
    bench.agent.hang_up(bench.now, key, 487, None);
    assert_eq!(methods(&bench.outcome().0), ["BYE"]);
    for _ in 0..2 {
        let (sent, _) = bench.take(&answer(&offer, 200, "t", &[]));
        assert_eq!(methods(&sent), ["ACK"]);
        assert_eq!(
            sent[0].cseq().map(|(number, _)| number),
            offer.cseq().map(|(number, _)| number)
        );
        for name in ["Route", "From", "To", "Call-ID"] {
            assert_eq!(sent[0].get(name), offer.get(name), "{name}");
        }
    }
    bench.is_idle();
    // A password is not asked for in a call that is over.
    let (key, invite) = call_by(&mut bench, Some(1));
    bench.take(&answer(&invite, 200, "t", &[]));
    assert!(bench.agent.offer(bench.now, key, "v=0 again"));
    let offer = bench.outcome().0.remove(0);
    bench.agent.hang_up(bench.now, key, 487, None);
    bench.outcome();
    let (sent, _) = bench.take(&challenge(&offer, 407, "carrier"));
    assert_eq!(methods(&sent), ["ACK"]);
    bench.is_idle();
}
