//! Two endpoints and no network: packets are carried by hand.

use std::time::{Duration, Instant};

use moqswitch_proto::wire::{StreamId, Version, stream_error};

use super::*;

/// A server and a client that dials it.
pub(super) struct Pair {
    pub(super) server: Endpoint,
    pub(super) client: Endpoint,
    pub(super) dialling: Client,
}

fn endpoint(retry_above: usize, connections_max: usize, certificates: Option<&[ServerCertificate]>) -> Endpoint {
    let options = EndpointOptions {
        shard: 0,
        shards: 1,
        connections_max,
        retry_above,
        attempts_per_second: 10_000,
        connections_per_address: connections_max,
        answers_per_second: 500,
        transport: TransportOptions::default(),
        versions: Version::EVERY.to_vec(),
    };
    let tls = certificates.map(|certificates| TlsContext::server(certificates, None).unwrap());
    Endpoint::new(options, &Secrets::generate().unwrap(), tls).unwrap()
}

/// A certificate for these names, and its SHA-256.
fn certificate(names: &[&str]) -> (ServerCertificate, [u8; 32]) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let der = made.cert.der().to_vec();
    let digest = ring::digest::digest(&ring::digest::SHA256, &der);
    let certificate = ServerCertificate::from_der(&[der], &made.signing_key.serialize_der()).unwrap();
    (certificate, digest.as_ref().try_into().unwrap())
}

impl Pair {
    /// A server with a certificate that its client does not look at.
    pub(super) fn trusting() -> Self {
        let (certificate, _) = certificate(&["localhost"]);
        Self::new(endpoint(usize::MAX, 100, Some(&[certificate])), Trust::Anyone)
    }

    fn new(server: Endpoint, trust: Trust) -> Self {
        let client = endpoint(usize::MAX, 100, None);
        let dialling = client.client(trust, &[Version::Lite06]).unwrap();
        Self {
            server,
            client,
            dialling,
        }
    }

    pub(super) fn dial(&mut self, name: &str) -> ConnectionKey {
        self.client
            .connect(
                &mut self.dialling,
                SERVER.parse().unwrap(),
                CLIENT.parse().unwrap(),
                name,
            )
            .unwrap()
    }

    /// Carries packets both ways until there are none.
    pub(super) fn settle(&mut self) {
        loop {
            let there = packets(&mut self.client);
            let back = packets(&mut self.server);
            if there.is_empty() && back.is_empty() {
                return;
            }
            for mut packet in there {
                self.server.handle_datagram(
                    &mut packet,
                    CLIENT.parse().unwrap(),
                    SERVER.parse().unwrap(),
                    Instant::now(),
                );
            }
            self.client_takes(back);
        }
    }

    fn client_takes(&mut self, packets: Vec<Vec<u8>>) {
        for mut packet in packets {
            self.client.handle_datagram(
                &mut packet,
                SERVER.parse().unwrap(),
                CLIENT.parse().unwrap(),
                Instant::now(),
            );
        }
    }

    fn is_established(&mut self, key: ConnectionKey) -> bool {
        self.client.get_mut(key).is_some_and(|connection| {
            connection.is_established() && !connection.is_closed() && connection.quic.local_error().is_none()
        })
    }
}

/// Everything an endpoint has to send.
fn packets(endpoint: &mut Endpoint) -> Vec<Vec<u8>> {
    let mut packets: Vec<Vec<u8>> = endpoint.stateless.drain(..).map(|(_, _, packet)| packet).collect();
    for key in endpoint.keys() {
        let connection = endpoint.get_mut(key).unwrap();
        let mut packet = vec![0; 1500];
        while let Some((length, _)) = connection.send(&mut packet) {
            packets.push(packet[..length].to_vec());
        }
    }
    packets
}

#[test]
fn a_tls_session_is_resumed_on_another_shard_and_without_early_data() {
    let (certificate, _) = certificate(&["localhost"]);
    let secrets = Secrets::generate().unwrap();
    let shard = || {
        let tls = TlsContext::server(std::slice::from_ref(&certificate), None).unwrap();
        let options = endpoint(usize::MAX, 100, None).options;
        Endpoint::new(options, &secrets, Some(tls)).unwrap()
    };
    let mut pair = Pair::new(shard(), Trust::Anyone);
    let key = pair.dial("localhost");
    pair.settle();
    let first = &pair.client.get_mut(key).unwrap().quic;
    assert!(!first.is_resumed());
    let session = first.session().unwrap().to_vec();
    pair.server = shard();
    let key = pair.dial("localhost");
    let second = &mut pair.client.get_mut(key).unwrap().quic;
    second.set_session(&session).unwrap();
    pair.settle();
    let second = &pair.client.get_mut(key).unwrap().quic;
    assert!(second.is_established() && second.is_resumed());
    assert!(!second.is_in_early_data());
    // And not with the keys of another process.
    pair.server = endpoint(usize::MAX, 100, Some(&[certificate]));
    let key = pair.dial("localhost");
    let third = &mut pair.client.get_mut(key).unwrap().quic;
    third.set_session(&session).unwrap();
    pair.settle();
    let third = &pair.client.get_mut(key).unwrap().quic;
    assert!(third.is_established() && !third.is_resumed());
}

