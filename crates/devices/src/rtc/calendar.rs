//! Seconds since 1970 and the fields of a date, by the proleptic Gregorian calendar.

use serde::{Deserialize, Serialize};

pub const DAY: i64 = 86_400;

/// Time and date as numbers. A guest may have written any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fields {
    pub second: u8,
    pub minute: u8,
    pub hour: u8,
    /// 1 is Sunday.
    pub weekday: u8,
    pub day: u8,
    pub month: u8,
    /// In the century.
    pub year: u8,
    pub century: u8,
}

/// Day of the week of a count of days since 1970 (a Thursday), 0 is Sunday.
pub fn weekday(days: i64) -> u8 {
    (days + 4).rem_euclid(7) as u8
}

impl Fields {
    /// The fields of Unix time `t`, years 0 to 9999; the day of the week is the true one.
    pub fn at(t: i64) -> Self {
        let (days, s) = (t.div_euclid(DAY), t.rem_euclid(DAY));
        // years begin in March here, so that the leap day is the last of its year; 400 years are 146097 days
        let z = days + 719_468;
        let (era, doe) = (z.div_euclid(146_097), z.rem_euclid(146_097));
        let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        let year = yoe + era * 400 + i64::from(month <= 2);
        Self {
            second: (s % 60) as u8,
            minute: (s / 60 % 60) as u8,
            hour: (s / 3600) as u8,
            weekday: weekday(days) + 1,
            day: (doy - (153 * mp + 2) / 5 + 1) as u8,
            month: month as u8,
            year: year.rem_euclid(100) as u8,
            century: year.div_euclid(100).rem_euclid(100) as u8,
        }
    }

    /// Unix time of the fields; out-of-range ones carry over.
    pub fn unix(&self) -> i64 {
        let month = i64::from(self.month) - 1;
        let year = i64::from(self.century) * 100 + i64::from(self.year) + month.div_euclid(12);
        let month = month.rem_euclid(12) + 1;
        let y = year - i64::from(month <= 2);
        let (era, yoe) = (y.div_euclid(400), y.rem_euclid(400));
        let mp = (month + 9) % 12;
        let doy = (153 * mp + 2) / 5 + i64::from(self.day) - 1;
        let days = era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468;
        days * DAY + i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        for (t, (century, year, month, day), (h, m, s), weekday) in [
            (0, (19, 70, 1, 1), (0, 0, 0), 5),
            (951_782_399, (20, 0, 2, 28), (23, 59, 59), 2),
            (951_782_400, (20, 0, 2, 29), (0, 0, 0), 3),
            (4_107_542_399, (21, 0, 2, 28), (23, 59, 59), 1),
            (4_107_542_400, (21, 0, 3, 1), (0, 0, 0), 2),
            (1_795_352_400, (20, 26, 11, 22), (13, 0, 0), 1),
        ] {
            let f = Fields::at(t);
            assert_eq!((f.century, f.year, f.month, f.day), (century, year, month, day), "{t}");
            assert_eq!((f.hour, f.minute, f.second, f.weekday), (h, m, s, weekday), "{t}");
        }
    }

    #[test]
    fn every_day_of_400_years_comes_back() {
        for day in -146_097 / 2..146_097 / 2 {
            let t = day * DAY + 12_345;
            assert_eq!(Fields::at(t).unix(), t);
        }
    }
}
