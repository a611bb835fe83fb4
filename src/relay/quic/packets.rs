//! One entry to what comes by UDP, shared by the fuzz target and the replay of its corpus: packets of a true client, changed
//! or not, in any order, and any other bytes, at an endpoint that accepts connections.
//!
//! Nothing panics, a client that was not tampered with is served, and what strangers leave behind stays within its bounds.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use moqswitch_proto::wire::Version;

use crate::certificate::DevelopmentCertificate;

use super::endpoint::{Endpoint, EndpointOptions};
use super::{QuicError, Secrets, ServerCertificate, TlsContext, TransportOptions, Trust, ZeroCopy};

/// Does what the input says, byte by byte; an error describes a broken promise. The count is of connections at the end.
pub fn exercise(input: &[u8]) -> Result<usize, String> {
    let started = Instant::now();
    let mut server = server().map_err(|error| error.to_string())?;
    let mut clients = Vec::new();
    let mut now = started;
    let mut rest = input;
    for _ in 0..STEPS_MAX {
        let Some((operation, after)) = rest.split_first() else {
            break;
        };
        let (length, after) = after.split_first().unwrap_or((&0, &[]));
        let (body, after) = after.split_at(after.len().min(usize::from(*length)));
        rest = after;
        match operation % 8 {
            // Bytes as they are, alone or with what a first packet has in front.
            0 => take(&mut server, &mut body.to_vec(), CLIENT, now),
            1 => take(&mut server, &mut initial(body), CLIENT, now),
            2 if clients.len() < CLIENTS_MAX => clients.extend(client().ok()),
            3 => now += Duration::from_millis(u64::from(*length) * 10),
            // What a client has to say, with some of its bytes changed.
            _ => {
                let index = usize::from(*operation) / 8 % clients.len().max(1);
                let Some(client) = clients.get_mut(index) else { continue };
                let mut packet = vec![0; PACKET_BYTES];
                let Ok((sent, _)) = client.send(&mut packet) else {
                    continue;
                };
                packet.truncate(sent);
                for change in body.chunks_exact(3) {
                    let place = usize::from(u16::from_be_bytes([change[0], change[1]])) % sent.max(1);
                    packet[place] ^= change[2];
                }
                take(&mut server, &mut packet, CLIENT, now);
            }
        }
        server.handle_timeouts(now);
        while let Some(key) = server.poll_ready() {
            answer(&mut server, key, &mut clients);
        }
    }
    let (connections, waiting) = (server.connection_count(), server.stateless.len());
    if connections > CONNECTIONS_MAX || waiting > ANSWERS_MAX {
        return Err(format!("{connections} connections, {waiting} answers"));
    }
    Ok(connections)
}

/// Inputs to start a fuzzer from.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let seed = |name: &str, bytes: &[u8]| (name.to_owned(), bytes.to_vec());
    vec![
        // Begins, speaks, hears, speaks.
        seed("handshake", &[2, 0, 4, 0, 4, 0, 4, 0, 4, 0]),
        seed("changed", &[2, 0, 4, 3, 0, 40, 1, 4, 3, 0, 0, 0x80, 4, 3, 0, 5, 9]),
        seed("garbage", &[0, 4, 1, 2, 3, 4, 0, 3, 0xc0, 0, 0]),
        seed("no-initial", &[1, 4, 1, 2, 3, 4]),
        seed("two-clients", &[2, 0, 2, 0, 4, 0, 12, 0, 3, 200, 4, 0, 12, 0]),
        seed(
            "short",
            &[
                0, 40, 0x40, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 9, 9, 9, 9, 9, 9,
            ],
        ),
    ]
}

fn take(server: &mut Endpoint, datagram: &mut [u8], source: &str, now: Instant) {
    server.handle_datagram(datagram, address(source), address(SERVER), now);
}

/// What the server has for one of its connections goes to all clients: those that it is not for do not take it.
fn answer(server: &mut Endpoint, key: super::ConnectionKey, clients: &mut [quiche::Connection<ZeroCopy>]) {
    let Some(connection) = server.get_mut(key) else { return };
    let mut packet = vec![0; PACKET_BYTES];
    for _ in 0..PACKETS_MAX {
        let Ok((sent, _)) = connection.quic.send(&mut packet) else {
            break;
        };
        for client in clients.iter_mut() {
            let info = quiche::RecvInfo {
                from: address(SERVER),
                to: address(CLIENT),
            };
            // It says itself what it thinks of it.
            let _ = client.recv(&mut packet[..sent].to_vec(), info);
        }
    }
}

/// Long enough to begin a connection, with a version that is spoken.
fn initial(body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0xc3, 0, 0, 0, 1];
    packet.extend_from_slice(body);
    packet.resize(quiche::MIN_CLIENT_INITIAL_LEN, 0);
    packet
}

fn server() -> Result<Endpoint, QuicError> {
    thread_local! {
        static CERTIFICATE: ServerCertificate = {
            let made = DevelopmentCertificate::generate(&[address(SERVER)], std::time::SystemTime::now())
                .expect("a certificate can be made");
            ServerCertificate::from_der(&[made.certificate_der], &made.key_der).expect("it can be used")
        };
    }
    let tls = CERTIFICATE.with(|certificate| TlsContext::server(std::slice::from_ref(certificate), None))?;
    let secrets = Secrets::generate().map_err(|_| QuicError::Certificate("no randomness".to_owned()))?;
    Endpoint::new(options(), &secrets, Some(tls))
}

fn client() -> Result<quiche::Connection<ZeroCopy>, QuicError> {
    let secrets = Secrets::generate().map_err(|_| QuicError::Certificate("no randomness".to_owned()))?;
    let endpoint = Endpoint::new(options(), &secrets, None)?;
    let mut client = endpoint.client(Trust::Anyone, &[Version::Lite06])?;
    let id = endpoint.identity.connection_id();
    Ok(quiche::connect_with_buffer_factory::<ZeroCopy>(
        Some("localhost"),
        &quiche::ConnectionId::from_ref(&id),
        address(CLIENT),
        address(SERVER),
        &mut client.config,
    )?)
}

fn options() -> EndpointOptions {
    EndpointOptions {
        shard: 0,
        shards: 1,
        connections_max: CONNECTIONS_MAX,
        retry_above: 4,
        attempts_per_second: 1_000,
        connections_per_address: CONNECTIONS_MAX,
        answers_per_second: 500,
        transport: TransportOptions::default(),
        versions: Version::EVERY.to_vec(),
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

const CLIENT: &str = "192.0.2.1:1000";
const SERVER: &str = "192.0.2.2:4443";
const STEPS_MAX: usize = 256;
const CLIENTS_MAX: usize = 4;
const CONNECTIONS_MAX: usize = 8;
const ANSWERS_MAX: usize = 64;
const PACKETS_MAX: usize = 16;
const PACKET_BYTES: usize = 1_500;
