//! Money: a whole number of 10⁻²¹ US dollars. Prices are read from decimal text, counts are whole, and what is done with them is
//! adding and multiplying: so nothing is rounded before a sum is written down, and no sum depends on its order. A crate for
//! decimals would bring division, signs and a scale in each value, none of which is wanted here. Knows no price.

use std::fmt;
use std::iter::Sum;
use std::str::FromStr;

/// Decimals that are kept. The finest public prices, those of a pixel, have 19.
const DECIMALS: i32 = 21;
/// What a store keeps: `numeric(18,9)`.
const STORED: i32 = 9;

/// An amount of US dollars, never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usd(u128);

/// The text is no amount: a decimal number from 0 up, below a billion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnAmount;

impl Usd {
    pub const ZERO: Self = Self(0);
    /// More than what a store keeps: a billion.
    pub const MAX_STORED: Self = Self(10u128.pow(DECIMALS.unsigned_abs() + 9));
    /// A thousandth, also as a factor.
    pub const MILLI: Self = Self(10u128.pow(DECIMALS.unsigned_abs() - 3));

    /// Reads a decimal number such as `2.5e-06`, of units of which a dollar has 10 to the power of `-exponent`: `-6` for prices of
    /// a million. What is finer than the decimals that are kept is rounded.
    ///
    /// # Errors
    /// It is no such number.
    pub fn scaled(text: &str, exponent: i32) -> Result<Self, NotAnAmount> {
        let (digits, power) = match text.split_once(['e', 'E']) {
            Some((digits, power)) => (digits, power.parse::<i32>().map_err(|_| NotAnAmount)?),
            None => (text, 0),
        };
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        let digits: String = [whole.strip_prefix('+').unwrap_or(whole), part].concat();
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number || digits.len() > 64 || power.unsigned_abs() > 64 {
            return Err(NotAnAmount);
        }
        let digits = digits.trim_start_matches('0');
        if digits.is_empty() {
            return Ok(Self::ZERO);
        }
        let decimals = i32::try_from(part.len()).map_err(|_| NotAnAmount)?;
        let shift = DECIMALS + power + exponent - decimals;
        let length = i32::try_from(digits.len()).map_err(|_| NotAnAmount)?;
        // Below a billion: then no count of tokens leads out of 128 bits.
        if length + shift > DECIMALS + STORED {
            return Err(NotAnAmount);
        }
        let kept = usize::try_from(length + shift.min(0)).unwrap_or_default();
        let number = match digits.get(..kept) {
            None | Some("") => 0,
            Some(digits) => digits.parse::<u128>().map_err(|_| NotAnAmount)?,
        };
        let next = (length + shift >= 0).then(|| digits.as_bytes().get(kept)).flatten();
        let number = number + u128::from(next.is_some_and(|digit| *digit >= b'5'));
        Ok(Self(number * 10u128.pow(shift.max(0).unsigned_abs())))
    }

    /// So many times the amount.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Self(self.0.saturating_mul(count.into()))
    }

    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The amount times a factor that is itself written as an amount: `1.1`.
    #[must_use]
    pub fn by(self, factor: Self) -> Self {
        // Factors have few decimals: of their six, and all of the amount's, nothing is lost.
        let millionths = factor.0 / 10u128.pow(DECIMALS.unsigned_abs() - 6);
        Self(self.0.saturating_mul(millionths) / 1_000_000)
    }

    /// Billionths of a dollar, rounded: what is stored.
    pub fn billionths(self) -> u128 {
        let unit = 10u128.pow((DECIMALS - STORED).unsigned_abs());
        self.0.saturating_add(unit / 2) / unit
    }

    /// The stored amount as the nearest floating-point number. Below a million dollars it is written as the same nine decimals.
    #[expect(clippy::cast_precision_loss, reason = "amounts below 2^53 billionths are exact")]
    pub fn to_stored(self) -> f64 {
        self.billionths() as f64 / 1e9
    }

    /// As Python writes a `float`, and so LiteLLM its headers: `0.0125`, `4.65e-05`, `2.0`.
    pub fn to_python(self) -> String {
        if self.0 == 0 {
            return "0.0".to_owned();
        }
        let digits = self.0.to_string();
        let power = i32::try_from(digits.len()).unwrap_or_default() - 1 - DECIMALS;
        if power >= -4 {
            let text = self.to_string();
            return if text.contains('.') { text } else { text + ".0" };
        }
        let (first, rest) = digits.split_at(1);
        let rest = rest.trim_end_matches('0');
        let dot = if rest.is_empty() { "" } else { "." };
        format!("{first}{dot}{rest}e-{:02}", power.abs())
    }
}

