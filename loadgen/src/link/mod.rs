//! A path with delay, jitter, loss, a rate and reordering, and a proxy that puts one between
//! clients and a relay: what `netem` does, without the kernel's help.

pub(crate) mod proxy;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rand::RngExt;
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

/// What a path does to datagrams, in each direction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Impairment {
    /// As it was written.
    text: String,
    /// One way.
    delay: Duration,
    /// The delay varies evenly by so much up and down; order is kept.
    jitter: Duration,
    /// Share of datagrams that are lost, each by itself.
    loss: f64,
    /// Bits per second; `None` is no limit.
    rate: Option<f64>,
    /// Share of datagrams that skip the delay and overtake others.
    reorder: f64,
    /// What the bottleneck holds back, as time at its rate; more is dropped.
    buffer: Option<Duration>,
}

/// One direction of one client's path. The same seed and datagrams have the same fate.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    impairment: Impairment,
    random: Pcg64Mcg,
    /// When the bottleneck has sent everything it holds.
    free_at: Duration,
    last_due: Duration,
}

impl Link {
    pub(crate) fn new(impairment: Impairment, random: Pcg64Mcg) -> Self {
        Self {
            impairment,
            random,
            free_at: Duration::ZERO,
            last_due: Duration::ZERO,
        }
    }

    /// When a datagram comes out of the link, times counted from any fixed moment. `None`: it is
    /// lost.
    pub(crate) fn handle(&mut self, now: Duration, bytes: usize) -> Option<Duration> {
        let Impairment {
            delay,
            jitter,
            loss,
            rate,
            reorder,
            buffer,
            ..
        } = self.impairment;
        // Always as many, so that one datagram's fate does not change the next one's.
        let [is_lost, overtakes, shift] = self.random.random::<[f64; 3]>();
        if is_lost < loss {
            return None;
        }
        let mut sent = now;
        if let Some(rate) = rate {
            let start = self.free_at.max(now);
            if start - now > buffer.unwrap_or(BUFFER) {
                return None;
            }
            #[allow(clippy::cast_precision_loss, reason = "the length of a datagram")]
            let length = Duration::from_secs_f64(bytes as f64 * 8.0 / rate);
            self.free_at = start + length;
            sent = self.free_at;
        }
        if overtakes < reorder {
            return Some(sent);
        }
        let due = (sent + delay + jitter.mul_f64(2.0 * shift)).saturating_sub(jitter);
        self.last_due = self.last_due.max(due).max(sent);
        Some(self.last_due)
    }
}

impl FromStr for Impairment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut impairment = Self {
            text: text.trim().to_owned(),
            ..Self::default()
        };
        for part in text.split(',') {
            let (key, value) = part
                .split_once('=')
                .ok_or_else(|| format!("`{part}` is no impairment: delay=40ms"))?;
            let (key, value) = (key.trim(), value.trim());
            match key {
                "delay" => impairment.delay = time(value)?,
                "jitter" => impairment.jitter = time(value)?,
                "buffer" => impairment.buffer = Some(time(value)?),
                "loss" => impairment.loss = share(value)?,
                "reorder" => impairment.reorder = share(value)?,
                "rate" => impairment.rate = Some(bits(value)?),
                _ => {
                    return Err(format!(
                        "`{key}` is not one of delay, jitter, loss, rate, reorder and buffer"
                    ));
                }
            }
        }
        if impairment.reorder > 0.0 && impairment.delay.is_zero() {
            return Err("without a delay nothing overtakes".into());
        }
        if impairment.jitter > impairment.delay {
            return Err("the jitter is more than the delay".into());
        }
        Ok(impairment)
    }
}

impl TryFrom<String> for Impairment {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Impairment> for String {
    fn from(impairment: Impairment) -> Self {
        impairment.text
    }
}

impl fmt::Display for Impairment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

fn time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time <= TIME_MAX => Ok(time),
        Ok(_) => Err(format!("`{text}` is more than a minute")),
        Err(_) => Err(format!("`{text}` is no time: 40ms")),
    }
}

