//! Both ends of connections as Asterisk and its programs have them, written by the bytes.

use std::time::Duration;

use moqswitch_asterisk::Uuid;
use moqswitch_asterisk::audiosocket::Message;
use moqswitch_asterisk::uuid::Key;
use moqswitch_audio::g711;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use crate::host::LIMIT;

/// A connection of AudioSocket, either end.
pub(crate) struct AudioSocket {
    stream: TcpStream,
    came: Vec<u8>,
}

/// A message, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Uuid(Uuid),
    Digit(char),
    Audio(u32, Vec<u8>),
    Hangup,
    Closed,
    Other,
}

impl AudioSocket {
    /// As Asterisk connects.
    pub(crate) async fn connect(host: &crate::host::Host, uuid: Uuid) -> Self {
        let stream = TcpStream::connect(host.audiosocket).await.unwrap();
        let mut own = Self::over(stream);
        own.write(&Message::Uuid(uuid)).await;
        own
    }

    /// As a program takes it.
    pub(crate) async fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = timeout(LIMIT, listener.accept())
            .await
            .expect("nobody connects")
            .unwrap();
        Self::over(stream)
    }

    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            came: Vec::new(),
        }
    }

    pub(crate) async fn write(&mut self, message: &Message<'_>) {
        let mut bytes = Vec::new();
        assert!(message.write(&mut bytes));
        self.write_bytes(&bytes).await;
    }

    pub(crate) async fn write_bytes(&mut self, bytes: &[u8]) {
        // Whoever has gone does not read.
        let _ = self.stream.write_all(bytes).await;
    }

    pub(crate) async fn say(&mut self, hertz: u32, samples: &[u8]) {
        self.write(&Message::Audio { hertz, samples }).await;
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Got {
        timeout(LIMIT, self.read()).await.expect("nothing comes")
    }

    async fn read(&mut self) -> Got {
        loop {
            if let Some((message, length)) = Message::read(&self.came).expect("no message") {
                let got = match message {
                    Message::Hangup => Got::Hangup,
                    Message::Uuid(uuid) => Got::Uuid(uuid),
                    Message::Digit(digit) => Got::Digit(digit),
                    Message::Audio { hertz, samples } => Got::Audio(hertz, samples.to_vec()),
                    Message::Error(_) | Message::Unknown(_) => Got::Other,
                };
                self.came.drain(..length);
                return got;
            }
            match self.stream.read_buf(&mut self.came).await {
                Ok(0) | Err(_) => return Got::Closed,
                Ok(_) => {}
            }
        }
    }

    /// All that is there already.
    pub(crate) fn drain(&mut self) -> Vec<Got> {
        let mut piece = [0; 16_384];
        while let Ok(count @ 1..) = self.stream.try_read(&mut piece) {
            self.came.extend(&piece[..count]);
        }
        let mut all = Vec::new();
        let mut at = 0;
        while let Some((message, length)) = Message::read(&self.came[at..]).expect("no message") {
            if let Message::Audio { hertz, samples } = message {
                all.push(Got::Audio(hertz, samples.to_vec()));
            }
            at += length;
        }
        self.came.drain(..at);
        all
    }

    /// Until something comes that is looked for. Audio and silence in between are passed over.
    pub(crate) async fn until(&mut self, is_it: impl Fn(&Got) -> bool) -> Got {
        let looking = async {
            loop {
                let got = self.read().await;
                if is_it(&got) {
                    return got;
                }
                assert_ne!(got, Got::Closed, "it is over");
            }
        };
        timeout(LIMIT, looking).await.expect("it does not come")
    }

    /// Until it is over, by whichever way.
    pub(crate) async fn until_over(&mut self) {
        let looking = async { while !matches!(self.read().await, Got::Hangup | Got::Closed) {} };
        timeout(LIMIT, looking).await.expect("it does not end");
    }
}

/// A UUID that calls a number, without a key.
pub(crate) fn calling(to: &str, from: Option<&str>) -> Uuid {
    Uuid::calling(&Key::default(), to, from).unwrap()
}

/// 20 ms of a level that goes through µ-law as it is: each number another one.
pub(crate) fn level(number: u8) -> Vec<u8> {
    let mut samples = [0; 160];
    g711::decode_ulaw(&[number; 160], &mut samples);
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

/// Which level it is; None: it is none, or more than one.
pub(crate) fn level_of(samples: &[u8]) -> Option<u8> {
    let (pairs, _) = samples.as_chunks::<2>();
    let samples: Vec<i16> = pairs.iter().map(|pair| i16::from_le_bytes(*pair)).collect();
    let mut coded = vec![0; samples.len()];
    g711::encode_ulaw(&samples, &mut coded);
    let first = *coded.first()?;
    coded.iter().all(|byte| *byte == first).then_some(first)
}

/// The pace of speech. What a busy machine is late for is not made up for in one go.
pub(crate) fn ticks() -> Interval {
    let mut ticks = interval(Duration::from_millis(20));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

/// Levels were heard in the order in which they were said. Some are lost before anybody listens, or on a busy machine: a frame
/// that is made up for them repeats the one before.
pub(crate) fn assert_in_order(heard: Vec<u8>, who: &str) {
    let mut said: Vec<u8> = heard.into_iter().filter(|level| *level <= LAST).collect();
    said.dedup();
    assert!(
        said.len() > 40 && said.windows(2).all(|pair| pair[0] < pair[1]),
        "{who} heard {said:?}"
    );
}

/// The last of the levels that are said one after the other.
pub(crate) const LAST: u8 = 99;
