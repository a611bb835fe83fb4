//! A trunk by TLS where both sides show certificates: which is believed, whose calls are let in by it, and others at SIGHUP.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use boring::ssl::{SslAcceptor, SslConnector, SslFiletype, SslMethod, SslStream, SslVerifyMode};
use moqswitch_signalling::User;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::{LIMIT, Running, moqswitch};

#[test]
fn both_sides_of_a_trunk_show_certificates_and_others_are_strangers() {
    let place = Place::new();
    let (ours, others) = (Authority::new(), Authority::new());
    for (name, authority, host) in [
        ("switch", &ours, "switch.example"),
        ("carrier", &ours, "carrier.example"),
        ("somebody", &ours, "somebody.example"),
        ("forger", &others, "carrier.example"),
    ] {
        place.issue(name, authority, host);
    }
    place.write("authority.pem", &ours.pem);
    place.write(
        "5001.toml",
        &format!("[users.5001]\nhash = \"{}\"\n", User::hash("x").unwrap()),
    );
    let carrier = TcpListener::bind("127.0.0.1:0").unwrap();
    place.write("trunks.toml", &trunks(carrier.local_addr().unwrap()));
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let log = place.0.join("log");
    let mut command = moqswitch();
    command.stderr(File::create(&log).unwrap()).envs([
        ("MOQSWITCH_SIP_TLS", address.to_string()),
        ("MOQSWITCH_SIP_TLS_CLIENT_CA", place.path("authority.pem")),
        ("MOQSWITCH_SIP_TRUNKS", place.path("trunks.toml")),
        ("MOQSWITCH_CALLS_USERS", place.path("5001.toml")),
        ("MOQSWITCH_TLS_CERT", place.path("switch.pem")),
        ("MOQSWITCH_TLS_KEY", place.path("switch.key")),
    ]);
    let switch = Running::start(&mut command);

    // It asks whether we are there, and shows who it is.
    let mut stream = accepted(&place, &carrier);
    let shown = stream.ssl().peer_certificate().unwrap().to_der().unwrap();
    assert_eq!(shown, fs::read(place.0.join("switch.der")).unwrap());
    let asked = message(&mut stream);
    assert!(
        asked.starts_with("OPTIONS ") && asked.contains("Via: SIP/2.0/TLS "),
        "{asked}"
    );
    // By the connection that it made to us we are the carrier.
    assert_eq!(invited(&mut stream, "own"), Some(480));

    // We call from anywhere; who shows nothing, or another name, is asked for a password.
    assert_eq!(invited_by(&place, address, Some("carrier")), Some(480));
    assert_eq!(invited_by(&place, address, None), Some(407));
    assert_eq!(invited_by(&place, address, Some("somebody")), Some(407));
    assert_eq!(
        invited_by(&place, address, Some("forger")),
        None,
        "its authority is none of ours"
    );

    // Another authority.
    place.write("authority.pem", &others.pem);
    let told = Command::new("kill")
        .args(["-HUP", &switch.child.id().to_string()])
        .status();
    assert!(told.unwrap().success());
    switch.until("the other one is believed", || {
        invited_by(&place, address, Some("forger")) == Some(480)
    });
    assert_eq!(invited_by(&place, address, Some("carrier")), None);
    drop(switch);
    fs::remove_dir_all(&place.0).unwrap();
}

#[test]
fn a_carrier_that_is_somebody_else_is_not_spoken_to() {
    let place = Place::new();
    let (ours, others) = (Authority::new(), Authority::new());
    place.issue("switch", &ours, "switch.example");
    place.issue("somebody", &ours, "somebody.example");
    place.issue("forger", &others, "carrier.example");
    place.write("authority.pem", &ours.pem);
    let carrier = TcpListener::bind("127.0.0.1:0").unwrap();
    place.write("trunks.toml", &trunks(carrier.local_addr().unwrap()));
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = moqswitch();
    command.envs([
        ("MOQSWITCH_SIP_TLS", address.to_string()),
        ("MOQSWITCH_SIP_TLS_CLIENT_CA", place.path("authority.pem")),
        ("MOQSWITCH_SIP_TRUNKS", place.path("trunks.toml")),
    ]);
    let switch = Running::start(&mut command);
    for name in ["somebody", "forger"] {
        let (stream, _) = carrier.accept().unwrap();
        // It hangs up in the handshake, or right behind it.
        let heard = acceptor(&place, name)
            .accept(stream)
            .map(|mut stream| read(&mut stream));
        assert!(
            heard.is_err() || heard.is_ok_and(|heard| heard.is_none()),
            "it spoke to {name}"
        );
    }
    drop(switch);
    fs::remove_dir_all(&place.0).unwrap();
}