#[test]
fn a_client_proves_its_address_by_retry_when_many_handshakes_are_open() {
    let (certificate, _) = certificate(&["localhost"]);
    let mut pair = Pair::new(endpoint(0, 100, Some(&[certificate])), Trust::Anyone);
    let key = pair.dial("localhost");
    pair.settle();
    assert!(pair.is_established(key));
    let statistics = pair.server.statistics();
    // One for each packet of the ClientHello.
    assert!(statistics.retries >= 1);
    assert_eq!((statistics.accepted, statistics.established), (1, 1));
}

#[test]
fn a_server_has_a_certificate_for_each_name() {
    let (first, first_hash) = certificate(&["one.test"]);
    let (second, second_hash) = certificate(&["two.test", "*.wild.test"]);
    for (name, hash) in [
        ("one.test", first_hash),
        ("two.test", second_hash),
        ("a.wild.test", second_hash),
        ("a.b.wild.test", first_hash),
        ("unknown.test", first_hash),
    ] {
        let server = endpoint(usize::MAX, 100, Some(&[first.clone(), second.clone()]));
        let mut pair = Pair::new(server, Trust::Sha256(hash));
        let key = pair.dial(name);
        pair.settle();
        assert!(pair.is_established(key), "{name}");
        let version = pair.client.get_mut(key).unwrap().version();
        assert_eq!(version, Some(Version::Lite06), "{name}: ALPN is agreed on too");
    }
}

#[test]
fn a_client_gets_the_draft_it_asks_for_or_the_alpn_under_which_to_agree_on_it() {
    let (certificate, _) = certificate(&["localhost"]);
    for (asked, agreed) in [
        (&[Version::Lite03][..], Version::Lite03),
        (&[Version::Lite02, Version::Lite01], Version::Lite02),
        (&[Version::Lite01], Version::Lite02),
        (&[Version::Gomoqt], Version::Gomoqt),
        (&Version::EVERY, Version::Lite06),
    ] {
        let server = endpoint(usize::MAX, 100, Some(std::slice::from_ref(&certificate)));
        let mut pair = Pair::new(server, Trust::Anyone);
        pair.dialling = pair.client.client(Trust::Anyone, asked).unwrap();
        let key = pair.dial("localhost");
        pair.settle();
        let server_key = pair.server.keys()[0];
        for connection in [pair.client.get_mut(key), pair.server.get_mut(server_key)] {
            assert_eq!(connection.unwrap().version(), Some(agreed), "{asked:?}");
        }
    }
}

#[test]
fn another_certificate_than_the_pinned_one_is_not_trusted() {
    let (certificate, mut hash) = certificate(&["localhost"]);
    hash[0] ^= 1;
    let mut pair = Pair::new(endpoint(usize::MAX, 100, Some(&[certificate])), Trust::Sha256(hash));
    let key = pair.dial("localhost");
    pair.settle();
    assert!(!pair.is_established(key));
}

#[test]
fn connections_beyond_the_limit_are_refused_and_counted() {
    let (certificate, _) = certificate(&["localhost"]);
    let mut pair = Pair::new(endpoint(usize::MAX, 2, Some(&[certificate])), Trust::Anyone);
    let keys = [pair.dial("localhost"), pair.dial("localhost"), pair.dial("localhost")];
    pair.settle();
    let established = keys.iter().filter(|key| pair.is_established(**key)).count();
    assert_eq!(established, 2);
    assert_eq!(pair.server.connection_count(), 2);
    assert!(pair.server.statistics().refused_full > 0);
}

