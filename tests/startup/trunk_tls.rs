//! A trunk by TLS where both sides show certificates: which is believed, whose calls are let in by it, and others at SIGHUP.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use boring::ssl::{
    HandshakeError, SslAcceptor, SslConnector, SslConnectorBuilder, SslFiletype, SslMethod, SslStream, SslVerifyMode,
};
use moqswitch_signalling::User;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::{LIMIT, Running, STEP, moqswitch};

#[test]
fn both_sides_of_a_trunk_show_certificates_and_others_are_strangers() {
    let place = Place::new();
    let (ours, others) = (Authority::new(), Authority::new());
    for (name, authority, host) in [
        ("carrier", &ours, "carrier.example"),
        ("somebody", &ours, "somebody.example"),
        ("forger", &others, "carrier.example"),
    ] {
        place.issue(name, authority, host);
    }
    place.write("others.pem", &others.pem);
    let carrier = listener();
    let (switch, address) = place.start(&ours, &carrier);

    // It asks whether we are there, and shows who it is.
    let mut stream = accepted(&place, &carrier, ("carrier", "authority.pem"));
    let shown = stream.ssl().peer_certificate().unwrap().to_der().unwrap();
    assert_eq!(shown, fs::read(place.0.join("switch.der")).unwrap());
    let asked = read(&mut stream).expect("it says something");
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
    switch.until("that is told", || place.logged("SIP: a handshake failed") > 0);

    // One that it made to us, and what it is known by.
    let (connector, plain) = connecting(&place, address, Some("carrier"));
    let mut incoming = connected(connector, plain).unwrap();
    assert_eq!(invited(&mut incoming, "incoming"), Some(480));

    // Nothing is another: the connections go on.
    switch.signal("-HUP");
    switch.until("it is read", || place.logged("trunks reloaded") == 1);
    assert_eq!(invited(&mut stream, "again"), Some(480));
    assert_eq!(invited(&mut incoming, "incoming-again"), Some(480));

    // Another authority: a connection to who shows what that says, and the one before ends.
    place.believe("others.pem");
    place.write("carriers.pem", &others.pem);
    place.issue("switch", &others, "switch.example");
    switch.signal("-HUP");
    switch.until("the other one is believed", || {
        invited_by(&place, address, Some("forger")) == Some(480)
    });
    assert_eq!(invited_by(&place, address, Some("carrier")), None);
    let mut other = accepted(&place, &carrier, ("forger", "others.pem"));
    assert_eq!(invited(&mut other, "other"), Some(480));
    assert!(is_over(&mut stream), "the one before");
    assert!(is_over(&mut incoming), "who is not believed any more");

    // Nothing can be read: what was taken stays.
    place.write("moqswitch.toml", "nothing that is known = 1\n");
    switch.until("the other one is read", || place.logged("trunks reloaded") == 2);
    switch.signal("-HUP");
    switch.until("it is read", || place.logged("trunks reloaded") == 3);
    assert_eq!(place.logged("configuration not reloaded"), 1);
    assert_eq!(invited_by(&place, address, Some("forger")), Some(480));
    assert_eq!(invited_by(&place, address, Some("carrier")), None);
    drop(switch);
    fs::remove_dir_all(&place.0).unwrap();
}

#[test]
fn a_carrier_that_is_somebody_else_is_not_spoken_to() {
    let place = Place::new();
    let (ours, others) = (Authority::new(), Authority::new());
    place.issue("somebody", &ours, "somebody.example");
    place.issue("forger", &others, "carrier.example");
    let carrier = listener();
    let (switch, _) = place.start(&ours, &carrier);
    for name in ["somebody", "forger"] {
        // It hangs up in the handshake, or right behind it.
        let heard = acceptor(&place, (name, "authority.pem"))
            .accept(taken(&carrier))
            .map(|mut stream| read(&mut stream));
        assert!(
            heard.is_err() || heard.is_ok_and(|heard| heard.is_none()),
            "it spoke to {name}"
        );
    }
    drop(switch);
    fs::remove_dir_all(&place.0).unwrap();
}

#[test]
fn a_carrier_that_does_not_believe_us_is_told_of_and_is_down() {
    let place = Place::new();
    let (ours, others) = (Authority::new(), Authority::new());
    place.issue("carrier", &ours, "carrier.example");
    place.write("others.pem", &others.pem);
    let carrier = listener();
    let (switch, _) = place.start(&ours, &carrier);
    let end = Instant::now() + LIMIT;
    while place.logged("change=Down") == 0 {
        assert!(Instant::now() < end, "it is not down");
        // Our handshake is over when it says so.
        let refused = acceptor(&place, ("carrier", "others.pem")).accept(taken(&carrier));
        assert!(refused.is_err());
    }
    assert!(place.logged("SIP: no connection") > 0);
    drop(switch);
    fs::remove_dir_all(&place.0).unwrap();
}

