//! What one process gives to the one that follows: a description, then the descriptors that it counts, over a pair of unix
//! sockets. After that both say lines of JSON.
//!
//! Secrets are in a sealed memory file, which nobody can change and which is nowhere on a disk.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use anyhow::Context;
use base64ct::{Base64, Encoding};
use moqswitch_relay::quic::Secrets;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize};

use crate::limits::{HANDED_BYTES_MAX, HANDED_DESCRIPTORS_MAX};

/// Of the hand-over. Processes of different ones do not follow each other.
pub(super) const VERSION: u32 = 1;

/// By which a process knows that it is to take over, and where it is told what.
pub(super) const VARIABLE: &str = "TAKE_OVER_BY";
pub(super) const STANDARD_INPUT: &str = "stdin";

/// What is handed over. The order of the descriptors: the secrets, where operators ask, a sign of life of each generation,
/// listeners, sockets, and what keeps others away from the address.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Offer {
    pub(super) version: u32,
    pub(super) shards: usize,
    /// Of the process that follows.
    pub(super) generation: usize,
    /// Those that live, the one that offers first.
    pub(super) lives: Vec<usize>,
    pub(super) listeners: Vec<(Kind, SocketAddr)>,
    pub(super) sockets: usize,
    pub(super) has_guard: bool,
    /// Broadcasts that are announced here.
    pub(super) announced: usize,
}

/// Which listener it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Http,
    Admin,
    Mediaswitch,
}

/// Secrets that all processes have in common.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Keepsake {
    relay: String,
    /// A key, by whose tokens processes know each other.
    pub(super) kin: String,
    /// A key, by whose tokens the relay knows devices.
    pub(super) devices: Option<String>,
    /// One that was made at the start: clients have pinned it. DER of certificate and key.
    certificate: Option<(String, String)>,
}

impl Keepsake {
    pub(crate) fn new(
        secrets: &Secrets,
        kin: String,
        devices: Option<String>,
        certificate: Option<(&[u8], &[u8])>,
    ) -> Self {
        let encode = |bytes: &[u8]| Base64::encode_string(bytes);
        Self {
            relay: encode(&secrets.to_bytes()),
            kin,
            devices,
            certificate: certificate.map(|(certificate, key)| (encode(certificate), encode(key))),
        }
    }

    pub(crate) fn secrets(&self) -> anyhow::Result<Secrets> {
        let bytes = Base64::decode_vec(&self.relay).ok();
        let bytes = bytes.and_then(|bytes| <[u8; Secrets::BYTES]>::try_from(bytes).ok());
        Ok(Secrets::from_bytes(&bytes.context("the secrets are damaged")?))
    }

    pub(crate) fn certificate(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let (certificate, key) = self.certificate.as_ref()?;
        Some((Base64::decode_vec(certificate).ok()?, Base64::decode_vec(key).ok()?))
    }
}

/// What both say afterwards.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub(super) enum Said {
    /// It does not take over, and ends.
    Failed { reason: String },
    /// It wants the sockets of calls.
    Calls,
    /// They are free.
    Released,
    /// It serves: clients are to come to it.
    Ready,
}

impl Said {
    pub(super) fn line(&self) -> String {
        let text = serde_json::to_string(self).expect("these have no keys that are no strings");
        text + "\n"
    }
}

/// Sends it all. The other need not read meanwhile: it is small.
pub(super) fn send(
    channel: &UnixStream,
    offer: &Offer,
    keepsake: &Keepsake,
    rest: &[BorrowedFd<'_>],
) -> anyhow::Result<()> {
    let text = serde_json::to_vec(offer)?;
    let length = u32::try_from(text.len())?;
    let mut stream = channel;
    stream.write_all(&length.to_le_bytes())?;
    stream.write_all(&text)?;
    let secrets = seal(&serde_json::to_vec(keepsake)?).context("a memory file for secrets")?;
    for descriptor in std::iter::once(secrets.as_fd()).chain(rest.iter().copied()) {
        send_descriptor(channel, descriptor)?;
    }
    Ok(())
}

/// The offer, the secrets, and the other descriptors.
pub(super) fn receive(channel: &UnixStream) -> anyhow::Result<(Offer, Keepsake, Vec<OwnedFd>)> {
    let mut stream = channel;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_le_bytes(length))?;
    anyhow::ensure!(length <= HANDED_BYTES_MAX, "the offer is too large");
    let mut text = vec![0; length];
    stream.read_exact(&mut text)?;
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let Versioned { version } = serde_json::from_slice(&text).context("the offer is not understood")?;
    anyhow::ensure!(
        version == VERSION,
        "the process before hands over by version {version}, this program by {VERSION}: restart instead"
    );
    let offer: Offer = serde_json::from_slice(&text).context("the offer is not understood")?;
    let lives = offer.lives.len().saturating_add(offer.listeners.len());
    let count = lives.saturating_add(offer.sockets).saturating_add(2);
    anyhow::ensure!(count <= HANDED_DESCRIPTORS_MAX, "too many descriptors are offered");
    let rest = count - 1 + usize::from(offer.has_guard);
    let secrets = receive_descriptor(channel)?;
    let keepsake = unseal(secrets).context("the secrets are not understood")?;
    let descriptors = (0..rest).map(|_| receive_descriptor(channel));
    Ok((offer, keepsake, descriptors.collect::<anyhow::Result<_>>()?))
}

fn seal(bytes: &[u8]) -> io::Result<OwnedFd> {
    let memory = rustix::fs::memfd_create("moqswitch", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(memory);
    file.write_all(bytes)?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}

fn unseal(memory: OwnedFd) -> anyhow::Result<Keepsake> {
    let mut file = File::from(memory);
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(HANDED_BYTES_MAX as u64).read_to_end(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// With one byte, without which there is no message to be sent with.
fn send_descriptor(channel: &UnixStream, descriptor: BorrowedFd<'_>) -> anyhow::Result<()> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut room);
    let descriptors = [descriptor];
    anyhow::ensure!(
        control.push(SendAncillaryMessage::ScmRights(&descriptors)),
        "there is no room for a descriptor"
    );
    rustix::net::sendmsg(channel, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn receive_descriptor(channel: &UnixStream) -> anyhow::Result<OwnedFd> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut room);
    let mut byte = [0];
    let mut pieces = [IoSliceMut::new(&mut byte)];
    let received = rustix::net::recvmsg(channel, &mut pieces, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    anyhow::ensure!(received.bytes == 1, "the process before has ended");
    let found = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    found.context("a descriptor is missing: this process may have no more of them")
}