fn share(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is no share: 2%");
    let percent: f64 = text.strip_suffix('%').ok_or_else(wrong)?.parse().map_err(|_| wrong())?;
    if (0.0..=100.0).contains(&percent) {
        Ok(percent / 100.0)
    } else {
        Err(wrong())
    }
}

fn bits(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is no rate: 2mbps, 500kbps");
    let lower = text.to_ascii_lowercase();
    let scaled = [("kbps", 1e3), ("mbps", 1e6), ("gbps", 1e9)]
        .iter()
        .find_map(|(unit, scale)| Some((lower.strip_suffix(unit)?.to_owned(), *scale)));
    let (number, scale) = scaled.ok_or_else(wrong)?;
    let rate = number.parse::<f64>().map_err(|_| wrong())? * scale;
    if (1e3..=1e12).contains(&rate) {
        Ok(rate)
    } else {
        Err(wrong())
    }
}

/// What a bottleneck holds when nothing is said of it.
const BUFFER: Duration = Duration::from_millis(200);
const TIME_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Purpose, random};

    #[test]
    fn delay_jitter_and_loss_are_what_was_asked_for_and_order_is_kept() {
        let mut link = link("delay=40ms,jitter=10ms,loss=2%", 1);
        let mut delays = Vec::new();
        let mut last = Duration::ZERO;
        for datagram in 0..20_000 {
            let now = Duration::from_millis(datagram * 20);
            if let Some(due) = link.handle(now, 200) {
                assert!(due >= last);
                last = due;
                delays.push((due - now).as_secs_f64() * 1000.0);
            }
        }
        let lost = 20_000 - delays.len();
        assert!((330..470).contains(&lost), "{lost}");
        assert!(delays.iter().all(|delay| (30.0..=50.0).contains(delay)));
        let mean = delays.iter().sum::<f64>() / delays.len() as f64;
        assert!((mean - 40.0).abs() < 0.5, "{mean}");
    }

    #[test]
    fn a_rate_spaces_datagrams_and_a_full_buffer_drops() {
        let mut link = link("rate=1mbps,buffer=50ms", 1);
        // 1250 bytes take 10 ms: six find room, one on the way and 50 ms behind it.
        let due: Vec<Option<Duration>> = (0..10).map(|_| link.handle(Duration::ZERO, 1250)).collect();
        let expected: Vec<Option<Duration>> = (1..=10)
            .map(|place| (place <= 6).then(|| Duration::from_millis(place * 10)))
            .collect();
        assert_eq!(due, expected);
        assert_eq!(
            link.handle(Duration::from_secs(1), 125),
            Some(Duration::from_millis(1001))
        );
    }

    #[test]
    fn reordered_datagrams_overtake() {
        let mut link = link("delay=100ms,reorder=5%", 1);
        let overtaking = (0..10_000)
            .filter(|datagram| {
                let now = Duration::from_millis(*datagram);
                link.handle(now, 100) == Some(now)
            })
            .count();
        assert!((400..600).contains(&overtaking), "{overtaking}");
    }

    #[test]
    fn the_same_seed_has_the_same_pattern_and_another_has_not() {
        let pattern = |seed| {
            let mut link = link("delay=40ms,jitter=20ms,loss=5%,reorder=1%", seed);
            let due = |datagram: u64| link.handle(Duration::from_millis(datagram), 100);
            (0..1000).map(due).collect::<Vec<_>>()
        };
        assert_eq!(pattern(1), pattern(1));
        assert_ne!(pattern(1), pattern(2));
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for text in [
            "",
            "delay",
            "delay=40",
            "loss=2",
            "loss=101%",
            "rate=2",
            "rate=0kbps",
            "wind=3ms",
        ] {
            assert!(text.parse::<Impairment>().is_err(), "{text}");
        }
        assert!("delay=5ms,jitter=6ms".parse::<Impairment>().is_err());
        assert!("delay=2h".parse::<Impairment>().is_err());
    }

    fn link(text: &str, seed: u64) -> Link {
        Link::new(text.parse().unwrap(), random(seed, Purpose::Link, 0))
    }
}
