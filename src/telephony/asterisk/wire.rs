//! A connection of a channel: what is read of it, in the same words whatever it speaks, and what is written. Whoever writes
//! waits for nobody: what finds no room is lost.

use std::any::Any;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use moqswitch_asterisk::audiosocket::Message;
use moqswitch_asterisk::websocket::{Command, Event, MediaStart, Spelling};
use moqswitch_asterisk::{Format, Uuid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as WebSocketMessage;

use crate::limits::{ASTERISK_OUTBOX_MAX, ASTERISK_WRITE_WAIT_MAX};

use super::counters::Spoken;

/// What came.
#[derive(Debug)]
pub(super) enum Came {
    /// Which connection it is.
    Uuid(Uuid),
    /// The channel is there.
    Start(Box<MediaStart>),
    /// Audio, and how it is written if that is said.
    Audio(Option<Format>, Bytes),
    Digit(char),
    /// The queue of Asterisk is full, or is not any more.
    Full(bool),
    /// How many frames wait there.
    Queue(u32),
    /// Something that is of no interest.
    Other,
    /// It is over as it should be.
    Over,
    /// It is over, as it broke the protocol.
    Broken,
}

/// What is read of a connection.
pub(super) enum Reader {
    AudioSocket(OwnedReadHalf, BytesMut),
    WebSocket(SplitStream<WebSocketStream<TcpStream>>),
    /// Of this process.
    Local(mpsc::Receiver<Came>),
}

/// What is written to a connection. It is closed when all that was written has left.
pub(super) struct Writer {
    outbox: mpsc::Sender<Out>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Asterisk is at the other end; or it is another program, for which we are Asterisk.
    AudioSocket {
        is_asterisk: bool,
    },
    WebSocket(Spelling),
    Local,
}

/// What is written.
pub(super) enum Out {
    Bytes(Vec<u8>),
    Text(String),
    /// To this process.
    Digit(char),
}

/// Who is at the other end, where that is this process. It is over when this is dropped.
pub(super) struct Peer {
    pub(super) says: mpsc::Sender<Came>,
    pub(super) hears: mpsc::Receiver<Out>,
    /// Of the connection.
    _place: Rc<dyn Any>,
}

/// Splits a connection of AudioSocket.
pub(super) fn audiosocket(stream: TcpStream, is_asterisk: bool, place: Rc<dyn Any>) -> (Reader, Writer) {
    let (read, write) = stream.into_split();
    let (outbox, messages) = mpsc::channel(ASTERISK_OUTBOX_MAX);
    tokio::task::spawn_local(write_stream(write, messages, place));
    let kind = Kind::AudioSocket { is_asterisk };
    (Reader::AudioSocket(read, BytesMut::new()), Writer { outbox, kind })
}

/// Splits a connection of `chan_websocket`.
pub(super) fn websocket(stream: WebSocketStream<TcpStream>, place: Rc<dyn Any>) -> (Reader, Writer) {
    let (sink, stream) = stream.split();
    let (outbox, messages) = mpsc::channel(ASTERISK_OUTBOX_MAX);
    tokio::task::spawn_local(write_websocket(sink, messages, place));
    let kind = Kind::WebSocket(Spelling::Plain);
    (Reader::WebSocket(stream), Writer { outbox, kind })
}

/// A connection within this process.
pub(super) fn local(place: Rc<dyn Any>) -> (Reader, Writer, Peer) {
    let (outbox, hears) = mpsc::channel(ASTERISK_OUTBOX_MAX);
    let (says, came) = mpsc::channel(ASTERISK_OUTBOX_MAX);
    let writer = Writer {
        outbox,
        kind: Kind::Local,
    };
    let peer = Peer {
        says,
        hears,
        _place: place,
    };
    (Reader::Local(came), writer, peer)
}

impl Reader {
    pub(super) fn spoken(&self) -> Spoken {
        match self {
            Self::AudioSocket(..) => Spoken::AudioSocket,
            Self::WebSocket(_) => Spoken::WebSocket,
            Self::Local(_) => Spoken::Voicemail,
        }
    }

    /// The next thing that comes, and how many bytes it is. Nothing is lost when it is not waited for to the end.
    pub(super) async fn next(&mut self, writer: &mut Writer) -> (Came, usize) {
        match self {
            Self::AudioSocket(read, buffer) => loop {
                match Message::read(buffer) {
                    Ok(Some((message, length))) => {
                        let came = of_message(message);
                        buffer.advance(length);
                        return (came, length);
                    }
                    Ok(None) => {}
                    Err(error) => {
                        tracing::debug!(%error, "AudioSocket");
                        return (Came::Broken, 0);
                    }
                }
                match read.read_buf(buffer).await {
                    Ok(0) | Err(_) => return (Came::Over, 0),
                    Ok(_) => {}
                }
            },
            Self::WebSocket(stream) => match stream.next().await {
                Some(Ok(message)) => {
                    let length = message.len();
                    (writer.of_websocket(message), length)
                }
                Some(Err(error)) => {
                    use tokio_tungstenite::tungstenite::Error;
                    let is_end = matches!(error, Error::ConnectionClosed | Error::AlreadyClosed | Error::Io(_));
                    tracing::debug!(%error, "chan_websocket");
                    let is_reset = error.to_string().contains("closing handshake");
                    (if is_end || is_reset { Came::Over } else { Came::Broken }, 0)
                }
                None => (Came::Over, 0),
            },
            Self::Local(came) => match came.recv().await {
                Some(Came::Audio(format, bytes)) => {
                    let length = bytes.len();
                    (Came::Audio(format, bytes), length)
                }
                Some(came) => (came, 0),
                None => (Came::Over, 0),
            },
        }
    }
}

fn of_message(message: Message<'_>) -> Came {
    match message {
        Message::Hangup => Came::Over,
        Message::Uuid(uuid) => Came::Uuid(uuid),
        Message::Digit(digit) => Came::Digit(digit),
        Message::Audio { hertz, samples } => Came::Audio(Some(Format::Linear(hertz)), Bytes::copy_from_slice(samples)),
        Message::Error(code) => {
            tracing::debug!(code, "Asterisk: AudioSocket tells an error");
            Came::Over
        }
        Message::Unknown(_) => Came::Other,
    }
}

impl Writer {
    fn of_websocket(&mut self, message: WebSocketMessage) -> Came {
        match message {
            WebSocketMessage::Binary(bytes) => Came::Audio(None, bytes),
            WebSocketMessage::Text(text) => {
                let Ok((event, spelling)) = Event::read(&text) else {
                    return Came::Other;
                };
                if let Kind::WebSocket(own) = &mut self.kind {
                    *own = spelling;
                }
                match event {
                    Event::MediaStart(start) => Came::Start(start),
                    Event::Digit(digit) => Came::Digit(digit),
                    Event::MediaXoff => Came::Full(true),
                    Event::MediaXon => Came::Full(false),
                    Event::Status(status) => Came::Queue(status.queue_length),
                    Event::Error { text } => {
                        tracing::debug!(text, "Asterisk: chan_websocket tells an error");
                        Came::Other
                    }
                    Event::BufferingCompleted { .. }
                    | Event::MarkProcessed { .. }
                    | Event::QueueDrained
                    | Event::Unknown => Came::Other,
                }
            }
            WebSocketMessage::Close(_) => Came::Over,
            WebSocketMessage::Ping(_) | WebSocketMessage::Pong(_) | WebSocketMessage::Frame(_) => Came::Other,
        }
    }

    /// A frame of audio. False: it is lost, as the peer does not read.
    pub(super) fn audio(&self, format: Format, frame: &[u8]) -> bool {
        match (self.kind, format) {
            (Kind::AudioSocket { .. }, Format::Linear(hertz)) => {
                self.message(&Message::Audio { hertz, samples: frame })
            }
            (Kind::AudioSocket { .. }, _) => false,
            (Kind::Local, Format::Linear(_)) | (Kind::WebSocket(_), _) => {
                self.outbox.try_send(Out::Bytes(frame.to_vec())).is_ok()
            }
            (Kind::Local, _) => false,
        }
    }

    /// A key, where there is a message for it. False: there is none.
    pub(super) fn digit(&self, digit: char) -> bool {
        if self.kind == Kind::Local {
            return self.outbox.try_send(Out::Digit(digit)).is_ok();
        }
        // Asterisk would end the call.
        self.kind == Kind::AudioSocket { is_asterisk: false } && self.message(&Message::Digit(digit))
    }

    /// Who we are, where we are Asterisk.
    pub(super) fn uuid(&self, uuid: Uuid) -> bool {
        self.message(&Message::Uuid(uuid))
    }

    /// A command to `chan_websocket`; nothing to others. False: the peer does not read.
    pub(super) fn command(&self, command: &Command<'_>) -> bool {
        let Kind::WebSocket(spelling) = self.kind else {
            return true;
        };
        let text = command.write(spelling);
        text.is_none_or(|text| self.outbox.try_send(Out::Text(text)).is_ok())
    }

    /// Whether silence has to be sent where there is nothing to hear: an application of Asterisk ends without.
    pub(super) fn needs_silence(&self) -> bool {
        matches!(self.kind, Kind::AudioSocket { .. } | Kind::Local)
    }

    /// The peer has taken nothing for long, or is gone.
    pub(super) fn is_over(&self) -> bool {
        // One of this process says by its end that it is over.
        self.kind != Kind::Local && self.outbox.is_closed()
    }

    /// It is over.
    pub(super) fn hang_up(self) {
        match self.kind {
            Kind::AudioSocket { .. } => drop(self.message(&Message::Hangup)),
            Kind::WebSocket(_) => drop(self.command(&Command::Hangup)),
            Kind::Local => {}
        }
    }

    fn message(&self, message: &Message<'_>) -> bool {
        let mut bytes = Vec::new();
        message.write(&mut bytes) && self.outbox.try_send(Out::Bytes(bytes)).is_ok()
    }
}

/// The connection has its place until its last byte has left, or is given up.
async fn write_stream(mut stream: OwnedWriteHalf, mut messages: mpsc::Receiver<Out>, _place: Rc<dyn Any>) {
    while let Some(Out::Bytes(bytes)) = messages.recv().await {
        let written = time::timeout(ASTERISK_WRITE_WAIT_MAX, stream.write_all(&bytes)).await;
        if !matches!(written, Ok(Ok(()))) {
            return;
        }
    }
    // What was written leaves before.
    let _ = time::timeout(CLOSE_WAIT_MAX, stream.shutdown()).await;
}

async fn write_websocket(
    mut sink: SplitSink<WebSocketStream<TcpStream>, WebSocketMessage>,
    mut messages: mpsc::Receiver<Out>,
    _place: Rc<dyn Any>,
) {
    while let Some(out) = messages.recv().await {
        let message = match out {
            Out::Bytes(bytes) => WebSocketMessage::Binary(bytes.into()),
            Out::Text(text) => WebSocketMessage::Text(text.into()),
            Out::Digit(_) => continue,
        };
        let written = time::timeout(ASTERISK_WRITE_WAIT_MAX, sink.send(message)).await;
        if !matches!(written, Ok(Ok(()))) {
            return;
        }
    }
    let _ = time::timeout(CLOSE_WAIT_MAX, sink.close()).await;
}

const CLOSE_WAIT_MAX: Duration = Duration::from_secs(1);
