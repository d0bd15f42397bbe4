//! `17/May/2015:10:05:03 +0000` as nanoseconds since 1970
//!
//! Lines come in order, so a day and its offset are worked out once and remembered for the lines after.

use tidemill_plugin::time;

const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// How long a time is as it is written.
pub const LENGTH: usize = "17/May/2015:10:05:03 +0000".len();

/// The last day and offset seen, as written, and the second at which that day began there, in UTC.
#[derive(Debug, Default)]
pub struct DateCache {
    written: Day,
    day_began: i64,
}

/// The day and the offset of a time as they are written, in words that can be compared without a call.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Day([u64; 3]);

impl Day {
    #[inline]
    fn of(text: &[u8; LENGTH]) -> Day {
        let [a, b, c, d, e, f, g, h, i, j, k, .., p, q, r, s, t, u] = *text;
        Day([
            u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            u64::from_le_bytes([i, j, k, 0, 0, 0, 0, 0]),
            u64::from_le_bytes([p, q, r, s, t, u, 0, 0]),
        ])
    }
}

impl DateCache {
    #[inline]
    pub fn parse(&mut self, text: &[u8]) -> Result<i64, String> {
        let Ok(text) = <&[u8; LENGTH]>::try_from(text) else {
            return Err(wrong(text, "it is written like `17/May/2015:10:05:03 +0000`"));
        };
        if Day::of(text) != self.written {
            self.start_day(text)?;
        }
        let colons = text[11] == b':' && text[14] == b':' && text[17] == b':';
        let of_day = match (colons, digits(&text[12..14]), digits(&text[15..17]), digits(&text[18..20])) {
            (true, Some(hour), Some(minute), Some(second)) => time::second_of_day(hour, minute, second),
            _ => None,
        };
        let Some(of_day) = of_day else {
            return Err(wrong(text, "there is no such time of day"));
        };
        time::nanoseconds(self.day_began + of_day, 0).ok_or_else(|| wrong(text, "it is too far from 1970"))
    }

    #[cold]
    fn start_day(&mut self, text: &[u8; LENGTH]) -> Result<(), String> {
        let month = MONTHS.iter().position(|month| month.eq_ignore_ascii_case(&text[3..6]));
        let Some(month) = month else {
            let month = String::from_utf8_lossy(&text[3..6]).into_owned();
            return Err(wrong(text, &format!("`{month}` is not a month from Jan to Dec")));
        };
        let slashes = text[2] == b'/' && text[6] == b'/';
        let days = match (slashes, digits(&text[..2]), digits(&text[7..11])) {
            (true, Some(day), Some(year)) => time::days_from_date(year, month as i64 + 1, day),
            _ => None,
        };
        let days = days.ok_or_else(|| wrong(text, "there is no such day"))?;
        let offset = match (&text[20..22], digits(&text[22..24]), digits(&text[24..26])) {
            (b" +", Some(hours @ ..24), Some(minutes @ ..60)) => hours * 3600 + minutes * 60,
            (b" -", Some(hours @ ..24), Some(minutes @ ..60)) => -(hours * 3600 + minutes * 60),
            _ => return Err(wrong(text, "an offset like +0100 comes last")),
        };
        self.written = Day::of(text);
        self.day_began = days * 86_400 - offset;
        Ok(())
    }
}

#[inline]
fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |number, byte| match byte.wrapping_sub(b'0') {
        digit @ 0..=9 => Some(number * 10 + i64::from(digit)),
        _ => None,
    })
}

#[cold]
fn wrong(text: &[u8], why: &str) -> String {
    let shown = String::from_utf8_lossy(&text[..text.len().min(40)]).into_owned();
    format!("`{shown}` is not a time: {why}")
}
