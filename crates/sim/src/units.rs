//! Values of a scenario as people write them: `20ms`, `10M`, `1%`, `64k`.

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A span of time: a number with `ns`, `us`, `ms`, `s`, `min` or `h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

/// Bits per second: a number, with `k`, `M` or `G` for powers of 1000. At least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(pub u64);

/// A number of bytes: a number, with `k`, `M` or `G` for powers of 1000, or `Ki`, `Mi`, `Gi` for powers of 1024.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A share of all packets, 0..=1: `1%` or `0.01`. Kept as parts of 2^32, so that dice need no floating point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u64);

impl Share {
    /// All packets.
    pub const ALL: Self = Self(1 << 32);

    /// So many of a thousand.
    #[must_use]
    pub const fn per_mille(share: u32) -> Self {
        Self(((share as u64) << 32) / 1000)
    }

    /// Parts of 2^32.
    #[must_use]
    pub const fn parts(self) -> u64 {
        self.0
    }

    /// From 0 to 1.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / Self::ALL.0 as f64
    }

    /// From a number of 0..=1.
    fn new(share: f64) -> Option<Self> {
        // One multiplication by a power of two: exact, so the same on every machine. What is asked for is never rounded away.
        let parts = (share * Self::ALL.0 as f64) as u64;
        (0.0..=1.0).contains(&share).then_some(Self(parts.max(u64::from(share > 0.0))))
    }
}

/// Splits `12.5ms` into its number and its unit.
fn number(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim()))
}

/// `number` times `factor`, where that is a whole number that fits.
fn scaled(number: f64, factor: f64) -> Option<u64> {
    let value = number * factor;
    (value < 9e18).then_some(value.round() as u64)
}

/// The whole number in `text`, in its smallest unit; `units` has the names and what each is worth. `None` for anything else.
fn whole(text: &str, units: &[(&str, f64)]) -> Option<u64> {
    let (value, unit) = number(text)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    scaled(value, *factor)
}

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let units = [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9), ("min", 60e9), ("h", 3600e9)];
        let zero = || whole(text, &[("", 1.0)]).filter(|nanos| *nanos == 0);
        let nanos = whole(text, &units).or_else(zero);
        nanos
            .map(|nanos| Self(Duration::from_nanos(nanos)))
            .ok_or_else(|| format!("'{text}' is no time; write it as 250us, 20ms, 1.5s, 10min or 1h"))
    }
}

/// Powers of 1000.
const DECIMAL: [(&str, f64); 4] = [("", 1.0), ("k", 1e3), ("M", 1e6), ("G", 1e9)];

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rate = whole(text, &DECIMAL).filter(|rate| *rate > 0);
        rate.map(Self).ok_or_else(|| format!("'{text}' is no rate; write bits per second as 64k, 10M or 1G"))
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let binary = [("Ki", 1024.0), ("Mi", 1_048_576.0), ("Gi", 1_073_741_824.0)];
        let size = whole(text, &DECIMAL).or_else(|| whole(text, &binary));
        size.map(Self).ok_or_else(|| format!("'{text}' is no size; write bytes as 1500, 64k, 10M or 64Ki"))
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no share of packets; write it as 1% or 0.01");
        let (value, unit) = number(text).ok_or_else(wrong)?;
        let share = match unit {
            "" => Self::new(value),
            "%" => Self::new(value / 100.0),
            _ => None,
        };
        share.ok_or_else(wrong)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let units = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"), (1, "ns")];
        let fits = units.into_iter().find(|(unit, _)| nanos.is_multiple_of(*unit));
        let (unit, name) = fits.unwrap_or((1, "ns"));
        write!(f, "{}{name}", nanos / unit)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k"), (1, "")];
        let fits = units.into_iter().find(|(unit, _)| self.0.is_multiple_of(*unit));
        let (unit, name) = fits.unwrap_or((1, ""));
        write!(f, "{}{name}", self.0 / unit)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Enough digits to be read back as the same number of parts.
        write!(f, "{}", self.as_f64())
    }
}

/// Reads a value from a string, or from a plain number where one is enough.
struct Plain<T>(std::marker::PhantomData<T>);

impl<T: FromStr<Err = String>> Visitor<'_> for Plain<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value with its unit, such as \"20ms\", \"10M\" or \"1%\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<T, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<T, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<T, E> {
        self.visit_str(&value.to_string())
    }
}

macro_rules! serde_as_text {
    ($($name:ty),+) => { $(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Plain(std::marker::PhantomData))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )+ };
}

serde_as_text!(Time, Rate, Size, Share);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_with_their_units_and_written_so_that_they_can_be_read_again() {
        let time = |text: &str| text.parse::<Time>().expect(text).0;
        assert_eq!(time("1.5s"), Duration::from_millis(1500));
        assert_eq!(time("250us"), Duration::from_micros(250));
        assert_eq!(time("0"), Duration::ZERO);
        assert_eq!(time("10min"), Duration::from_secs(600));
        assert_eq!("10M".parse(), Ok(Rate(10_000_000)));
        assert_eq!("64Ki".parse(), Ok(Size(65_536)));
        assert_eq!("2.5M".parse(), Ok(Size(2_500_000)));
        assert_eq!("100%".parse(), Ok(Share::ALL));
        assert_eq!("50%".parse::<Share>().expect("a share").parts(), 1 << 31);
        for text in ["3%", "0.1%", "12.5%", "1"] {
            let share: Share = text.parse().expect(text);
            assert_eq!(share.to_string().parse(), Ok(share), "{text}");
        }
        assert_eq!("0.0000000001%".parse::<Share>().expect("a share").parts(), 1, "little is not nothing");
        for text in ["20ms", "1500us", "3s"] {
            let time: Time = text.parse().expect(text);
            assert_eq!(time.to_string().parse(), Ok(time), "{text}");
        }
    }

    #[test]
    fn a_value_that_makes_no_sense_says_how_to_write_it() {
        assert!("20".parse::<Time>().expect_err("no unit").contains("20ms"));
        assert!("0".parse::<Rate>().is_err());
        assert!("fast".parse::<Rate>().expect_err("no number").contains("10M"));
        assert!("101%".parse::<Share>().expect_err("too much").contains("1%"));
        assert!("3 bytes".parse::<Size>().is_err());
    }
}
