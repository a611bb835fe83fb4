//! `chan_websocket`: texts are control, as plain words or as JSON; binary messages are audio without a head.
//!
//! | plain | JSON |
//! |---|---|
//! | `MEDIA_START connection_id:… channel:… format:ulaw optimal_frame_size:160 ptime:20` | `{"event":"MEDIA_START","connection_id":"…", …}` |
//! | `DTMF_END digit:5 channel_id:…` | `{"event":"DTMF_END","digit":"5", …}` |
//! | `ANSWER` | `{"command":"ANSWER"}` |
//!
//! Names are written in capitals and read as they are. There is no command by which Asterisk is sent a digit.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::json;

use crate::Format;
use crate::limits::{COMMAND_BYTES_MAX, TEXT_BYTES_MAX, WORDS_MAX};

/// How a channel writes its texts: `f(plain-text)` or `f(json)`. Plain is what Asterisk does by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spelling {
    /// Words.
    #[default]
    Plain,
    /// Objects.
    Json,
}

/// What Asterisk tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The channel is there: the first event, though audio may come before it.
    MediaStart(Box<MediaStart>),
    /// Its queue is nearly full: nothing more is to be sent.
    MediaXoff,
    /// There is room again.
    MediaXon,
    /// What was sent between START and STOP is in its queue.
    BufferingCompleted {
        /// As STOP had it.
        correlation: Option<String>,
    },
    /// Audio up to a mark was played.
    MarkProcessed {
        /// As the mark had it.
        correlation: Option<String>,
    },
    /// All was played.
    QueueDrained,
    /// A key was pressed, and is let go.
    Digit(char),
    /// As it was asked for.
    Status(Status),
    /// A command was wrong.
    Error {
        /// What is wrong with it.
        text: String,
    },
    /// Another one, which is passed over.
    Unknown,
}

/// What a channel is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct MediaStart {
    /// Of the connection.
    pub connection_id: String,
    /// Its name.
    pub channel: String,
    /// Its unique id, by which ARI knows it.
    pub channel_id: String,
    /// How audio is written: [`Format`].
    pub format: String,
    /// Bytes of a frame, of which audio has to be a whole multiple.
    pub optimal_frame_size: usize,
    /// Milliseconds of a frame.
    pub ptime: usize,
}

/// How full the queue of a channel is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Frames that wait in it.
    pub queue_length: u32,
    /// It is full.
    pub queue_full: bool,
}

/// The text is no event. Nothing is to be done but to pass it over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoEvent {
    /// It is longer than an event may be.
    #[error("a text of more than {TEXT_BYTES_MAX} bytes")]
    TooLong,
    /// It is empty, or an object that says nothing.
    #[error("a text that is no event")]
    Malformed,
}

impl Event {
    /// Reads a text, in whichever spelling it is.
    ///
    /// # Errors
    /// It is none.
    pub fn read(text: &str) -> Result<(Self, Spelling), NoEvent> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(NoEvent::TooLong);
        }
        let text = text.trim();
        if text.starts_with('{') {
            let said: Said = serde_json::from_str(text).map_err(|_| NoEvent::Malformed)?;
            return Ok((said.event()?, Spelling::Json));
        }
        let mut words = text.split_ascii_whitespace().take(WORDS_MAX);
        let name = words.next().ok_or(NoEvent::Malformed)?;
        let mut said = Said {
            event: name.to_owned(),
            ..Said::default()
        };
        if name == "ERROR" {
            // A sentence.
            let rest = text.get(name.len()..).unwrap_or_default().trim();
            let sentence = rest.strip_prefix("error_text:").unwrap_or(rest);
            sentence.clone_into(&mut said.error_text);
        } else {
            words.for_each(|word| said.take(word));
        }
        Ok((said.event()?, Spelling::Plain))
    }
}

/// All that an event may have.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    event: String,
    digit: String,
    correlation_id: Option<String>,
    error_text: String,
    #[serde(flatten)]
    start: MediaStart,
    #[serde(flatten)]
    status: Status,
}

