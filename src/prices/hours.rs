//! Hours at which a provider is cheaper: times of the day in UTC, on some days of the week. Reads no clock.

/// From one minute of the day, inclusive, to another, exclusive. One that ends before it begins goes on after midnight; one that
/// ends as it begins is the whole day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The lowest bit is Monday.
    pub days: u8,
    /// Of the day, in UTC.
    pub from: u16,
    pub to: u16,
    /// What the calendar of the days is ahead of UTC.
    pub ahead: u8,
}

pub(super) const EVERY_DAY: u8 = 0b111_1111;

impl Window {
    /// Whether it holds at a time, in microseconds since 1970 UTC.
    pub fn holds(self, at_us: i64) -> bool {
        let minutes = at_us.div_euclid(60_000_000);
        let now = minutes.rem_euclid(24 * 60);
        let days = (minutes + i64::from(self.ahead) * 60).div_euclid(24 * 60);
        // 1970-01-01 was a Thursday.
        let day = (days + 3).rem_euclid(7);
        let (from, to) = (i64::from(self.from), i64::from(self.to));
        let is_hour = if from < to { (from..to).contains(&now) } else { now >= from || now < to };
        is_hour && (self.days >> day) & 1 == 1
    }

    /// Reads `HH:MM-HH:MM`.
    pub(super) fn read(text: &str, days: u8, ahead: u8) -> Option<Self> {
        let (from, to) = text.split_once('-')?;
        Some(Self { days, from: minute(from)?, to: minute(to)?, ahead })
    }

    /// `31@0-60+8`: days, minutes of the day, hours ahead.
    pub(super) fn write(self) -> String {
        let Self { days, from, to, ahead } = self;
        format!("{days}@{from}-{to}+{ahead}")
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (days, rest) = text.split_once('@')?;
        let (from, rest) = rest.split_once('-')?;
        let (to, ahead) = rest.split_once('+')?;
        let number = |text: &str| text.parse().ok();
        Some(Self {
            days: days.parse().ok()?,
            from: number(from)?,
            to: number(to)?,
            ahead: ahead.parse().ok()?,
        })
    }
}

fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    (hour < 24 && minute < 60).then_some(hour * 60 + minute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_hold_on_their_days() {
        // 2026-11-26 was a Thursday; at 09:59 and 10:00 UTC.
        let before = 1_795_687_140_000_000;
        let at = before + 60_000_000;
        let check = |hours: &str, days: u8, ahead: u8, expected: [bool; 2]| {
            let window = Window::read(hours, days, ahead).unwrap();
            assert_eq!([window.holds(before), window.holds(at)], expected, "{hours} {days:b}");
            assert_eq!(Window::parse(&window.write()), Some(window));
        };
        check("10:00-00:00", EVERY_DAY, 0, [false, true]);
        check("10:00-00:00", 0b000_0111, 0, [false, false]);
        check("10:00-00:00", 0b000_1000, 0, [false, true]);
        check("09:00-10:00", EVERY_DAY, 0, [true, false]);
        check("00:00-00:00", 0b000_1000, 0, [true, true]);
        // It is Friday already where the calendar is 14 hours ahead.
        check("10:00-00:00", 0b001_0000, 14, [false, true]);
        assert_eq!(Window::read("25:00-26:00", EVERY_DAY, 0), None);
    }
}
