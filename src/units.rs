//! quantities as people write them: `10s`, `64MiB`, `200m`
//!
//! A key that cannot take every quantity says so where it is declared, and what is outside is told with the key's line:
//!
//!     #[serde(deserialize_with = "within::<100, HOUR, _, _>")]
//!     pub every: Span,

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// A span of time, written `250ms`, `10s`, `1m 30s`, `30d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A number of bytes, written `512`, `64KiB`, `1GiB` (powers of 1024) or `10MB` (powers of 1000).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// So many in so long, written `4/10m` or `1/30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// how many
    pub count: u32,
    /// in how long
    pub per: Span,
}

/// A share of processor cores in thousandths, written `200m` or `1.5` as Kubernetes does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cores {
    /// thousandths of a core
    pub millis: u32,
}

/// A share of a whole, written `10%` or `0.5%`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Share(f64);

/// Milliseconds of an hour, for [`within`].
pub const HOUR: u64 = 3_600_000;
/// Milliseconds of a day, for [`within`].
pub const DAY: u64 = 24 * HOUR;
/// Bytes of a mebibyte, for [`within`].
pub const MIB: u64 = 1 << 20;
/// Bytes of a gibibyte, for [`within`].
pub const GIB: u64 = 1 << 30;
/// The longest span: with more, the clock's arithmetic would end.
const SPAN_MAX: Duration = Duration::from_secs(3650 * 86_400);

/// Something that can be too little or too much: spans in milliseconds, sizes in bytes, numbers as they are.
pub trait Quantity {
    /// How much it is; nothing where it was not given.
    fn amount(&self) -> Option<u64>;
    /// So much, as people write it.
    fn written(amount: u64) -> String;
}

/// Reads a quantity that must be from `LEAST` to `MOST`, for `#[serde(deserialize_with = "…")]`.
pub fn within<'de, const LEAST: u64, const MOST: u64, T, D>(reader: D) -> Result<T, D::Error>
where
    T: Quantity + Deserialize<'de>,
    D: Deserializer<'de>,
{
    let quantity = T::deserialize(reader)?;
    let told = |amount, wrong, bound, limit| {
        let (amount, limit) = (T::written(amount), T::written(limit));
        Err(de::Error::custom(format!("`{amount}` is too {wrong}; write at {bound} `{limit}`")))
    };
    match quantity.amount() {
        Some(amount) if amount < LEAST => told(amount, "little", "least", LEAST),
        Some(amount) if amount > MOST => told(amount, "much", "most", MOST),
        Some(_) | None => Ok(quantity),
    }
}

impl Quantity for Span {
    fn amount(&self) -> Option<u64> {
        Some(u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX))
    }

    fn written(amount: u64) -> String {
        match amount {
            0 => "0s".to_owned(),
            _ => Span(Duration::from_millis(amount)).to_string().replace(' ', ""),
        }
    }
}

impl Quantity for ByteSize {
    fn amount(&self) -> Option<u64> {
        Some(self.0)
    }

    fn written(amount: u64) -> String {
        let units = [(GIB, "GiB"), (MIB, "MiB"), (1 << 10, "KiB")];
        match units.iter().find(|(unit, _)| amount > 0 && amount.is_multiple_of(*unit)) {
            Some((unit, name)) => format!("{}{name}", amount / unit),
            None => format!("{amount}B"),
        }
    }
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Quantity for $number {
            fn amount(&self) -> Option<u64> {
                u64::try_from(*self).ok()
            }

            fn written(amount: u64) -> String {
                amount.to_string()
            }
        }
    )*};
}
numbers!(u32, u64, usize);

impl<T: Quantity> Quantity for Option<T> {
    fn amount(&self) -> Option<u64> {
        self.as_ref().and_then(T::amount)
    }

    fn written(amount: u64) -> String {
        T::written(amount)
    }
}

impl Span {
    /// Reads `10s`, `1m 30s`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let span = humantime::parse_duration(text)
            .map_err(|_| format!("`{text}` is not a span of time; write it like `250ms`, `10s`, `5m` or `30d`"))?;
        if span > SPAN_MAX {
            return Err(format!("`{text}` is longer than ten years; write less"));
        }
        Ok(Span(span))
    }
}