#[test]
fn a_packet_of_a_forgotten_connection_is_answered_by_a_reset_that_ends_it() {
    let (certificate, _) = certificate(&["localhost"]);
    let mut pair = Pair::new(endpoint(usize::MAX, 100, Some(&[certificate])), Trust::Anyone);
    let key = pair.dial("localhost");
    pair.settle();
    for forgotten in pair.server.keys() {
        pair.server.remove(forgotten);
    }
    assert!(pair.server.issued.is_empty() && pair.server.chosen.is_empty());
    let (server, client) = (SERVER.parse().unwrap(), CLIENT.parse().unwrap());
    let connection = pair.client.get_mut(key).unwrap();
    connection.quic.stream_send(0, &[7; 200], false).unwrap();
    for mut packet in packets(&mut pair.client) {
        pair.server.handle_datagram(&mut packet, client, server, Instant::now());
    }
    let mut answers = packets(&mut pair.server);
    assert_eq!(answers.len(), 1);
    // It looks like a packet for an id that nobody has: the token at its end tells whose it is, of many at one address.
    let other = pair.dial("localhost");
    pair.settle();
    pair.client
        .handle_datagram(&mut answers[0], server, client, Instant::now());
    assert!(pair.is_established(other));
    let connection = pair.client.get_mut(key).unwrap();
    assert!(connection.is_closed());
    assert!(connection.close_reason().contains("stateless reset"));
    assert_eq!(pair.client.resets.len(), 2);
    pair.client.remove(key);
    assert_eq!(pair.client.resets.len(), 1);
}