impl FromStr for Usd {
    type Err = NotAnAmount;

    fn from_str(text: &str) -> Result<Self, NotAnAmount> {
        Self::scaled(text, 0)
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::plus)
    }
}

/// All decimals, and no more: `0.0000025`.
impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = 10u128.pow(DECIMALS.unsigned_abs());
        let (whole, part) = (self.0 / unit, self.0 % unit);
        if part == 0 {
            return f.pad(&whole.to_string());
        }
        let part = format!("{part:021}");
        f.pad(&format!("{whole}.{}", part.trim_end_matches('0')))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn usd(text: &str) -> Usd {
        text.parse().unwrap_or_else(|_| panic!("{text}"))
    }

    #[test]
    fn amounts_are_read_and_written_to_the_last_decimal() {
        let check = |text: &str, expected: &str| assert_eq!(usd(text).to_string(), expected);
        check("2.5e-06", "0.0000025");
        check("2.0751953125e-09", "0.0000000020751953125");
        check("0.0", "0");
        check("1E2", "100");
        check("+12.50", "12.5");
        check("0.0000000000000000000015", "0.000000000000000000002");
        check("1e-30", "0");
        check("5e-22", "0.000000000000000000001");
        check("999999999.5", "999999999.5");
        for wrong in [
            "",
            ".",
            "-1",
            "1e9",
            "abc",
            "1e",
            "0x1",
            "NaN",
            "1_0",
            "inf",
            "1e-99999",
            "1e-2147483648",
        ] {
            assert!(wrong.parse::<Usd>().is_err(), "{wrong}");
        }
        assert_eq!(Usd::scaled("0.075", -6), Ok(usd("7.5e-08")));
    }

    #[test]
    fn headers_are_written_as_python_writes_them() {
        let check = |text: &str, expected: &str| assert_eq!(usd(text).to_python(), expected);
        check("0", "0.0");
        check("2", "2.0");
        check("0.0125", "0.0125");
        check("0.0001", "0.0001");
        check("0.00009", "9e-05");
        check("0.0000465", "4.65e-05");
        check("1e-10", "1e-10");
        check("1234567.25", "1234567.25");
    }

    #[test]
    fn what_is_stored_has_nine_decimals() {
        assert_eq!(usd("0.0000000005").billionths(), 1);
        assert_eq!(usd("0.00000000049").billionths(), 0);
        assert_eq!(usd("0.1").by(usd("1.1")), usd("0.11"));
    }

    proptest! {
        #[test]
        fn a_stored_amount_is_written_as_it_was_rounded(billionths in 0u64..1_000_000_000_000_000) {
            let text = format!("{}.{:09}", billionths / 1_000_000_000, billionths % 1_000_000_000);
            let stored = usd(&text).to_stored();
            let written = format!("{stored:.9}");
            prop_assert_eq!(&written, &text);
            prop_assert_eq!(stored.to_string().parse::<Usd>(), Ok(usd(&text)));
        }

        #[test]
        fn sums_do_not_depend_on_their_order(mut counts in proptest::collection::vec(0u64..10_000_000, 0..20)) {
            let price = usd("1.23456789e-07");
            let one: Usd = counts.iter().map(|count| price.times(*count)).sum();
            counts.reverse();
            let two: Usd = counts.iter().map(|count| price.times(*count)).sum();
            prop_assert_eq!(one, two);
            prop_assert_eq!(one, price.times(counts.iter().sum()));
        }
    }
}
