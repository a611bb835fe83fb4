//! The owner of a box listens to it, by keys. 20 ms after 20 ms, without a clock; what has to be done on a disk is a wish.

use std::collections::VecDeque;

use crate::boxes::Message;
use crate::leaving::{LOW_HZ, Leaving, Left, SETTLE_FRAMES};
use crate::limits::GREETING_MAX;
use crate::sound::{FRAME_SAMPLES, Playing, Sound};

/// One who listens.
#[derive(Debug)]
pub struct Listening {
    stage: Stage,
    playing: Playing,
    messages: VecDeque<Message>,
    /// The one that is heard.
    message: Option<(Message, Sound)>,
    wishes: VecDeque<Wish>,
}

/// What is to be done for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A message is to be heard: [`Listening::load`].
    Load(String),
    /// It was heard to its end.
    Heard(String),
    /// It is not wanted any more.
    Remove(String),
    /// Callers are to hear this.
    Greet(Sound),
}

#[derive(Debug)]
enum Stage {
    Settling(u32),
    /// What is heard goes on to this.
    Playing(Then),
    /// A message is being read.
    Loading,
    /// A message was heard, and a key is waited for.
    Asking(u32),
    Recording(Box<Leaving>),
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Next,
    Ask,
    End,
}

impl Listening {
    /// To these: the newest first.
    pub fn new(messages: Vec<Message>) -> Self {
        let new = messages.iter().filter(|message| !message.heard).count();
        let mut playing = Playing::default();
        (0..new.min(BEEPS_MAX)).for_each(|_| playing.then(Sound::beep(BEEP_HZ, 150)));
        if messages.is_empty() {
            playing.then(Sound::beep(LOW_HZ, 600));
        }
        let (heard, unheard): (Vec<_>, Vec<_>) = messages.into_iter().partition(|message| message.heard);
        // Of each kind what came first.
        let messages = unheard.into_iter().rev().chain(heard.into_iter().rev()).collect();
        Self {
            stage: Stage::Settling(SETTLE_FRAMES),
            playing,
            messages,
            message: None,
            wishes: VecDeque::new(),
        }
    }

    /// 20 ms of what is said, and what is heard meanwhile.
    pub fn step(&mut self, heard: &[i16], says: &mut [i16; FRAME_SAMPLES]) {
        says.fill(0);
        match &mut self.stage {
            Stage::Settling(0) => {
                let then = if self.messages.is_empty() {
                    Then::End
                } else {
                    Then::Next
                };
                self.stage = Stage::Playing(then);
            }
            Stage::Settling(left) => *left -= 1,
            Stage::Playing(then) => {
                let then = *then;
                self.playing.next(says);
                if self.playing.is_over() {
                    self.go_on(then);
                }
            }
            Stage::Loading | Stage::Over => {}
            Stage::Asking(0) => self.next_message(),
            Stage::Asking(left) => *left -= 1,
            Stage::Recording(leaving) => {
                leaving.step(heard, says);
                if leaving.is_over() {
                    self.end_recording();
                }
            }
        }
    }

    /// A key.
    pub fn press(&mut self, digit: char) {
        if let Stage::Recording(leaving) = &mut self.stage {
            return leaving.press(digit);
        }
        if matches!(self.stage, Stage::Over) {
            return;
        }
        match digit {
            '1' => self.repeat(),
            '2' | '#' => self.next_message(),
            '3' | '7' => {
                if let Some((message, _)) = self.message.take() {
                    self.wishes.push_back(Wish::Remove(message.id));
                    self.next_message();
                }
            }
            '5' => {
                self.playing.stop();
                self.stage = Stage::Recording(Box::new(Leaving::at_once(GREETING_MAX)));
            }
            '*' => self.end(),
            _ => {}
        }
    }

    /// What is to be done.
    pub fn poll(&mut self) -> Option<Wish> {
        self.wishes.pop_front()
    }

    /// A message that was wished for. `None`: it cannot be read.
    pub fn load(&mut self, id: &str, sound: Option<Sound>) {
        let is_next = self.messages.front().is_some_and(|message| message.id == id);
        if !matches!(self.stage, Stage::Loading) || !is_next {
            return;
        }
        let Some(message) = self.messages.pop_front() else {
            return;
        };
        match sound {
            Some(sound) => {
                self.message = Some((message, sound));
                self.repeat();
            }
            None => self.next_message(),
        }
    }

    /// Nothing more is to be heard.
    pub fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    fn go_on(&mut self, then: Then) {
        match then {
            Then::Next => self.next_message(),
            Then::End => self.stage = Stage::Over,
            Then::Ask => {
                if let Some((message, _)) = &mut self.message
                    && !std::mem::replace(&mut message.heard, true)
                {
                    self.wishes.push_back(Wish::Heard(message.id.clone()));
                }
                self.stage = Stage::Asking(ASK_FRAMES);
            }
        }
    }