impl Rate {
    /// Reads `4/10m`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not so many in so long; write it like `4/10m`");
        let (count, per) = text.split_once('/').ok_or_else(wrong)?;
        let count = count.trim().parse().map_err(|_| wrong())?;
        let per = Span::parse(per.trim()).map_err(|_| wrong())?;
        match per.0.is_zero() {
            true => Err(wrong()),
            false => Ok(Rate { count, per }),
        }
    }
}

impl Share {
    /// One of ten.
    pub const TENTH: Share = Share(0.1);

    /// Reads `10%`; nothing and more than all are no shares.
    pub fn parse(text: &str) -> Result<Self, String> {
        let percent = text.trim().strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
        match percent {
            Some(percent) if percent > 0.0 && percent <= 100.0 => Ok(Share(percent / 100.0)),
            Some(_) => Err(format!("`{text}` is no share; write more than `0%` and at most `100%`")),
            None => Err(format!("`{text}` is not a share; write it like `10%`")),
        }
    }

    /// As a number: 0.1 is ten percent.
    pub fn as_f64(self) -> f64 {
        self.0
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

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.per)
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

/// Reads one of these from its text. A number is told what is missing: its unit, or its quotes.
struct Text<T> {
    parse: fn(&str) -> Result<T, String>,
    what: &'static str,
    /// what goes behind a number that stands alone
    unit: &'static str,
}

impl<T> Text<T> {
    fn unitless<E: de::Error>(&self, number: impl fmt::Display) -> Result<T, E> {
        let (what, unit) = (self.what, self.unit);
        Err(E::custom(format!("`{number}` is not {what}; write it in quotes with its unit, like `\"{number}{unit}\"`")))
    }
}

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.unitless(number)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.unitless(number)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        self.unitless(number)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_str(Text { parse: Span::parse, what: "a span of time", unit: "s" })
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_str(Text { parse: Rate::parse, what: "so many in so long", unit: "/1m" })
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, writer: S) -> Result<S::Ok, S::Error> {
        writer.collect_str(self)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, writer: S) -> Result<S::Ok, S::Error> {
        writer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_str(Text { parse: ByteSize::parse, what: "a size", unit: "MiB" })
    }
}

impl<'de> Deserialize<'de> for Cores {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_str(Text { parse: Cores::parse, what: "a share of a core", unit: "" })
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_str(Text { parse: Share::parse, what: "a share", unit: "%" })
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
        assert_eq!(Rate::parse("4/10m"), Ok(Rate { count: 4, per: Span(Duration::from_secs(600)) }));
        for text in ["4", "4/0s", "/1m", "-1/1m", "4/"] {
            assert!(Rate::parse(text).is_err(), "{text}");
        }
        assert!(Span::parse("11y").is_err());
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only reading is tested")]
    struct Table {
        #[serde(default, deserialize_with = "within::<100, HOUR, _, _>")]
        every: Option<Span>,
        #[serde(default, deserialize_with = "within::<1024, MIB, _, _>")]
        bytes: Option<ByteSize>,
        #[serde(default, deserialize_with = "within::<1, 10, _, _>")]
        files: Option<usize>,
        cpu: Option<Cores>,
    }

    #[test]
    fn what_a_key_cannot_take_is_told_with_what_to_write() {
        for good in ["", "every = '100ms'\nbytes = '1MiB'\nfiles = 10", "every = '1h'\nbytes = '1KiB'\nfiles = 1"] {
            toml::from_str::<Table>(good).unwrap();
        }
        for (wrong, says) in [
            ("every = '0s'", "`0s` is too little; write at least `100ms`"),
            ("every = '2days'", "`2days` is too much; write at most `1h`"),
            ("every = 30", "`30` is not a span of time; write it in quotes with its unit, like `\"30s\"`"),
            ("bytes = '0B'", "`0B` is too little; write at least `1KiB`"),
            ("bytes = '3GiB'", "`3GiB` is too much; write at most `1MiB`"),
            ("bytes = 64", "`64` is not a size; write it in quotes with its unit, like `\"64MiB\"`"),
            ("files = 0", "`0` is too little; write at least `1`"),
            ("files = 11", "`11` is too much; write at most `10`"),
            ("cpu = 1.5", "`1.5` is not a share of a core; write it in quotes with its unit, like `\"1.5\"`"),
        ] {
            assert_eq!(toml::from_str::<Table>(wrong).unwrap_err().message(), says);
        }
    }
}