impl Said {
    fn take(&mut self, word: &str) {
        let Some((name, value)) = word.split_once(':') else {
            // STOP_MEDIA_BUFFERING and MARK_MEDIA are answered with their id alone by some versions.
            self.correlation_id = Some(word.to_owned());
            return;
        };
        let text = match name {
            "connection_id" => &mut self.start.connection_id,
            "channel" => &mut self.start.channel,
            "channel_id" => &mut self.start.channel_id,
            "format" => &mut self.start.format,
            "digit" => &mut self.digit,
            "correlation_id" => self.correlation_id.get_or_insert_default(),
            "optimal_frame_size" => return self.start.optimal_frame_size = value.parse().unwrap_or(0),
            "ptime" => return self.start.ptime = value.parse().unwrap_or(0),
            "queue_length" => return self.status.queue_length = value.parse().unwrap_or(0),
            "queue_full" => return self.status.queue_full = matches!(value, "true" | "1" | "yes"),
            _ => return,
        };
        value.clone_into(text);
    }

    fn event(self) -> Result<Event, NoEvent> {
        let correlation = self.correlation_id.filter(|id| !id.is_empty());
        Ok(match self.event.as_str() {
            "" => return Err(NoEvent::Malformed),
            "MEDIA_START" => Event::MediaStart(Box::new(self.start)),
            "MEDIA_XOFF" => Event::MediaXoff,
            "MEDIA_XON" => Event::MediaXon,
            "MEDIA_BUFFERING_COMPLETED" => Event::BufferingCompleted { correlation },
            "MEDIA_MARK_PROCESSED" => Event::MarkProcessed { correlation },
            "QUEUE_DRAINED" => Event::QueueDrained,
            "DTMF_END" => {
                let mut characters = self.digit.chars();
                let digit = characters.next().filter(|_| characters.next().is_none());
                let is_key = |key: &char| matches!(key, '0'..='9' | '*' | '#' | 'A'..='D' | 'a'..='d');
                let digit = digit.filter(is_key).ok_or(NoEvent::Malformed)?;
                Event::Digit(digit.to_ascii_uppercase())
            }
            "STATUS" => Event::Status(self.status),
            "ERROR" => Event::Error { text: self.error_text },
            _ => Event::Unknown,
        })
    }
}

impl MediaStart {
    /// How audio is written, if that is known here.
    pub fn format(&self) -> Option<Format> {
        self.format.parse().ok()
    }
}

/// What Asterisk is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// The channel is answered, where it does not do that by itself (`n`).
    Answer,
    /// It is over.
    Hangup,
    /// What follows may be of any length.
    StartBuffering,
    /// That was it.
    StopBuffering(Option<&'a str>),
    /// What waits in the queue is dropped.
    Flush,
    /// Nothing is played until it is told to go on.
    Pause,
    /// It goes on.
    Continue,
    /// Tell when what was sent so far is played.
    Mark(Option<&'a str>),
    /// Tell how full the queue is.
    GetStatus,
    /// Tell when the queue is empty.
    ReportQueueDrained,
    /// Which way audio goes, as the program sees it. JSON only.
    SetDirection(Direction),
}

/// Which way audio goes, as the program sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Both ways.
    Both,
    /// From Asterisk.
    In,
    /// To Asterisk.
    Out,
}

