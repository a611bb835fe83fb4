use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use moqswitch_relay::quic::Secrets;

use super::offer::{self, Keepsake, Kind, Offer, Said, VERSION};
use super::takeover::Takeover;

struct Given {
    http: TcpListener,
    sockets: Vec<UdpSocket>,
    commands: UnixListener,
    life: OwnedFd,
    _held: OwnedFd,
}

fn given() -> Given {
    let (life, held) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let name = format!(
        "/tmp/moqswitch-upgrade-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    );
    let _ = std::fs::remove_file(&name);
    let commands = UnixListener::bind(&name).unwrap();
    let _ = std::fs::remove_file(&name);
    Given {
        http: TcpListener::bind("127.0.0.1:0").unwrap(),
        sockets: (0..2).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect(),
        commands,
        life,
        _held: held,
    }
}

fn keepsake() -> Keepsake {
    let secrets = Secrets::generate().unwrap();
    Keepsake::new(&secrets, "a key".to_owned(), None, Some((b"certificate", b"key")))
}

fn offered(given: &Given, change: impl FnOnce(&mut Offer)) -> anyhow::Result<Takeover> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut offer = Offer {
        version: VERSION,
        shards: 1,
        generation: 1,
        lives: vec![0],
        listeners: vec![(Kind::Http, given.http.local_addr().unwrap())],
        sockets: 2,
        has_guard: false,
        announced: 3,
    };
    change(&mut offer);
    let mut descriptors = vec![given.commands.as_fd(), given.life.as_fd(), given.http.as_fd()];
    descriptors.extend(given.sockets.iter().map(AsFd::as_fd));
    offer::send(&ours, &offer, &keepsake(), &descriptors).unwrap();
    drop(ours);
    Takeover::receive(theirs)
}

#[test]
fn what_is_offered_arrives() {
    let given = given();
    let mut takeover = offered(&given, |_| {}).unwrap();
    let local = given.http.local_addr().unwrap();
    assert!(takeover.listener(Kind::Admin, local).is_none());
    let listener = takeover.listener(Kind::Http, local).unwrap();
    assert_eq!(listener.local_addr().unwrap(), local);
    assert!(takeover.listener(Kind::Http, local).is_none(), "it is given once");
    assert_eq!(takeover.keepsake.certificate().unwrap().0, b"certificate");
    let listen = given.sockets[0].local_addr().unwrap();
    assert!(takeover.heritage(listen).is_ok());
    let elsewhere = takeover.heritage("127.0.0.2:1".parse().unwrap()).err().unwrap();
    assert!(elsewhere.to_string().contains("restart"), "{elsewhere}");
}

#[test]
fn what_is_not_understood_is_refused_with_what_to_do() {
    let given = given();
    let refused = |change: fn(&mut Offer)| offered(&given, change).err().unwrap().to_string();
    let version = refused(|offer| offer.version = VERSION + 1);
    assert!(version.contains("restart instead"), "{version}");
    let many = refused(|offer| offer.sockets = 1 << 20);
    assert!(many.contains("too many"), "{many}");
    let sockets = refused(|offer| offer.sockets = 3);
    assert!(!sockets.is_empty());
    let generation = refused(|offer| offer.generation = 2);
    assert!(generation.contains("sockets"), "{generation}");
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(ours);
    assert!(Takeover::receive(theirs).is_err());
}

#[test]
fn secrets_cannot_be_changed_on_their_way() {
    let keepsake = keepsake();
    let copy: Keepsake = serde_json::from_str(&serde_json::to_string(&keepsake).unwrap()).unwrap();
    assert_eq!(
        keepsake.secrets().unwrap().to_bytes(),
        copy.secrets().unwrap().to_bytes()
    );
    let broken: Keepsake =
        serde_json::from_str(r#"{"relay":"AAAA","kin":"","devices":null,"certificate":null}"#).unwrap();
    assert!(broken.secrets().is_err());
}

#[test]
fn lines_are_read_as_they_were_written() {
    for said in [
        Said::Ready,
        Said::Calls,
        Said::Released,
        Said::Failed {
            reason: "a\nb".to_owned(),
        },
    ] {
        let line = said.line();
        assert_eq!(line.matches('\n').count(), 1);
        assert_eq!(serde_json::from_str::<Said>(&line).unwrap(), said);
    }
}
