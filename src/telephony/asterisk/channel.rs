//! One channel: a connection on one side, a leg on a shard on the other. What is heard goes out at the pace of time, whatever
//! pace it comes at: Asterisk would play a burst late for ever.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_queue::ArrayQueue;
use moqswitch_asterisk::websocket::Command;
use moqswitch_asterisk::{Format, Intake, Playout};
use moqswitch_legs::limits::PAYLOAD_BYTES_MAX;
use moqswitch_legs::{FrameLegSettings, FrameLegsPort, HeardFrame, LegCodec, LegHears, LegName, LegRefused};
use moqswitch_proto::wire::BroadcastPath;
use moqswitch_signalling::calls::{Cause, Codec};
use moqswitch_signalling::{ChannelEvent, ChannelHears, ChannelId, ChannelOrder};
use tokio::sync::{mpsc, oneshot};
use tokio::time;

use crate::limits::{
    ASTERISK_BYTES_PER_SECOND_MAX, ASTERISK_DIGITS_PER_SECOND_MAX, ASTERISK_FRAMES_PER_SECOND_MAX,
    ASTERISK_MESSAGES_PER_SECOND_MAX, ASTERISK_QUEUE_MAX,
};

use super::counters::{Refused, add};
use super::hub::{Connection, Hub, Place, Used};
use super::wire::{Came, Reader, Writer};

/// See the module's documentation.
pub(super) struct Channel {
    hub: Rc<Hub>,
    id: ChannelId,
    reader: Reader,
    writer: Writer,
    inbox: mpsc::Receiver<ChannelOrder>,
    leg: Option<Leg>,
    intake: Option<Intake>,
    playout: Playout,
    /// How the peer writes audio, and whether it has said so.
    format: Format,
    is_format_known: bool,
    /// What the leg speaks, once it is there.
    codec: Option<Codec>,
    /// What is heard, and the turn of the newest speaker.
    hears: Option<Codec>,
    turn: u32,
    /// When it came.
    began: Instant,
    /// When the next 20 ms are due.
    due: time::Instant,
    /// Asterisk takes nothing for now.
    is_full: bool,
    asked: Instant,
    second: Second,
    early: Vec<Bytes>,
    /// It is a connection as long as this is there.
    _place: Rc<Place>,
}

/// A leg on a shard.
struct Leg {
    port: FrameLegsPort,
    name: LegName,
    heard: Arc<ArrayQueue<HeardFrame>>,
    refused: oneshot::Receiver<LegRefused>,
    _used: Used,
}

/// What came within a second.
struct Second {
    began: Instant,
    messages: u32,
    bytes: usize,
    frames: u32,
    digits: u32,
}

enum What {
    Order(Option<ChannelOrder>),
    Came(Came, usize),
    Due,
    Refused,
}

impl Channel {
    pub(super) fn new(
        hub: Rc<Hub>,
        id: ChannelId,
        inbox: mpsc::Receiver<ChannelOrder>,
        connection: Connection,
    ) -> Self {
        let now = Instant::now();
        let Connection {
            reader,
            writer,
            format,
            early,
            place,
        } = connection;
        Self {
            hub,
            id,
            is_format_known: !writer.needs_silence(),
            reader,
            writer,
            inbox,
            leg: None,
            intake: None,
            playout: Playout::new(format),
            format,
            codec: None,
            hears: None,
            turn: 0,
            began: Instant::now(),
            due: time::Instant::now() + FRAME,
            is_full: false,
            asked: now,
            second: Second::new(now),
            early,
            _place: place,
        }
    }

    /// Until it is over, either way.
    pub(super) async fn serve(mut self) {
        let cause = self.run().await;
        if let Some(leg) = self.leg.take() {
            end_leg(leg).await;
        }
        self.hub.leave(self.id);
        if let Some(cause) = cause {
            self.hub.tell(self.id, ChannelEvent::Ended(cause)).await;
        }
        self.writer.hang_up();
    }

    /// None: it was told to end, so nobody needs to be told.
    async fn run(&mut self) -> Option<Cause> {
        loop {
            let refused = async {
                match &mut self.leg {
                    Some(leg) if !leg.refused.is_terminated() => (&mut leg.refused).await.is_ok(),
                    _ => std::future::pending().await,
                }
            };
            let what = tokio::select! {
                biased;
                order = self.inbox.recv() => What::Order(order),
                () = time::sleep_until(self.due) => What::Due,
                true = refused => What::Refused,
                (came, length) = self.reader.next(&mut self.writer) => What::Came(came, length),
            };
            match what {
                What::Order(Some(ChannelOrder::HangUp)) => return None,
                // Too many orders waited, or one could not be obeyed: who gave it has to know.
                What::Order(None) => return Some(Cause::Congestion),
                What::Order(Some(order)) => {
                    if self.obey(order).is_none() {
                        return Some(Cause::Congestion);
                    }
                }
                What::Due => {
                    self.play();
                    if self.writer.is_over() {
                        return Some(Cause::MediaTimeout);
                    }
                }
                What::Refused => return Some(Cause::Congestion),
                What::Came(came, length) => {
                    if let Err(reason) = self.second.count(&came, length, Instant::now()) {
                        self.hub.counters.refused(reason);
                        return Some(Cause::ProtocolError);
                    }
                    if let Some(cause) = self.take(came).await {
                        return Some(cause);
                    }
                }
            }
        }
    }

