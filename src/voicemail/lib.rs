//! Voice mail.
//!
//! [`Leaving`] and [`Listening`] are what a caller hears and does, and what the owner of a box does, 20 ms after 20 ms: without
//! I/O and without a clock. [`Boxes`] are the messages on a disk: whoever calls its methods waits for that.
//!
//! | what | behaviour |
//! |---|---|
//! | somebody is to leave a message | the greeting of the box, or that of all, a tone; what is said is kept when the caller hangs up, presses `#`, is silent, or has spoken for as long as may be |
//! | `#` during the greeting | the tone at once |
//! | less than a second | is no message |
//! | the box is full | a low tone, and the call ends |
//! | the owner of a box listens | so many beeps as there are new messages, five at most; each message after a beep, those that are new first |
//! | the owner's keys | `1` again, `2` or `#` the next, `7` or `3` removes it, `5` records the greeting of the box, `*` ends |
//!
//! # Example
//!
//! A caller presses `#` during the greeting, speaks for two seconds and hangs up:
//!
//! ```
//! use std::time::Duration;
//!
//! use moqswitch_calls::{Number, Text};
//! use moqswitch_voicemail::{Boxes, FRAME_SAMPLES, Leaving, Left, Settings, Sound};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let directory = std::env::temp_dir().join(format!("moqswitch-boxes-{}", std::process::id()));
//! let message_max = Duration::from_secs(120);
//! let boxes = Boxes::open(Settings { directory: directory.clone(), message_max, messages_max: 50, bytes_max: 1 << 30 })?;
//! let number = Number::new("100")?;
//!
//! // Without a greeting of the box's own, that of all is played; this one is short.
//! let greeting = boxes.greeting(&number).unwrap_or(Sound::new(vec![0; 8000]));
//! let mut caller = Leaving::new(Some(greeting), message_max);
//! caller.press('#');
//! let mut played = [0; FRAME_SAMPLES];
//! for _ in 0..150 {
//!     caller.step(&[3000; FRAME_SAMPLES], &mut played);
//! }
//! let Left::Message(sound) = caller.finish() else { panic!("a message was left") };
//! let message = boxes.add(&number, (&Number::new("200")?, &Text::new("Bob")), &sound, 0)?;
//! assert_eq!((boxes.tally(&number).new, boxes.list(&number)?), (1, vec![message]));
//! # std::fs::remove_dir_all(directory)?;
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod boxes;
mod leaving;
pub mod limits;
mod listening;
mod sound;

pub use boxes::{BoxError, Boxes, Message, Settings, Tally};
pub use leaving::{Leaving, Left};
pub use listening::{Listening, Wish};
pub use sound::{FRAME_SAMPLES, Sound, SoundError};