fn trunks(carrier: SocketAddr) -> String {
    format!(
        "[trunks.city]\naddress = \"{carrier}\"\ndomain = \"carrier.example\"\ntls = true\nca = \"carriers.pem\"\n\
         certificate = \"switch.pem\"\nprivate_key = \"switch.key\"\ncertificate_name = \"Carrier.example\"\nping = 1\n"
    )
}

/// One that nobody is waited for at for ever.
fn listener() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

/// Who connects.
fn taken(listener: &TcpListener) -> TcpStream {
    let end = Instant::now() + LIMIT;
    loop {
        if let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            return stream;
        }
        assert!(Instant::now() < end, "nobody connects within {LIMIT:?}");
        thread::park_timeout(STEP);
    }
}

/// Shows this certificate, and believes those of this authority.
fn acceptor(place: &Place, (name, authority): (&str, &str)) -> SslAcceptor {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    acceptor
        .set_certificate_chain_file(place.path(&format!("{name}.pem")))
        .unwrap();
    acceptor
        .set_private_key_file(place.path(&format!("{name}.key")), SslFiletype::PEM)
        .unwrap();
    acceptor.set_ca_file(place.path(authority)).unwrap();
    acceptor.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    acceptor.build()
}

fn accepted(place: &Place, carrier: &TcpListener, shown: (&str, &str)) -> SslStream<TcpStream> {
    acceptor(place, shown).accept(taken(carrier)).unwrap()
}

/// Whether nothing more comes. What came before is read.
fn is_over(stream: &mut SslStream<TcpStream>) -> bool {
    let end = Instant::now() + LIMIT;
    let mut bytes = [0; 8192];
    while Instant::now() < end {
        match stream.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }
    false
}

/// The status of a call of ours that shows this certificate. None: we are refused. Who says nothing at all fails the test.
fn invited_by(place: &Place, address: SocketAddr, name: Option<&str>) -> Option<u16> {
    let (connector, stream) = connecting(place, address, name);
    let branch = stream.local_addr().unwrap().port().to_string();
    invited(&mut connected(connector, stream)?, &branch)
}

/// None: we are refused.
fn connected(connector: SslConnectorBuilder, stream: TcpStream) -> Option<SslStream<TcpStream>> {
    match connector.build().connect("localhost", stream) {
        Ok(stream) => Some(stream),
        Err(HandshakeError::WouldBlock(_)) => panic!("no handshake within {LIMIT:?}"),
        Err(_) => None,
    }
}

fn connecting(place: &Place, address: SocketAddr, name: Option<&str>) -> (SslConnectorBuilder, TcpStream) {
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
    (connector, stream)
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

/// What is said next. None: nothing any more.
fn read(stream: &mut SslStream<TcpStream>) -> Option<String> {
    let mut bytes = [0; 8192];
    let length = match stream.read(&mut bytes) {
        Ok(length) => length,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            panic!("nothing is said within {LIMIT:?}, and it is not over")
        }
        Err(_) => 0,
    };
    if length == 0 {
        return None;
    }
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
        let name = format!("trunk-tls-{}-{:?}", std::process::id(), thread::current().id());
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

    /// Who may issue certificates of trunks.
    fn believe(&self, name: &str) {
        let path = self.path(name);
        self.write("moqswitch.toml", &format!("[sip]\ntls_client_ca = \"{path}\"\n"));
    }

    /// How often the log says this.
    fn logged(&self, text: &str) -> usize {
        let log = fs::read_to_string(self.0.join("log")).unwrap_or_default();
        log.matches(text).count()
    }

    /// A switch that has a certificate of this authority, and believes it; and where it is.
    fn start(&self, authority: &Authority, carrier: &TcpListener) -> (Running, SocketAddr) {
        self.issue("switch", authority, "switch.example");
        self.write("authority.pem", &authority.pem);
        self.write("carriers.pem", &authority.pem);
        self.write("trunks.toml", &trunks(carrier.local_addr().unwrap()));
        let hash = User::hash("x").unwrap();
        self.write("5001.toml", &format!("[users.5001]\nhash = \"{hash}\"\n"));
        self.believe("authority.pem");
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = moqswitch();
        command.stderr(File::create(self.0.join("log")).unwrap()).envs([
            ("MOQSWITCH_CONFIG", self.path("moqswitch.toml")),
            ("MOQSWITCH_SIP_TLS", address.to_string()),
            ("MOQSWITCH_SIP_TRUNKS", self.path("trunks.toml")),
            ("MOQSWITCH_CALLS_USERS", self.path("5001.toml")),
            ("MOQSWITCH_TLS_CERT", self.path("switch.pem")),
            ("MOQSWITCH_TLS_KEY", self.path("switch.key")),
        ]);
        (Running::start(&mut command), address)
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
