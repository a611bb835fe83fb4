//! The time zone of an office.

use std::fmt;

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

/// A time zone by its name, or an offset from UTC that is the same all the year.
#[derive(Clone)]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

impl Zone {
    /// `Europe/Berlin`, `UTC`, `+01:00`, or `system` for that of the host.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let zone = match text {
            "system" => TimeZone::try_system().map_err(|error| format!("the host's is not known: {error}"))?,
            _ => match fixed(text) {
                Some(offset) => TimeZone::fixed(offset),
                None => TimeZone::get(text).map_err(|_| {
                    "write a name such as Europe/Berlin, an offset such as +01:00, or system".to_owned()
                })?,
            },
        };
        let name = text.to_owned();
        Ok(Self { name, zone })
    }

    /// How far its clocks are ahead of UTC then, in minutes.
    pub(crate) fn offset_min(&self, unix_ms: u64) -> i16 {
        let at = i64::try_from(unix_ms)
            .ok()
            .and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let offset = self.zone.to_offset(at.unwrap_or(Timestamp::MAX));
        i16::try_from(offset.seconds() / 60).unwrap_or(0)
    }

    pub(crate) fn zone(&self) -> &TimeZone {
        &self.zone
    }
}

/// `+01:00`, `-0330` or `+1`.
fn fixed(text: &str) -> Option<Offset> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = match digits.split_once(':') {
        Some(parts) => parts,
        None if digits.len() == 4 => digits.split_at_checked(2)?,
        None => (digits, "0"),
    };
    let number = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| text.parse::<i32>().ok())?
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let is_one = hours <= 15 && minutes < 60;
    is_one.then(|| Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok())?
}

/// An instance that is not told where it stands takes the host's; without any, UTC.
impl Default for Zone {
    fn default() -> Self {
        let unknown = |_| Self {
            name: "UTC".to_owned(),
            zone: TimeZone::UTC,
        };
        Self::parse("system").unwrap_or_else(unknown)
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Zone {}

impl fmt::Debug for Zone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_go_forward_and_back_by_the_rules_of_the_place() {
        let offset = |zone: &str, unix_ms| Zone::parse(zone).unwrap().offset_min(unix_ms);
        let (winter, summer) = (1_768_478_400_000, 1_784_116_800_000);
        assert_eq!(
            (offset("Europe/Berlin", winter), offset("Europe/Berlin", summer)),
            (60, 120)
        );
        // The hour in which it changes: 2026-03-29 01:00 UTC.
        let change = 1_774_746_000_000;
        assert_eq!(
            (offset("Europe/Berlin", change - 1), offset("Europe/Berlin", change)),
            (60, 120)
        );
        for (text, minutes) in [
            ("UTC", 0),
            ("+01:00", 60),
            ("-0330", -210),
            ("+5", 300),
            ("+05:45", 345),
        ] {
            assert_eq!(offset(text, summer), minutes, "{text}");
        }
        assert_eq!(offset("UTC", u64::MAX), 0);
        for bad in ["", "Middle/Earth", "+25", "+01:60", "+1:2:3", "01:00", "+", "+-1"] {
            assert!(Zone::parse(bad).is_err(), "{bad}");
        }
    }
}
