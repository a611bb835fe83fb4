//! How the switch does, in numbers, for who watches it. Counts are since the start.

use std::time::Duration;

use crate::counters::Refused;
use crate::recordings::RecordingFigures;

/// The figures at one moment.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Devices that are registered.
    pub devices: u64,
    /// Signalling sockets open.
    pub sockets: u64,
    /// Calls that are not over.
    pub calls: u64,
    /// Of these, calls that were answered.
    pub calls_up: u64,
    /// Callers that wait in each queue of the dialplan.
    pub queues: Vec<(String, u64)>,
    /// Devices that registered, and that went, for whatever reason.
    pub registered: u64,
    /// See [`registered`](Self::registered).
    pub unregistered: u64,
    /// Calls that began.
    pub attempts: u64,
    /// Calls that are over, by the name of their cause.
    pub ended: Vec<(&'static str, u64)>,
    /// From the beginning to the answer, in seconds, of calls that were answered and are over.
    pub answer: Histogram,
    /// From the answer to the end, in seconds, of the same.
    pub duration: Histogram,
    /// What legs heard, from 1 to 5, where their devices said so.
    pub mos: Histogram,
    /// What was refused, by where and by code: only what there was any of.
    pub refused: Vec<Refused>,
    /// Messages of devices.
    pub messages: u64,
    /// Devices that did not read what they were told.
    pub slow_clients: u64,
    /// Grants that the relay had no room for at once.
    pub grants_refused: u64,
    /// Faults of this program on the calls thread that were caught.
    pub faults: u64,
    /// After so many of these the call plane began anew: what was under way ended.
    pub renewals: u64,
    /// Questions to hooks of the dialplan that were not asked, for want of room.
    pub hooks_unasked: u64,
    /// Calls that were refused as their number had begun too many within an hour.
    pub too_often: u64,
    /// Calls that telephones sent on to another number (302).
    pub forwards: u64,
    /// The same, where that was not followed.
    pub forwards_refused: u64,
    /// What waits for the calls thread.
    pub commands_waiting: u64,
    /// Who follows `/api/events`.
    pub event_followers: u64,
    /// Events that wait for webhooks.
    pub webhook_events_waiting: u64,
    /// What became of events for webhooks: taken, refused, dropped for want of room.
    pub webhook_events: [(&'static str, u64); 3],
    /// What was not noted for a restart, for want of room or because the disk failed.
    pub unnoted: u64,
    /// The store of records. None: they are in memory only.
    pub records: Option<RecordFigures>,
    /// Of recordings. None: nothing is recorded.
    pub recordings: Option<RecordingFigures>,
    /// None: there is no SIP.
    pub sip: Option<SipFigures>,
    /// None: there are no channels of Asterisk.
    pub asterisk: Option<AsteriskFigures>,
    /// None: there is one machine.
    pub nodes: Option<NodeFigures>,
}

/// How it stands with other machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeFigures {
    /// Are messages carried?
    pub is_up: bool,
    /// Machines that can be heard.
    pub peers: u64,
    /// Their devices that are known here.
    pub devices: u64,
    /// Their calls.
    pub calls: u64,
    /// Legs of devices here in calls of others, and of theirs in calls here.
    pub legs_away: u64,
    /// As above.
    pub legs_served: u64,
    /// Messages to others.
    pub said: u64,
    /// For which there was no room, or nothing that carries them.
    pub unsaid: u64,
    /// Messages of others.
    pub heard: u64,
    /// That could not be read.
    pub unread: u64,
    /// Times that messages of others were missing.
    pub missed: u64,
    /// Requests that another machine did not answer in time.
    pub unanswered: u64,
    /// Devices of others for which there was no room here.
    pub refused: u64,
}

/// How SIP does.
#[derive(Clone, Debug, Default)]
pub struct SipFigures {
    /// Contacts of telephones.
    pub telephones: u64,
    /// Legs of calls.
    pub legs: u64,
    /// Messages that were refused without an answer, or with 503, by why.
    pub refused: Vec<(&'static str, u64)>,
    /// Trunks and groups of them: the name, whether calls can go by it, and how many do.
    pub trunks: Vec<(String, bool, u64)>,
}

/// What was counted of channels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AsteriskFigures {
    /// Channels that are there.
    pub channels: u64,
    /// Connections since the start, by what they spoke.
    pub connections: Vec<(&'static str, u64)>,
    /// Connections that were refused, by why.
    pub refused: Vec<(&'static str, u64)>,
    /// Frames of 20 ms that came, and that went out.
    pub frames_in: u64,
    /// As above.
    pub frames_out: u64,
    /// Frames that were lost for want of room, either way.
    pub frames_dropped: u64,
}

/// How the store of records does.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordFigures {
    /// Records that wait to be written.
    pub waiting: u64,
    /// Records that the disk has.
    pub stored: u64,
    /// Records that are not in any file.
    pub lost: u64,
    /// Attempts to write that failed.
    pub failures: u64,
    /// Does writing fail now?
    pub is_failing: bool,
}

/// How many values were at most as large as each bound.
#[derive(Clone, Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One more than there are bounds: the last is of what is larger than all of them.
    counts: Vec<u64>,
    sum: f64,
}

/// Of no bounds: it counts all the same.
impl Default for Histogram {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl Histogram {
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: vec![0; bounds.len() + 1],
            sum: 0.0,
        }
    }

    pub(crate) fn add(&mut self, value: f64) {
        let place = self.bounds.iter().position(|bound| value <= *bound);
        if let Some(count) = self.counts.get_mut(place.unwrap_or(self.bounds.len())) {
            *count += 1;
        }
        self.sum += value;
    }

    pub(crate) fn add_seconds(&mut self, duration: Duration) {
        self.add(duration.as_secs_f64());
    }

    /// Each bound with the count of values between the bound before and this one; the last is infinite.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        bounds.zip(self.counts.iter().copied())
    }

    /// All values together.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_below_the_bound_that_holds_them() {
        let mut histogram = Histogram::new(&[1.0, 2.0]);
        for value in [0.5, 1.0, 1.5, 7.0] {
            histogram.add(value);
        }
        let counts: Vec<u64> = histogram.buckets().map(|(_, count)| count).collect();
        assert_eq!((counts, histogram.count(), histogram.sum()), (vec![2, 1, 1], 4, 10.0));
        assert_eq!(Histogram::default().count(), 0);
    }
}