    /// None: it could not be done.
    fn obey(&mut self, order: ChannelOrder) -> Option<()> {
        match order {
            ChannelOrder::Open { path, codec } => self.open(&path, codec),
            ChannelOrder::Answer => self.writer.command(&Command::Answer).then_some(()),
            ChannelOrder::Speak(codec) => {
                self.codec = Some(codec);
                self.intake = None;
                self.with_leg(|leg| leg.port.speak(leg.name, of_legs(codec)).is_ok())
            }
            ChannelOrder::Hear(heard) => self.hear(heard),
            // What is mixed for it is one broadcast by now.
            ChannelOrder::HearAll(_) => Some(()),
            ChannelOrder::Press { digit, duration_ms } => {
                if !self.writer.digit(digit) {
                    let milliseconds = usize::try_from(duration_ms).unwrap_or(usize::MAX);
                    self.playout.press(digit, milliseconds.max(TONE_MS_MIN));
                }
                Some(())
            }
            // Of channels that are called, and are there.
            ChannelOrder::Call(_) => Some(()),
            ChannelOrder::HangUp => None,
        }
    }

    fn with_leg(&self, ask: impl FnOnce(&Leg) -> bool) -> Option<()> {
        self.leg.as_ref().is_none_or(ask).then_some(())
    }

    fn open(&mut self, path: &str, codec: Codec) -> Option<()> {
        let (port, used) = self.hub.shard()?;
        let settings = FrameLegSettings {
            broadcast: BroadcastPath::new(path),
            codec: of_legs(codec),
        };
        let opened = port.open(settings).ok()?;
        self.codec = Some(codec);
        self.leg = Some(Leg {
            port,
            name: opened.leg,
            heard: opened.heard,
            refused: opened.refused,
            _used: used,
        });
        for bytes in std::mem::take(&mut self.early) {
            self.say(&bytes);
        }
        Some(())
    }

    fn hear(&mut self, heard: Option<ChannelHears>) -> Option<()> {
        self.turn = self.turn.wrapping_add(1);
        let is_first = self.hears.is_none();
        self.hears = heard.as_ref().map(|heard| heard.codec);
        self.listen();
        // What Asterisk has still of who spoke before is of no use. Packets of Opus do not wait there.
        let is_told = is_first || self.format == Format::Opus || self.writer.command(&Command::Flush);
        let hears = heard.map(|heard| LegHears {
            broadcast: BroadcastPath::new(&heard.path),
            transcoded: heard.is_transcoded.then(|| of_legs(heard.codec)),
        });
        let turn = self.turn;
        self.with_leg(|leg| leg.port.hear(leg.name, turn, hears).is_ok() && is_told)
    }

    /// Some: it is over, and why.
    async fn take(&mut self, came: Came) -> Option<Cause> {
        match came {
            Came::Audio(format, bytes) => {
                self.learn(format);
                self.say(&bytes);
            }
            Came::Digit(digit) => {
                if let Some(leg) = &self.leg {
                    // A shard that has too much to do loses it; the call plane is told nevertheless.
                    let _ = leg.port.press(leg.name, digit, DIGIT_MS);
                }
                self.hub.tell(self.id, ChannelEvent::Digit(digit)).await;
            }
            Came::Full(is_full) => self.is_full = is_full,
            // It plays by its own time, so what waits there is late for ever.
            Came::Queue(waiting) if waiting > ASTERISK_QUEUE_MAX => drop(self.writer.command(&Command::Flush)),
            Came::Uuid(_) | Came::Start(_) | Came::Queue(_) | Came::Other => {}
            Came::Over => return Some(Cause::Normal),
            Came::Broken => {
                self.hub.counters.refused(Refused::Protocol);
                return Some(Cause::ProtocolError);
            }
        }
        None
    }

    /// How a peer of AudioSocket writes is known by what it writes. It is written to as it wrote first.
    fn learn(&mut self, format: Option<Format>) {
        let Some(format) = format else { return };
        if !self.is_format_known && format != self.playout.format() {
            self.playout = Playout::new(format);
            self.listen();
        }
        self.format = format;
        self.is_format_known = true;
    }

    fn listen(&mut self) {
        if let Err(error) = self.playout.hear(self.hears.map(of_audio)) {
            tracing::warn!(%error, "Asterisk: a channel cannot hear");
        }
    }