impl Command<'_> {
    /// As a text. `None`: it is longer than Asterisk reads, or has no such spelling.
    pub fn write(&self, spelling: Spelling) -> Option<String> {
        let (name, argument) = self.parts();
        let text = match spelling {
            Spelling::Plain => {
                let mut text = name.to_owned();
                match argument {
                    Some(("direction", _)) => return None,
                    // More than one word would be read as more than one.
                    Some((_, id)) if id.is_empty() || id.contains(char::is_whitespace) => return None,
                    Some((_, id)) => write!(text, " {id}").ok()?,
                    None => {}
                }
                text
            }
            Spelling::Json => {
                let mut object = json!({ "command": name });
                if let (Some((key, value)), Some(fields)) = (argument, object.as_object_mut()) {
                    fields.insert(key.to_owned(), json!(value));
                }
                object.to_string()
            }
        };
        (text.len() <= COMMAND_BYTES_MAX).then_some(text)
    }

    fn parts(&self) -> (&'static str, Option<(&'static str, Cow<'_, str>)>) {
        let id = |id: &Option<&'_ str>| id.map(|id| ("correlation_id", Cow::Owned(id.to_owned())));
        match self {
            Self::Answer => ("ANSWER", None),
            Self::Hangup => ("HANGUP", None),
            Self::StartBuffering => ("START_MEDIA_BUFFERING", None),
            Self::StopBuffering(own) => ("STOP_MEDIA_BUFFERING", id(own)),
            Self::Flush => ("FLUSH_MEDIA", None),
            Self::Pause => ("PAUSE_MEDIA", None),
            Self::Continue => ("CONTINUE_MEDIA", None),
            Self::Mark(own) => ("MARK_MEDIA", id(own)),
            Self::GetStatus => ("GET_STATUS", None),
            Self::ReportQueueDrained => ("REPORT_QUEUE_DRAINED", None),
            Self::SetDirection(direction) => {
                let name = match direction {
                    Direction::Both => "both",
                    Direction::In => "in",
                    Direction::Out => "out",
                };
                ("SET_MEDIA_DIRECTION", Some(("direction", Cow::Borrowed(name))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Event {
        Event::MediaStart(Box::new(MediaStart {
            connection_id: "moqswitch".to_owned(),
            channel: "WebSocket/moqswitch/0x7f00".to_owned(),
            channel_id: "1767225600.12".to_owned(),
            format: "ulaw".to_owned(),
            optimal_frame_size: 160,
            ptime: 20,
        }))
    }

    #[test]
    fn events_are_read_in_both_spellings() {
        let pairs = [
            (
                start(),
                "MEDIA_START connection_id:moqswitch channel:WebSocket/moqswitch/0x7f00 channel_id:1767225600.12 \
                 format:ulaw optimal_frame_size:160 ptime:20",
                r#"{"event":"MEDIA_START","connection_id":"moqswitch","channel":"WebSocket/moqswitch/0x7f00",
                   "channel_id":"1767225600.12","format":"ulaw","optimal_frame_size":160,"ptime":20,
                   "channel_variables":{"A":"b"}}"#,
            ),
            (
                Event::Digit('5'),
                "DTMF_END digit:5 channel_id:1767225600.12",
                r#"{"event":"DTMF_END","channel_id":"1767225600.12","digit":"5"}"#,
            ),
            (
                Event::MediaXoff,
                "MEDIA_XOFF",
                r#"{"event":"MEDIA_XOFF","channel_id":"1"}"#,
            ),
            (Event::MediaXon, "MEDIA_XON channel_id:1", r#"{"event":"MEDIA_XON"}"#),
            (Event::QueueDrained, "QUEUE_DRAINED", r#"{"event":"QUEUE_DRAINED"}"#),
            (
                Event::Status(Status {
                    queue_length: 43,
                    queue_full: false,
                }),
                "STATUS channel_id:1 queue_length:43 xon_level:800 xoff_level:900 queue_full:false bulk_media:false \
                 media_paused:false",
                r#"{"event":"STATUS","channel_id":"1","queue_length":43,"xon_level":800,"xoff_level":900,
                   "queue_full":false,"bulk_media":false,"media_paused":false}"#,
            ),
            (
                Event::MarkProcessed {
                    correlation: Some("a1".to_owned()),
                },
                "MEDIA_MARK_PROCESSED correlation_id:a1",
                r#"{"event":"MEDIA_MARK_PROCESSED","correlation_id":"a1"}"#,
            ),
            (
                Event::BufferingCompleted { correlation: None },
                "MEDIA_BUFFERING_COMPLETED",
                r#"{"event":"MEDIA_BUFFERING_COMPLETED"}"#,
            ),
            (
                Event::Error {
                    text: "GET_STATUS not supported: passthrough".to_owned(),
                },
                "ERROR GET_STATUS not supported: passthrough",
                r#"{"event":"ERROR","error_text":"GET_STATUS not supported: passthrough"}"#,
            ),
            (Event::Unknown, "MEDIA_DANCES", r#"{"event":"media_start"}"#),
        ];
        for (event, plain, json) in pairs {
            assert_eq!(Event::read(plain), Ok((event.clone(), Spelling::Plain)), "{plain}");
            assert_eq!(Event::read(json), Ok((event, Spelling::Json)), "{json}");
        }
        let (Event::MediaStart(start), _) = Event::read("MEDIA_START format:slin16").unwrap() else {
            panic!("no start");
        };
        assert_eq!(start.format(), Some(Format::Linear(16_000)));
    }

    #[test]
    fn what_is_no_event_is_told() {
        for text in [
            "",
            "   ",
            "{",
            "{}",
            r#"{"event":7}"#,
            r#"{"command":"ANSWER"}"#,
            "DTMF_END",
            "DTMF_END digit:55",
            "DTMF_END digit:x",
            r#"{"event":"MEDIA_START","optimal_frame_size":-1}"#,
        ] {
            assert_eq!(Event::read(text), Err(NoEvent::Malformed), "{text}");
        }
        assert_eq!(Event::read(&"A".repeat(TEXT_BYTES_MAX + 1)), Err(NoEvent::TooLong));
        assert_eq!(
            Event::read(&"A ".repeat(TEXT_BYTES_MAX / 2)),
            Ok((Event::Unknown, Spelling::Plain))
        );
    }

    #[test]
    fn commands_are_written_letter_by_letter() {
        let pairs = [
            (Command::Answer, "ANSWER", r#"{"command":"ANSWER"}"#),
            (Command::Hangup, "HANGUP", r#"{"command":"HANGUP"}"#),
            (
                Command::StartBuffering,
                "START_MEDIA_BUFFERING",
                r#"{"command":"START_MEDIA_BUFFERING"}"#,
            ),
            (
                Command::StopBuffering(Some("a1")),
                "STOP_MEDIA_BUFFERING a1",
                r#"{"command":"STOP_MEDIA_BUFFERING","correlation_id":"a1"}"#,
            ),
            (Command::Flush, "FLUSH_MEDIA", r#"{"command":"FLUSH_MEDIA"}"#),
            (Command::Pause, "PAUSE_MEDIA", r#"{"command":"PAUSE_MEDIA"}"#),
            (Command::Continue, "CONTINUE_MEDIA", r#"{"command":"CONTINUE_MEDIA"}"#),
            (Command::Mark(None), "MARK_MEDIA", r#"{"command":"MARK_MEDIA"}"#),
            (Command::GetStatus, "GET_STATUS", r#"{"command":"GET_STATUS"}"#),
            (
                Command::ReportQueueDrained,
                "REPORT_QUEUE_DRAINED",
                r#"{"command":"REPORT_QUEUE_DRAINED"}"#,
            ),
        ];
        for (command, plain, json) in pairs {
            assert_eq!(command.write(Spelling::Plain).as_deref(), Some(plain));
            assert_eq!(command.write(Spelling::Json).as_deref(), Some(json));
        }
        let direction = Command::SetDirection(Direction::Out);
        assert_eq!(direction.write(Spelling::Plain), None);
        let json = direction.write(Spelling::Json);
        assert_eq!(
            json.as_deref(),
            Some(r#"{"command":"SET_MEDIA_DIRECTION","direction":"out"}"#)
        );
    }

    #[test]
    fn no_command_is_longer_than_asterisk_reads() {
        let id = "i".repeat(COMMAND_BYTES_MAX);
        for spelling in [Spelling::Plain, Spelling::Json] {
            assert_eq!(Command::Mark(Some(&id)).write(spelling), None);
            let short = Command::Mark(Some("0123456789")).write(spelling).unwrap();
            assert!(short.len() <= COMMAND_BYTES_MAX);
        }
        assert_eq!(Command::Mark(Some("a b")).write(Spelling::Plain), None);
        let just = "i".repeat(COMMAND_BYTES_MAX - "MARK_MEDIA ".len());
        assert_eq!(Command::Mark(Some(&just)).write(Spelling::Plain).unwrap().len(), 128);
    }

    #[test]
    fn no_text_is_a_surprise() {
        let seeds = [
            "MEDIA_START connection_id:moqswitch format:ulaw optimal_frame_size:160 ptime:20",
            r#"{"event":"MEDIA_START","format":"ulaw","optimal_frame_size":160}"#,
            r#"{"event":"DTMF_END","digit":"5"}"#,
            "STATUS queue_length:43 queue_full:true",
        ];
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut draw = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 1).unwrap_or(0) % below
        };
        let (mut read, mut refused) = (0, 0);
        for _ in 0..20_000 {
            let mut bytes = seeds[draw(seeds.len())].as_bytes().to_vec();
            for _ in 0..draw(6) {
                let at = draw(bytes.len());
                match draw(3) {
                    0 => bytes[at] = u8::try_from(draw(128)).unwrap(),
                    1 if bytes.len() > 1 => drop(bytes.remove(at)),
                    _ => bytes.truncate(at.max(1)),
                }
            }
            match Event::read(&String::from_utf8_lossy(&bytes)) {
                Ok(_) => read += 1,
                Err(_) => refused += 1,
            }
        }
        assert!(read > 1000 && refused > 1000, "{read} {refused}");
    }
}
