//! What an operator may set. The defaults are those of `limits`.

use std::time::Duration;

use crate::codec::Codec;
use crate::ids::Text;
use crate::limits;

/// Settings of the call plane.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a call rings; a caller may ask for another time, up to [`limits::RING_MAX`].
    pub ring: Duration,
    /// How long a device stays registered that does not say how long.
    pub registration_expires: Duration,
    /// How long a device whose socket is lost keeps its legs that are up, and its registration.
    pub grace_up: Duration,
    /// How long a device whose socket is lost keeps its legs that are not up yet.
    pub grace_alerting: Duration,
    /// How long a call may last.
    pub call_duration_max: Duration,
    /// A call that had media and has none either way any more ends after this time, unless somebody holds or is muted. Zero: it
    /// does not.
    pub half_dead: Duration,
    /// How long a record waits for the relay's counters. Zero: nobody is asked for them.
    pub counters_wait: Duration,
    /// Calls at once.
    pub calls_max: usize,
    /// Devices of one number.
    pub devices_per_number_max: usize,
    /// Calls of one number at once. A caller profile may lower it.
    pub calls_per_number_max: usize,
    /// Calls that one number begins within an hour. 0: as many as it likes.
    pub calls_per_hour_max: u32,
    /// May a device that is in a call be rung?
    pub call_waiting: bool,
    /// The policy: of what all hearers take, the first in this order is sent.
    pub codecs: Vec<Codec>,
    /// Music for who is put on hold: the broadcast `moh/<name>`. Empty: silence.
    pub music: Text,
    /// Who is recorded hears a tone, at once and after each such time. Zero: nobody does.
    pub recording_tone: Duration,
    /// Are participants told of a supervisor who listens or whispers?
    pub supervision_is_told: bool,
    /// Who has no codec in common with the others may come into a call, as its media is transcoded.
    pub transcodes: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ring: limits::RING,
            registration_expires: limits::REGISTRATION_EXPIRES,
            grace_up: limits::GRACE_UP,
            grace_alerting: limits::GRACE_ALERTING,
            call_duration_max: limits::CALL_DURATION_MAX,
            half_dead: limits::HALF_DEAD,
            counters_wait: limits::COUNTERS_WAIT,
            calls_max: limits::CALLS_MAX,
            devices_per_number_max: limits::DEVICES_PER_NUMBER_MAX,
            calls_per_number_max: limits::CALLS_PER_NUMBER_MAX,
            calls_per_hour_max: 0,
            call_waiting: true,
            codecs: Codec::ALL.to_vec(),
            music: Text::new("default"),
            recording_tone: Duration::ZERO,
            supervision_is_told: true,
            transcodes: false,
        }
    }
}
