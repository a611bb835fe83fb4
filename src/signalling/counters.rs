//! What was refused, and how often: by where it was refused, and by the code that was told. Written by every thread, without
//! a lock; read by `/api/stats` and by who exports metrics.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A message of a WebSocket: the code of its `error`, or of its `call_failed`.
    Message,
    /// A registration: the code of its `registrationFailed`.
    Registration,
    /// A WebSocket was closed: the code of its end.
    Socket,
    /// A WebSocket was not opened: the status of HTTP.
    Upgrade,
    /// A request of REST: the status of HTTP.
    Request,
    /// The calls thread had no room for a request, a socket or a fact about media: 503. Requests are counted twice, here
    /// and by their status.
    Command,
}

/// What was refused in one place with one code, since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refused {
    /// Where.
    pub place: Place,
    /// With which code. Zero: one that is in no table.
    pub code: u16,
    /// How often.
    pub count: u64,
}

/// The table.
#[derive(Debug)]
pub(crate) struct Counters([[AtomicU64; CODES.len()]; Place::ALL.len()]);

impl Place {
    /// Every place.
    pub const ALL: [Self; 6] = [
        Self::Message,
        Self::Registration,
        Self::Socket,
        Self::Upgrade,
        Self::Request,
        Self::Command,
    ];

    /// As `/api/stats` and labels of metrics have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Registration => "registration",
            Self::Socket => "socket",
            Self::Upgrade => "upgrade",
            Self::Request => "request",
            Self::Command => "command",
        }
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self(array::from_fn(|_| array::from_fn(|_| AtomicU64::new(0))))
    }
}

impl Counters {
    /// One more.
    pub(crate) fn refused(&self, place: Place, code: u16) {
        let row = Place::ALL.iter().zip(&self.0).find(|(other, _)| **other == place);
        // The first is for codes that have no column.
        let column = CODES.iter().position(|known| *known == code).unwrap_or(0);
        if let Some(count) = row.and_then(|(_, row)| row.get(column)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Everything that was refused at all, by place and code.
    pub(crate) fn all(&self) -> Vec<Refused> {
        let rows = Place::ALL.into_iter().zip(&self.0);
        let cells = rows.flat_map(|(place, row)| {
            CODES.into_iter().zip(row).map(move |(code, count)| Refused {
                place,
                code,
                count: count.load(Ordering::Relaxed),
            })
        });
        cells.filter(|refused| refused.count > 0).collect()
    }
}

/// Every code that is told anywhere: statuses of HTTP and SIP, and ends of WebSockets.
const CODES: [u16; 24] = [
    0, 400, 401, 403, 404, 405, 408, 409, 411, 413, 415, 426, 429, 481, 491, 500, 501, 503, 1012, 4401, 4403, 4408,
    4409, 4429,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_counted_by_place_and_code() {
        let counters = Counters::default();
        assert!(counters.all().is_empty());
        for (place, code) in [
            (Place::Message, 481),
            (Place::Message, 481),
            (Place::Socket, 4429),
            (Place::Request, 418),
        ] {
            counters.refused(place, code);
        }
        let all: Vec<_> = counters
            .all()
            .iter()
            .map(|one| (one.place, one.code, one.count))
            .collect();
        assert_eq!(
            all,
            [
                (Place::Message, 481, 2),
                (Place::Socket, 4429, 1),
                (Place::Request, 0, 1)
            ]
        );
    }
}
