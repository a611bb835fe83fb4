//! Time conditions: days of the week, hours, and days that are closed or open whatever day of the week it is.

use crate::moment::LocalTime;

/// When a rule is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Schedule {
    /// A bit for each day of the week, Monday the lowest.
    pub(super) weekdays: u8,
    /// From and until, in minutes since midnight. Until is not included. Where it is the smaller, it is of the next day.
    pub(super) hours: Vec<(u16, u16)>,
    /// Days since 1970 on which it never holds.
    pub(super) except: Vec<i64>,
}

/// Why a text is no part of a time condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// No day of the week.
    #[error("days are mon, tue, wed, thu, fri, sat, sun, and ranges such as mon-fri")]
    Weekday,
    /// No time of day.
    #[error("hours are written as 08:00-18:00, at most 24:00")]
    Hours,
    /// No date.
    #[error("a date is written as 2026-12-24")]
    Date,
}

impl Schedule {
    /// Does it hold at this time? Hours that run over midnight belong to the day that they begin on.
    pub(super) fn holds(&self, time: LocalTime) -> bool {
        let is_open = |day: i64, weekday: u8| self.weekdays >> weekday & 1 == 1 && !self.except.contains(&day);
        let today = is_open(time.day, time.weekday);
        let yesterday = is_open(time.day - 1, (time.weekday + 6) % 7);
        if self.hours.is_empty() {
            return today;
        }
        self.hours.iter().any(|&(from, until)| {
            if from < until {
                today && (from..until).contains(&time.minute)
            } else {
                (today && time.minute >= from) || (yesterday && time.minute < until)
            }
        })
    }
}

/// `mon`, `mon-fri`, `sat-mon` as bits.
pub(super) fn weekdays(text: &str) -> Result<u8, ScheduleError> {
    let day = |text: &str| {
        DAYS.iter()
            .position(|day| *day == text.trim().to_ascii_lowercase())
            .ok_or(ScheduleError::Weekday)
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (day(first)?, day(last)?),
        None => (day(text)?, day(text)?),
    };
    let count = (last + 7 - first) % 7;
    Ok((0..=count).fold(0, |bits, step| bits | 1 << ((first + step) % 7)))
}

/// `08:00-18:00` in minutes since midnight.
pub(super) fn hours(text: &str) -> Result<(u16, u16), ScheduleError> {
    let minutes = |text: &str| {
        let (hour, minute) = text.trim().split_once(':').ok_or(ScheduleError::Hours)?;
        let part = |text: &str| match text.len() {
            1 | 2 => text.parse::<u16>().map_err(|_| ScheduleError::Hours),
            _ => Err(ScheduleError::Hours),
        };
        let (hour, minute) = (part(hour)?, part(minute)?);
        let total = hour * 60 + minute;
        if minute > 59 || total > 24 * 60 {
            return Err(ScheduleError::Hours);
        }
        Ok(total)
    };
    let (from, until) = text.split_once('-').ok_or(ScheduleError::Hours)?;
    Ok((minutes(from)?, minutes(until)?))
}

/// `2026-12-24` in days since 1970 (the algorithm of Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms").
pub(super) fn date(text: &str) -> Result<i64, ScheduleError> {
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts[..] else {
        return Err(ScheduleError::Date);
    };
    if (year.len(), month.len(), day.len()) != (4, 2, 2) {
        return Err(ScheduleError::Date);
    }
    let number = |text: &str| text.parse::<i64>().map_err(|_| ScheduleError::Date);
    let (year, month, day) = (number(year)?, number(month)?, number(day)?);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return Err(ScheduleError::Date);
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Ok(era * 146_097 + day_of_era - 719_468)
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_hours_and_dates_are_read() {
        assert_eq!(weekdays("mon-fri"), Ok(0b001_1111));
        assert_eq!(weekdays("sat-mon"), Ok(0b110_0001));
        assert_eq!(weekdays("Sun"), Ok(0b100_0000));
        assert!(weekdays("mon-").is_err() && weekdays("").is_err());
        assert_eq!(hours("08:00-18:30"), Ok((480, 1110)));
        assert_eq!(hours("22:00-24:00"), Ok((1320, 1440)));
        assert!(hours("8-18").is_err() && hours("25:00-26:00").is_err() && hours("08:60-09:00").is_err());
        assert_eq!(date("1970-01-01"), Ok(0));
        assert_eq!(date("2026-11-29"), Ok(20_786));
        assert!(date("2026-1-1").is_err() && date("2026-13-01").is_err() && date("x").is_err());
    }

    #[test]
    fn nights_belong_to_the_day_that_they_begin_on() {
        let night = Schedule {
            weekdays: weekdays("fri").unwrap(),
            hours: vec![hours("22:00-06:00").unwrap()],
            except: vec![],
        };
        let at = |weekday, hour: u16| LocalTime {
            day: i64::from(weekday),
            weekday,
            minute: hour * 60,
        };
        assert!(night.holds(at(4, 23)) && night.holds(at(5, 5)));
        assert!(!night.holds(at(4, 5)) && !night.holds(at(5, 23)));
    }
}
