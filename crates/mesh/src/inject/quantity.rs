//! Kubernetes quantities, checked and compared as far as resources of a container need it.
//!
//! Kubernetes, `k8s.io/apimachinery/pkg/api/resource`: a decimal number, then a suffix or a decimal exponent.

/// Most digits of a number.
const DIGITS_MAX: usize = 18;

/// A quantity, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantity {
    pub(super) text: String,
    /// Its value in billionths: the finest that Kubernetes keeps.
    nano: i128,
}

// === impl Quantity ===

impl Quantity {
    /// A quantity of processors, such as `100m` or `2`.
    pub fn cpu(text: &str) -> Result<Self, String> {
        Self::parse(text, &["", "n", "u", "m", "k"]).ok_or_else(|| wrong(text, "100m or 2"))
    }

    /// A quantity of memory in bytes, such as `128Mi` or `1G`. Parts of a byte are the mistake of `m` for `M`.
    pub fn memory(text: &str) -> Result<Self, String> {
        let suffixes = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "k", "M", "G", "T", "P", "E"];
        Self::parse(text, &suffixes).ok_or_else(|| wrong(text, "128Mi or 1Gi"))
    }

    /// Whether it is more than nothing.
    pub fn is_positive(&self) -> bool {
        self.nano > 0
    }

    /// Whether this is more than the other.
    pub fn exceeds(&self, other: &Self) -> bool {
        self.nano > other.nano
    }

    fn parse(text: &str, suffixes: &[&str]) -> Option<Self> {
        let unsigned = text.strip_prefix('+').unwrap_or(text);
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, suffix) = unsigned.split_at(end.unwrap_or(unsigned.len()));
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = format!("{whole}{fraction}");
        if digits.is_empty() || digits.len() > DIGITS_MAX || fraction.contains('.') {
            return None;
        }
        let (factor, decimals) = if suffixes.contains(&suffix) {
            scale(suffix)?
        } else {
            (1, exponent(suffix)?)
        };
        // Nine decimals are kept; what is finer counts as one more (Kubernetes rounds up).
        let places = 9 + decimals - i32::try_from(fraction.len()).ok()?;
        let value = digits.parse::<i128>().ok()?.checked_mul(factor)?;
        let power = 10_i128.checked_pow(places.unsigned_abs())?;
        let nano = if places < 0 {
            value / power + i128::from(value % power > 0)
        } else {
            value.checked_mul(power)?
        };
        Some(Self {
            text: text.to_owned(),
            nano,
        })
    }
}

fn wrong(text: &str, example: &str) -> String {
    format!("{text:?} is not a quantity such as {example}")
}

/// What a suffix stands for: a factor, and a power of ten.
fn scale(suffix: &str) -> Option<(i128, i32)> {
    if let Some(power) = suffix.strip_suffix('i') {
        let at = ["K", "M", "G", "T", "P", "E"]
            .iter()
            .position(|letter| *letter == power)?;
        return Some((1024_i128.pow(u32::try_from(at).ok()? + 1), 0));
    }
    let powers = [
        ("n", -9),
        ("u", -6),
        ("m", -3),
        ("", 0),
        ("k", 3),
        ("M", 6),
        ("G", 9),
        ("T", 12),
        ("P", 15),
        ("E", 18),
    ];
    let found = powers.iter().find(|(letter, _)| *letter == suffix)?;
    Some((1, found.1))
}

/// The power of ten of `e3` or `E-3`.
fn exponent(suffix: &str) -> Option<i32> {
    let power = suffix.strip_prefix(['e', 'E'])?;
    let power: i32 = power.parse().ok()?;
    (-9..=18).contains(&power).then_some(power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for (text, as_cpu, as_memory) in [
            ("100m", true, false),
            ("2", true, true),
            ("+2", true, true),
            ("0.5", true, true),
            (".5", true, true),
            ("1.", true, true),
            ("128Mi", false, true),
            ("1G", false, true),
            ("1Pi", false, true),
            ("1E", false, true),
            ("1e3", true, true),
            ("1E-3", true, true),
            ("", false, false),
            (".", false, false),
            ("m", false, false),
            ("1.2.3", false, false),
            ("1 Gi", false, false),
            ("-1", false, false),
            ("1e", false, false),
            ("1e3Mi", false, false),
            ("1e99", false, false),
            ("1Zi", false, false),
            ("1234567890123456789", false, false),
        ] {
            assert_eq!(Quantity::cpu(text).is_ok(), as_cpu, "{text}");
            assert_eq!(Quantity::memory(text).is_ok(), as_memory, "{text}");
        }
    }

    #[test]
    fn values_are_compared_not_texts() {
        #[track_caller]
        fn check(text: &str, other: &str, exceeds: bool) {
            let parse = |text: &str| Quantity::cpu(text).or_else(|_| Quantity::memory(text)).unwrap();
            assert_eq!(parse(text).exceeds(&parse(other)), exceeds, "{text} {other}");
        }
        check("4", "2000m", true);
        check("0.1", "100m", false);
        check(".1001", "100m", true);
        check("128Mi", "64Mi", true);
        check("1Gi", "1G", true);
        check("1e9", "1G", false);
        check("1Ei", "1000Pi", true);
        check("2000000n", "2m", false);
    }
}