fn trunks(carrier: SocketAddr) -> String {
    format!(
        "[trunks.city]\naddress = \"{carrier}\"\ndomain = \"carrier.example\"\ntls = true\nca = \"authority.pem\"\n\
         certificate = \"switch.pem\"\nprivate_key = \"switch.key\"\ncertificate_name = \"Carrier.example\"\nping = 1\n"
    )
}

fn acceptor(place: &Place, name: &str) -> SslAcceptor {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    acceptor
        .set_certificate_chain_file(place.path(&format!("{name}.pem")))
        .unwrap();
    acceptor
        .set_private_key_file(place.path(&format!("{name}.key")), SslFiletype::PEM)
        .unwrap();
    acceptor.set_ca_file(place.path("authority.pem")).unwrap();
    acceptor.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    acceptor.build()
}

fn accepted(place: &Place, carrier: &TcpListener) -> SslStream<TcpStream> {
    let (stream, _) = carrier.accept().unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    acceptor(place, "carrier").accept(stream).unwrap()
}

/// The status of a call of ours that shows this certificate. None: nobody speaks to us.
fn invited_by(place: &Place, address: SocketAddr, name: Option<&str>) -> Option<u16> {
    let mut connector = SslConnector::builder(SslMethod::tls()).unwrap();
    connector.set_verify(SslVerifyMode::NONE);
    if let Some(name) = name {
        connector
            .set_certificate_chain_file(place.path(&format!("{name}.pem")))
            .unwrap();
        connector
            .set_private_key_file(place.path(&format!("{name}.key")), SslFiletype::PEM)
            .unwrap();
    }
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let branch = stream.local_addr().unwrap().port().to_string();
    let mut stream = connector.build().connect("localhost", stream).ok()?;
    invited(&mut stream, &branch)
}

fn invited(stream: &mut SslStream<TcpStream>, branch: &str) -> Option<u16> {
    let body = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
    let text = format!(
        "INVITE sip:5001@moqswitch SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1:9;branch=z9hG4bK{branch};rport\r\n\
         From: <sip:030@carrier.example>;tag=1\r\nTo: <sip:5001@moqswitch>\r\nCall-ID: {branch}\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:030@127.0.0.1:9;transport=tls>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).ok()?;
    let asked = format!("branch=z9hG4bK{branch}");
    loop {
        let heard = read(stream)?;
        let statuses = heard.split("SIP/2.0 ").filter(|answer| answer.contains(&asked));
        let statuses = statuses.filter_map(|answer| answer.get(..3)?.parse().ok());
        if let Some(status) = statuses.into_iter().find(|status| *status >= 200) {
            return Some(status);
        }
    }
}

fn message(stream: &mut SslStream<TcpStream>) -> String {
    read(stream).expect("it says something")
}

/// What is said next. None: nothing any more.
fn read(stream: &mut SslStream<TcpStream>) -> Option<String> {
    let mut bytes = [0; 8192];
    let length = stream.read(&mut bytes).ok().filter(|length| *length > 0)?;
    Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, "authority");
        let key = KeyPair::generate().unwrap();
        let pem = parameters.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(parameters, key);
        Self { issuer, pem }
    }
}

/// Files of a test.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        let name = format!("trunk-tls-{}-{:?}", std::process::id(), std::thread::current().id());
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&place).unwrap();
        Self(place)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }

    fn issue(&self, name: &str, authority: &Authority, host: &str) {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec![host.to_owned()]).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, host);
        let certificate = parameters.signed_by(&key, &authority.issuer).unwrap();
        self.write(&format!("{name}.pem"), &certificate.pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
        fs::write(self.0.join(format!("{name}.der")), certificate.der()).unwrap();
    }
}