    /// The peer has said something. Before its call is answered nobody hears it.
    fn say(&mut self, bytes: &[u8]) {
        let (Some(leg), Some(codec)) = (&self.leg, self.codec) else {
            return;
        };
        let codec = of_audio(codec);
        if self.intake.as_ref().is_none_or(|intake| intake.format() != self.format) {
            self.intake = Intake::new(self.format, codec)
                .inspect_err(|error| tracing::warn!(%error, "Asterisk: a channel is not heard"))
                .ok();
        }
        let Some(intake) = &mut self.intake else { return };
        let (counters, second) = (&self.hub.counters, &mut self.second);
        intake.take(bytes, |frame| {
            second.frames += 1;
            let is_said = second.frames <= ASTERISK_FRAMES_PER_SECOND_MAX
                && (1..=PAYLOAD_BYTES_MAX).contains(&frame.len())
                && leg.port.say(leg.name, Bytes::copy_from_slice(frame));
            add(
                if is_said {
                    &counters.frames_in
                } else {
                    &counters.frames_dropped
                },
                1,
            );
        });
    }

    /// 20 ms are due.
    fn play(&mut self) {
        let now = time::Instant::now();
        self.due += FRAME;
        // What was late for long is left out: it would be late for ever.
        if self.due + LATE_MAX < now {
            self.due = now + FRAME;
        }
        // While the other side rings the application would end without anything.
        if self.leg.is_none() && !self.writer.needs_silence() {
            return;
        }
        if let Some(leg) = &self.leg {
            while let Some(frame) = leg.heard.pop() {
                if frame.turn == self.turn {
                    self.playout.push(frame.group, &frame.payload);
                }
            }
        }
        // Until it is known how AudioSocket is written there, nothing is; Asterisk drops what is of another rate.
        let waited = self.began.elapsed() > FORMAT_WAIT;
        if !self.is_format_known && !waited {
            return;
        }
        let format = self.playout.format();
        let sent = match self.playout.play() {
            Some(frame) if !self.is_full => self.writer.audio(format, frame),
            Some(_) => false,
            None if self.writer.needs_silence() => self.writer.audio(format, self.playout.silence()),
            None => return self.look(),
        };
        let counters = &self.hub.counters;
        add(
            if sent {
                &counters.frames_out
            } else {
                &counters.frames_dropped
            },
            1,
        );
        self.look();
    }

    /// Now and then Asterisk is asked what waits in its queue.
    fn look(&mut self) {
        let now = Instant::now();
        if self.format != Format::Opus && now.saturating_duration_since(self.asked) >= ASK_INTERVAL {
            self.asked = now;
            // One that does not read is found by what it is sent.
            let _ = self.writer.command(&Command::GetStatus);
        }
    }
}

impl Second {
    fn new(began: Instant) -> Self {
        Self {
            began,
            messages: 0,
            bytes: 0,
            frames: 0,
            digits: 0,
        }
    }

    /// Nobody says more than that.
    fn count(&mut self, came: &Came, length: usize, now: Instant) -> Result<(), Refused> {
        if now.saturating_duration_since(self.began) >= Duration::from_secs(1) {
            *self = Self::new(now);
        }
        self.messages += 1;
        self.bytes += length;
        self.digits += u32::from(matches!(came, Came::Digit(_)));
        let is_flood = self.messages > ASTERISK_MESSAGES_PER_SECOND_MAX
            || self.bytes > ASTERISK_BYTES_PER_SECOND_MAX
            || self.digits > ASTERISK_DIGITS_PER_SECOND_MAX;
        if is_flood { Err(Refused::Flood) } else { Ok(()) }
    }
}

/// A shard that has no room for it is told again: its leg must not stay.
async fn end_leg(leg: Leg) {
    while leg.port.close(leg.name).is_err() {
        time::sleep(CLOSE_RETRY).await;
    }
}

fn of_legs(codec: Codec) -> LegCodec {
    match codec {
        Codec::Opus => LegCodec::Opus,
        Codec::Pcmu => LegCodec::Pcmu,
        Codec::Pcma => LegCodec::Pcma,
        Codec::G722 => LegCodec::G722,
    }
}

fn of_audio(codec: Codec) -> moqswitch_asterisk::Codec {
    match codec {
        Codec::Opus => moqswitch_asterisk::Codec::Opus,
        Codec::Pcmu => moqswitch_asterisk::Codec::Pcmu,
        Codec::Pcma => moqswitch_asterisk::Codec::Pcma,
        Codec::G722 => moqswitch_asterisk::Codec::G722,
    }
}

const FRAME: Duration = Duration::from_millis(20);
/// This thread may be so late: it makes good what it missed.
const LATE_MAX: Duration = Duration::from_millis(100);
/// How long a peer of AudioSocket has to say something, by which it is known how it writes.
const FORMAT_WAIT: Duration = Duration::from_millis(200);
const ASK_INTERVAL: Duration = Duration::from_secs(5);
const CLOSE_RETRY: Duration = Duration::from_millis(20);
/// How long a key is told to have been pressed: Asterisk tells its end only.
const DIGIT_MS: u32 = 100;
/// The shortest tone of a key that others are sure to hear.
const TONE_MS_MIN: usize = 80;
