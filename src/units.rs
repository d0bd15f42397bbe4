//! quantities as people write them: `10s`, `64MiB`, `200m`

use serde::de::{self, Deserialize, Deserializer};
use std::fmt;
use std::time::Duration;

/// A span of time, written `250ms`, `10s`, `1m 30s`, `30d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A number of bytes, written `512`, `64KiB`, `1GiB` (powers of 1024) or `10MB` (powers of 1000).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A share of processor cores in thousandths, written `200m` or `1.5` as Kubernetes does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cores {
    /// thousandths of a core
    pub millis: u32,
}

impl Span {
    /// Reads `10s`, `1m 30s`.
    pub fn parse(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text)
            .map(Span)
            .map_err(|_| format!("`{text}` is not a span of time; write it like `250ms`, `10s`, `5m` or `30d`"))
    }
}

impl ByteSize {
    /// Reads `64MiB`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a size; write it like `64KiB`, `16MiB` or `1GB`");
        let text_only = text.trim();
        let digits = text_only.find(|c: char| !c.is_ascii_digit()).unwrap_or(text_only.len());
        let (number, unit) = text_only.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let unit: u64 = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "kb" => 1000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "k" | "ki" | "kib" => 1 << 10,
            "m" | "mi" | "mib" => 1 << 20,
            "g" | "gi" | "gib" => 1 << 30,
            _ => return Err(wrong()),
        };
        number.checked_mul(unit).map(ByteSize).ok_or_else(wrong)
    }

    /// The size for memory.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl Cores {
    /// Reads `200m` or `1.5`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a share of a core; write it like `200m` or `1.5`");
        let millis = match text.strip_suffix('m') {
            Some(millis) => millis.parse::<u32>().map_err(|_| wrong())?,
            None => {
                let cores: f64 = text.parse().map_err(|_| wrong())?;
                if !(0.0..=1024.0).contains(&cores) {
                    return Err(wrong());
                }
                (cores * 1000.0).round() as u32
            }
        };
        if millis == 0 { Err(wrong()) } else { Ok(Cores { millis }) }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", humantime::format_duration(self.0))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n >= 1 << 30 => write!(f, "{:.1} GiB", n as f64 / (1u64 << 30) as f64),
            n if n >= 1 << 20 => write!(f, "{:.1} MiB", n as f64 / (1u64 << 20) as f64),
            n if n >= 1 << 10 => write!(f, "{:.1} KiB", n as f64 / 1024.0),
            n => write!(f, "{n} B"),
        }
    }
}

/// Text for a `Deserialize` of one of these: numbers are refused, because they carry no unit.
fn text<'de, D: Deserializer<'de>, T>(reader: D, parse: fn(&str) -> Result<T, String>) -> Result<T, D::Error> {
    let text = String::deserialize(reader)?;
    parse(&text).map_err(de::Error::custom)
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        text(reader, Span::parse)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        text(reader, ByteSize::parse)
    }
}

impl<'de> Deserialize<'de> for Cores {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        text(reader, Cores::parse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_as_written() {
        for (text, bytes) in [("512", 512), ("64KiB", 65536), ("10MB", 10_000_000), ("1 GiB", 1 << 30)] {
            assert_eq!(ByteSize::parse(text), Ok(ByteSize(bytes)), "{text}");
        }
        for (text, millis) in [("200m", 200), ("1.5", 1500), ("2", 2000)] {
            assert_eq!(Cores::parse(text), Ok(Cores { millis }), "{text}");
        }
        for text in ["", "MiB", "1XB", "-1", "99999999999999999999GB"] {
            assert!(ByteSize::parse(text).is_err(), "{text}");
        }
        for text in ["0", "0m", "m", "-1", "NaN", "a lot"] {
            assert!(Cores::parse(text).is_err(), "{text}");
        }
        assert_eq!(Span::parse("1m 30s"), Ok(Span(Duration::from_secs(90))));
        assert!(Span::parse("10").is_err());
    }
}
