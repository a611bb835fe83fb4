//! Who talks when: talk spurts and pauses, as ITU-T P.59 measured them, or one after the other.

use rand::RngExt;
use rand_distr::Exp1;
use rand_pcg::Pcg64Mcg;

/// Talk spurts and pauses of one person, or sound without a pause.
#[derive(Clone, Debug)]
pub(crate) struct Speech {
    random: Pcg64Mcg,
    means: Option<Means>,
    is_talking: bool,
    /// Seconds from the first frame to the next change.
    until: f64,
}

/// Mean lengths in seconds, both exponentially distributed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Means {
    pub(crate) talk: f64,
    pub(crate) pause: f64,
}

impl Means {
    /// Of a conversation between `people`: with more of them each pauses longer, so that about as
    /// many talk at once as in one of two.
    pub(crate) fn of_conversation(people: usize) -> Self {
        let others = people.saturating_sub(1).max(1);
        #[allow(clippy::cast_precision_loss, reason = "a number of people")]
        let others = others as f64;
        Self {
            talk: TALK_SECONDS,
            pause: PAUSE_SECONDS + (others - 1.0) * (TALK_SECONDS + PAUSE_SECONDS),
        }
    }
}

impl Speech {
    /// `None` is sound without a pause. Everyone begins by saying something.
    pub(crate) fn new(means: Option<Means>, mut random: Pcg64Mcg) -> Self {
        let first = means.map_or(f64::INFINITY, |means| means.talk * draw(&mut random));
        Self {
            until: first.max(GREETING_SECONDS_MIN),
            random,
            means,
            is_talking: true,
        }
    }

    /// Whether there is something to hear at a time, which never goes back.
    pub(crate) fn is_talking(&mut self, seconds: f64) -> bool {
        while let Some(means) = self.means
            && seconds >= self.until
        {
            self.is_talking = !self.is_talking;
            let mean = if self.is_talking { means.talk } else { means.pause };
            self.until += mean * draw(&mut self.random);
        }
        self.is_talking
    }
}

fn draw(random: &mut Pcg64Mcg) -> f64 {
    random.sample::<f64, _>(Exp1)
}

/// ITU-T P.59 (1993), table 1: mean talk spurt and pause of a speaker in a conversation.
const TALK_SECONDS: f64 = 1.004;
const PAUSE_SECONDS: f64 = 1.587;

const GREETING_SECONDS_MIN: f64 = 0.4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Purpose, random};

    #[test]
    fn two_people_talk_as_much_as_p59_says() {
        let mut speech = Speech::new(Some(Means::of_conversation(2)), random(3, Purpose::Speech, 0));
        let share = share_talked(&mut speech);
        assert!((share - 0.3875).abs() < 0.02, "{share}");
    }

    #[test]
    fn in_a_conference_about_as_many_talk_at_once() {
        let talking: f64 = (0..8)
            .map(|person| {
                let means = Some(Means::of_conversation(8));
                share_talked(&mut Speech::new(means, random(3, Purpose::Speech, person)))
            })
            .sum();
        assert!((0.3..0.9).contains(&talking), "{talking}");
    }

    #[test]
    fn everyone_begins_by_talking() {
        for person in 0..100 {
            let means = Some(Means::of_conversation(2));
            let mut speech = Speech::new(means, random(3, Purpose::Speech, person));
            assert!(speech.is_talking(0.0) && speech.is_talking(GREETING_SECONDS_MIN - 0.01));
        }
        assert!(Speech::new(None, random(3, Purpose::Speech, 0)).is_talking(1e9));
    }

    fn share_talked(speech: &mut Speech) -> f64 {
        let frames = 500_000;
        let talked = (0..frames)
            .filter(|frame| speech.is_talking(f64::from(*frame) * 0.02))
            .count();
        talked as f64 / f64::from(frames)
    }
}
