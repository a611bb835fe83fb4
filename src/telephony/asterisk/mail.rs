//! Channels that lead to voice mail: at their other end is this process, which plays and records. The frames that a channel hears
//! are its clock. Whatever waits for the disk does so on threads of their own.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use bytes::Bytes;
use moqswitch_asterisk::Format;
use moqswitch_signalling::calls::{Cause, Number, Text};
use moqswitch_signalling::{AsteriskWay, ChannelCall};
use moqswitch_voicemail::{FRAME_SAMPLES, Leaving, Left, Listening, Sound, Wish};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{spawn_blocking, spawn_local};

use crate::telephony::voicemail::Mail;

use super::hub::{Connection, Hub};
use super::ways::codecs;
use super::wire::{self, Came, Out, Peer};

/// What is wanted of voice mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Desk {
    /// To leave a message for the number that is called.
    Leaving,
    /// To listen to the messages of the number that calls.
    Listening,
}

/// The ways to it, if there is any.
pub(super) fn ways() -> Vec<AsteriskWay> {
    let numbers = [LEAVING, LISTENING]
        .into_iter()
        .filter_map(|name| Number::new(name).ok());
    let way = |number| AsteriskWay {
        number,
        contact: Text::new("voice mail"),
        codecs: codecs(FORMAT),
    };
    numbers.map(way).collect()
}

/// The number by which messages are left.
pub(super) fn leaving() -> anyhow::Result<Number> {
    Number::new(LEAVING).context("a number of voice mail")
}

/// Whether a way leads there.
pub(super) fn desk_of(hub: &Hub, way: &Number) -> Option<Desk> {
    hub.settings.mail.as_ref()?;
    match way.as_str() {
        LEAVING => Some(Desk::Leaving),
        LISTENING => Some(Desk::Listening),
        _ => None,
    }
}

/// A connection to it.
pub(super) fn connect(hub: &Rc<Hub>, desk: Desk, call: ChannelCall) -> Result<Connection, Cause> {
    let mail = Arc::clone(hub.settings.mail.as_ref().ok_or(Cause::Unreachable)?);
    let seat = mail.place().ok_or(Cause::Congestion)?;
    let nowhere = std::net::Ipv4Addr::UNSPECIFIED.into();
    let place = Rc::new(hub.outgoing_place(nowhere).ok_or(Cause::Congestion)?);
    let (reader, writer, peer) = wire::local(place.clone());
    spawn_local(async move {
        match desk {
            Desk::Leaving => leave(mail, call, peer, seat).await,
            Desk::Listening => listen(mail, call, peer, seat).await,
        }
    });
    Ok(Connection {
        reader,
        writer,
        format: FORMAT,
        early: Vec::new(),
        place,
    })
}

/// Somebody leaves a message. It is kept when the caller has gone, or has said everything.
async fn leave(mail: Arc<Mail>, call: ChannelCall, mut peer: Peer, seat: OwnedSemaphorePermit) {
    let number = call.to.clone();
    let begun = on_disk(&mail, move |mail| {
        let message_max = mail.boxes.settings().message_max;
        let has_room = mail.boxes.has_room(&number);
        has_room.then(|| Leaving::new(Some(mail.greeting(&number)), message_max))
    });
    let leaving = begun.await.flatten().unwrap_or_else(Leaving::full);
    let mut draft = Draft {
        leaving: Some(leaving),
        mail: Arc::clone(&mail),
        call,
    };
    while let Some(leaving) = &mut draft.leaving
        && let Some(out) = peer.hears.recv().await
    {
        match out {
            Out::Bytes(frame) => {
                let mut says = [0; FRAME_SAMPLES];
                leaving.step(&samples(&frame), &mut says);
                say(&peer, &says);
            }
            Out::Digit(digit) => leaving.press(digit),
            Out::Text(_) => {}
        }
        if leaving.is_over() {
            break;
        }
    }
    drop(peer);
    on_disk(&mail, move |_| draft.keep()).await;
    drop(seat);
}

/// A message that is being left. It is kept, too, when nobody goes on with it: calls end with the process.
struct Draft {
    leaving: Option<Leaving>,
    mail: Arc<Mail>,
    call: ChannelCall,
}

impl Draft {
    /// Waits for the disk.
    fn keep(&mut self) {
        let Some(Left::Message(sound)) = self.leaving.take().map(Leaving::finish) else {
            return;
        };
        let from = (&self.call.from, &self.call.name);
        match self.mail.boxes.add(&self.call.to, from, &sound, unix_ms()) {
            Ok(message) => tracing::debug!(message.id, "voice mail"),
            Err(error) => tracing::error!(%error, "a message is lost"),
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // What it holds may be half of something.
        if !std::thread::panicking() {
            self.keep();
        }
    }
}

/// Somebody listens to the own box.
async fn listen(mail: Arc<Mail>, call: ChannelCall, mut peer: Peer, seat: OwnedSemaphorePermit) {
    let number = call.from;
    let of_box = number.clone();
    let messages = on_disk(&mail, move |mail| mail.boxes.list(&of_box).unwrap_or_default()).await;
    let mut listening = Listening::new(messages.unwrap_or_default());
    while let Some(out) = peer.hears.recv().await {
        match out {
            Out::Bytes(frame) => {
                let mut says = [0; FRAME_SAMPLES];
                listening.step(&samples(&frame), &mut says);
                say(&peer, &says);
            }
            Out::Digit(digit) => listening.press(digit),
            Out::Text(_) => {}
        }
        while let Some(wish) = listening.poll() {
            let number = number.clone();
            if let Some((id, sound)) = on_disk(&mail, move |mail| fulfil(mail, &number, wish)).await.flatten() {
                listening.load(&id, sound);
            }
        }
        if listening.is_over() {
            break;
        }
    }
    drop((peer, seat));
}

/// What was asked to be loaded, if it was.
fn fulfil(mail: &Mail, number: &Number, wish: Wish) -> Option<(String, Option<Sound>)> {
    let done = match wish {
        Wish::Load(id) => {
            let sound = mail.boxes.sound(number, &id).ok();
            return Some((id, sound));
        }
        Wish::Heard(id) => mail.boxes.set_heard(number, &id, true),
        Wish::Remove(id) => mail.boxes.remove(number, &id),
        Wish::Greet(sound) => mail.boxes.set_greeting(number, &sound),
    };
    if let Err(error) = done {
        tracing::warn!(%error, "voice mail");
    }
    None
}

/// Where nobody else waits for it. Whoever follows the boxes is told. `None`: the process ends.
async fn on_disk<T: Send + 'static>(mail: &Arc<Mail>, what: impl FnOnce(&Mail) -> T + Send + 'static) -> Option<T> {
    let own = Arc::clone(mail);
    let done = spawn_blocking(move || what(&own)).await.ok();
    mail.tell();
    done
}

fn say(peer: &Peer, samples: &[i16]) {
    let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    // One that finds no room is late, as the channel is.
    let _ = peer.says.try_send(Came::Audio(Some(FORMAT), Bytes::from(bytes)));
}

fn samples(frame: &[u8]) -> Vec<i16> {
    let samples = frame.chunks_exact(2);
    samples
        .map(|sample| i16::from_le_bytes([sample[0], sample[1]]))
        .collect()
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// `trunk/voicemail`, `trunk/mailbox`.
const LEAVING: &str = "voicemail";
const LISTENING: &str = "mailbox";
const FORMAT: Format = Format::Linear(8000);
