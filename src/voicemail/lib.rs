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