    fn next_message(&mut self) {
        self.playing.stop();
        self.message = None;
        match self.messages.front() {
            // It is being read already.
            Some(_) if matches!(self.stage, Stage::Loading) => {}
            Some(message) => {
                self.wishes.push_back(Wish::Load(message.id.clone()));
                self.stage = Stage::Loading;
            }
            None => self.end(),
        }
    }

    fn repeat(&mut self) {
        if let Some((_, sound)) = &self.message {
            self.playing.stop();
            self.playing.then(Sound::beep(BEEP_HZ, 300));
            self.playing.then(sound.clone());
            self.stage = Stage::Playing(Then::Ask);
        }
    }

    fn end_recording(&mut self) {
        if let Stage::Recording(leaving) = std::mem::replace(&mut self.stage, Stage::Asking(ASK_FRAMES))
            && let Left::Message(sound) = leaving.finish()
        {
            self.wishes.push_back(Wish::Greet(sound));
        }
    }

    fn end(&mut self) {
        self.playing.stop();
        self.message = None;
        for hertz in [BEEP_HZ, (BEEP_HZ + LOW_HZ) / 2.0, LOW_HZ] {
            self.playing.then(Sound::beep(hertz, 150));
        }
        self.stage = Stage::Playing(Then::End);
    }
}

const BEEP_HZ: f64 = 900.0;
/// More new messages than these are as many.
const BEEPS_MAX: usize = 5;
/// For so long a key is waited for.
const ASK_FRAMES: u32 = 200;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn message(id: &str, heard: bool) -> Message {
        Message {
            id: id.to_owned(),
            heard,
            ..Message::default()
        }
    }

    /// Until something is wished, or all is over.
    fn next(listening: &mut Listening) -> Option<Wish> {
        for _ in 0..5000 {
            if let Some(wish) = listening.poll() {
                return Some(wish);
            }
            if listening.is_over() {
                return None;
            }
            listening.step(&[0; FRAME_SAMPLES], &mut [0; FRAME_SAMPLES]);
        }
        panic!("it does not end");
    }

    fn load(listening: &mut Listening, id: &str) {
        assert_eq!(next(listening), Some(Wish::Load(id.to_owned())));
        listening.load(id, Some(Sound::new(vec![1000; 8000])));
    }

    #[test]
    fn what_is_new_is_heard_first_and_the_oldest_of_that() {
        let all = vec![
            message("d", true),
            message("c", false),
            message("b", true),
            message("a", false),
        ];
        let mut listening = Listening::new(all);
        for id in ["a", "c"] {
            load(&mut listening, id);
            assert_eq!(next(&mut listening), Some(Wish::Heard(id.to_owned())));
        }
        for id in ["b", "d"] {
            load(&mut listening, id);
        }
        assert_eq!(next(&mut listening), None);
    }

    #[test]
    fn keys_repeat_pass_over_and_remove() {
        let mut listening = Listening::new(vec![message("b", false), message("a", false)]);
        load(&mut listening, "a");
        listening.press('1');
        assert_eq!(next(&mut listening), Some(Wish::Heard("a".to_owned())));
        listening.press('7');
        assert_eq!(next(&mut listening), Some(Wish::Remove("a".to_owned())));
        load(&mut listening, "b");
        listening.press('#');
        assert_eq!(next(&mut listening), None);
        listening.press('3');
        assert_eq!(listening.poll(), None);
    }

    #[test]
    fn one_that_cannot_be_read_is_passed_over_and_none_are_soon_heard() {
        let mut listening = Listening::new(vec![message("a", false)]);
        assert_eq!(next(&mut listening), Some(Wish::Load("a".to_owned())));
        // Keys that are pressed meanwhile wish for nothing twice.
        listening.press('2');
        assert_eq!(listening.poll(), None);
        listening.load("a", None);
        assert_eq!(next(&mut listening), None);
        assert_eq!(next(&mut Listening::new(Vec::new())), None);
    }

    #[test]
    fn a_greeting_is_recorded() {
        let mut listening = Listening::new(vec![message("a", false)]);
        load(&mut listening, "a");
        listening.press('5');
        for _ in 0..200 {
            listening.step(&[3000; FRAME_SAMPLES], &mut [0; FRAME_SAMPLES]);
        }
        listening.press('#');
        assert!(matches!(next(&mut listening), Some(Wish::Greet(sound)) if sound.duration() > Duration::from_secs(2)));
    }
}