/// RFC 9000, section 8.1: in all, retransmissions and padding included.
#[test]
#[expect(clippy::disallowed_methods, reason = "quiche reads the clock itself")]
fn an_address_that_never_answers_gets_three_times_what_it_sent() {
    // The longer chain takes more than that in its first flight.
    for names in [1, 300] {
        let names: Vec<String> = (0..names).map(|index| format!("name-{index}.example.test")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (certificate, _) = certificate(&names);
        let mut pair = Pair::new(endpoint(usize::MAX, 100, Some(&[certificate])), Trust::Anyone);
        // So that it is not for seconds that it waits before it sends again.
        let config = pair.server.server.as_mut().unwrap();
        config.set_initial_rtt(Duration::from_millis(1));
        pair.dial("localhost");
        let first = packets(&mut pair.client);
        let received: usize = first.iter().map(Vec::len).sum();
        for mut packet in first {
            let (server, client) = (SERVER.parse().unwrap(), CLIENT.parse().unwrap());
            pair.server.handle_datagram(&mut packet, client, server, Instant::now());
        }
        let key = pair.server.keys()[0];
        let mut sent = 0;
        for _ in 0..9 {
            sent += packets(&mut pair.server).iter().map(Vec::len).sum::<usize>();
            let connection = pair.server.get_mut(key).unwrap();
            let deadline = connection.quic.timeout_instant().unwrap();
            // The time after which what was not acknowledged is sent again (RFC 9002, section 6.2.2).
            std::thread::sleep(deadline.saturating_duration_since(Instant::now()).min(SECOND));
            connection.on_timeout(Instant::now());
            connection.acknowledgement.on_flushed(1);
        }
        sent += packets(&mut pair.server).iter().map(Vec::len).sum::<usize>();
        assert!(sent >= 1_200 && sent <= 3 * received, "{sent} for {received}");
        // Nothing of this holds up those who answer.
        let key = pair.dial("localhost");
        pair.settle();
        assert!(pair.is_established(key));
    }
}

#[test]
fn attempts_that_come_to_nothing_make_everybody_prove_an_address() {
    let (certificate, _) = certificate(&["localhost"]);
    let mut pair = Pair::new(endpoint(usize::MAX, 10_000, Some(&[certificate])), Trust::Anyone);
    let (server, client) = (SERVER.parse().unwrap(), CLIENT.parse().unwrap());
    let now = Instant::now();
    for index in 0..1_000u16 {
        pair.dial("localhost");
        let mut packet = packets(&mut pair.client).swap_remove(0);
        packet[600] ^= 1;
        pair.server.handle_datagram(&mut packet, client, server, now);
        for key in pair.server.keys() {
            if pair
                .server
                .get_mut(key)
                .is_some_and(|connection| connection.is_closed())
            {
                pair.server.remove(key);
            }
        }
        for key in pair.client.keys() {
            pair.client.remove(key);
        }
        if pair.server.statistics().retries > 0 {
            assert!(index >= 100, "after {index}");
            break;
        }
    }
    assert!(pair.server.statistics().retries > 0);
    pair.server.stateless.clear();
    let key = pair.dial("localhost");
    pair.settle();
    assert!(pair.is_established(key), "whoever answers the Retry is let in");
}

#[test]
fn stateless_answers_are_limited_and_the_rest_is_counted() {
    let (certificate, _) = certificate(&["localhost"]);
    let mut server = endpoint(usize::MAX, 100, Some(&[certificate]));
    let now = Instant::now();
    let mut answers = 0;
    for index in 0..1_000u16 {
        let mut packet = [0x55; 60];
        packet[1..3].copy_from_slice(&index.to_be_bytes());
        server.handle_datagram(&mut packet, CLIENT.parse().unwrap(), SERVER.parse().unwrap(), now);
        answers += packets(&mut server).len();
    }
    let statistics = server.statistics();
    assert!(answers > 0 && answers < 200, "{answers}");
    assert_eq!(statistics.unanswered + statistics.stateless_resets, 1_000);
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_draining_server_accepts_nobody() {
    let (certificate, _) = certificate(&["localhost"]);
    let mut pair = Pair::new(endpoint(usize::MAX, 100, Some(&[certificate])), Trust::Anyone);
    pair.server.drain();
    let key = pair.dial("localhost");
    pair.settle();
    assert!(!pair.is_established(key));
    assert_eq!(pair.server.connection_count(), 0);
}

const SERVER: &str = "192.0.2.1:4443";
const CLIENT: &str = "192.0.2.2:50000";

/// Of streams that end before they are stopped, and of others that go on for a while.
#[test]
fn streams_that_are_not_read_give_their_credit_back() {
    let mut pair = Pair::trusting();
    let key = pair.dial("localhost");
    pair.settle();
    let server = pair.server.keys()[0];
    let credit = |pair: &mut Pair| pair.client.get_mut(key).unwrap().quic.peer_streams_left_uni();
    let before = credit(&mut pair);
    let mut stops = 0;
    for index in 0..3 * before {
        let stream = StreamId(2 + 4 * index);
        let write = |pair: &mut Pair, fin| {
            let client = pair.client.get_mut(key).unwrap();
            let written = client.write(stream, bytes::Bytes::from_static(b"x"), fin);
            pair.settle();
            written
        };
        assert_eq!(write(&mut pair, index % 2 == 0), Written::All, "{index}");
        let connection = pair.server.get_mut(server).unwrap();
        assert_eq!(connection.poll_readable(), Some(stream));
        connection.stop_sending(stream, stream_error::CANCEL);
        pair.settle();
        if index % 2 == 1 {
            stops += u32::from(write(&mut pair, true) == Written::Stopped(stream_error::CANCEL));
            assert_eq!(pair.server.get_mut(server).unwrap().poll_readable(), None);
            pair.settle();
        }
    }
    assert_eq!(stops, 64, "some are told");
    let after = credit(&mut pair);
    assert!(after > before / 2, "{after} of {before}");
}

#[test]
fn the_end_of_a_stream_arrives_although_its_packet_was_lost() {
    // With the bytes before it acknowledged, or on their way.
    for is_acknowledged in [true, false] {
        let mut pair = Pair::trusting();
        let client = pair.dial("localhost");
        pair.settle();
        let server = pair.server.keys()[0];
        let stream = StreamId(3);
        let write = |pair: &mut Pair, bytes: &'static [u8], fin| {
            let connection = pair.server.get_mut(server).unwrap();
            assert_eq!(connection.write(stream, bytes.into(), fin), Written::All);
        };
        write(&mut pair, b"all", false);
        let first = packets(&mut pair.server);
        if is_acknowledged {
            pair.client_takes(first);
            pair.settle();
            write(&mut pair, b"", true);
            assert_ne!(packets(&mut pair.server).len(), 0, "the end is told at once, and lost");
        } else {
            write(&mut pair, b"", true);
            drop(packets(&mut pair.server));
            pair.client_takes(first);
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut end = Vec::new();
        while !end.iter().any(|(_, _, fin)| *fin) {
            assert!(
                Instant::now() < deadline,
                "it never came; acknowledged: {is_acknowledged}"
            );
            pair.settle();
            pair.server.get_mut(server).unwrap().on_timeout(Instant::now());
            let connection = pair.client.get_mut(client).unwrap();
            let mut bytes = [0; 16];
            if let Ok((length, fin)) = connection.quic.stream_recv(stream.0, &mut bytes) {
                end.push((stream, bytes[..length].to_vec(), fin));
            }
        }
        assert_eq!(
            end.iter().flat_map(|(_, bytes, _)| bytes.clone()).collect::<Vec<u8>>(),
            b"all"
        );
        assert_eq!(pair.server.get_mut(server).unwrap().ends.open_count(), 0);
    }
}
