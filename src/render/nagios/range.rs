//! Ranges of the Monitoring Plugins guidelines: `[@]start:end`.

use std::fmt;
use std::str::FromStr;

/// A range of seconds that is well, or after `@` one that is not.
#[derive(Clone, PartialEq, Debug)]
pub struct Range {
    start: f64,
    end: f64,
    alerts_inside: bool,
    text: String,
}

const HELP: &str = "write a range of seconds, such as 2 (alert above 2), 0.5:2 (outside) or @2:5 (inside)";

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Range, String> {
        let text = text.trim();
        let (alerts_inside, range) = text.strip_prefix('@').map_or((false, text), |range| (true, range));
        let (start, end) = match range.split_once(':') {
            None => (0.0, number(range)?),
            Some((start, end)) => (
                match start {
                    "~" => f64::NEG_INFINITY,
                    "" => 0.0,
                    start => number(start)?,
                },
                if end.is_empty() { f64::INFINITY } else { number(end)? },
            ),
        };
        if start > end {
            return Err(format!("the range ends before it starts; {HELP}"));
        }
        Ok(Range { start, end, alerts_inside, text: text.to_owned() })
    }
}

/// Without exponents, infinity and so on, which the guidelines do not have.
fn number(text: &str) -> Result<f64, String> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_number = digits.chars().all(|c| c.is_ascii_digit() || c == '.');
    text.parse().ok().filter(|_| is_number).ok_or_else(|| HELP.to_owned())
}

impl Range {
    /// Whether this value is an alert.
    #[must_use]
    pub fn alerts(&self, value: f64) -> bool {
        (self.start..=self.end).contains(&value) == self.alerts_inside
    }
}

/// As it was written.
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_of_the_guidelines() {
        for (range, alerts, well) in [
            ("10", &[-0.1, 10.1][..], &[0.0, 10.0][..]),
            ("10:", &[9.9, -20.0], &[10.0, 1e9]),
            ("~:10", &[10.1], &[-1e9, 10.0]),
            (":10", &[-0.1, 10.1], &[0.0]),
            ("10:20", &[9.9, 20.1], &[10.0, 20.0]),
            ("@10:20", &[10.0, 20.0], &[9.9, 20.1]),
            ("@0.5", &[0.0, 0.5], &[-1.0, 0.6]),
            ("-2:-1", &[0.0], &[-1.5]),
        ] {
            let range: Range = range.parse().unwrap();
            assert!(alerts.iter().all(|value| range.alerts(*value)), "{range}");
            assert!(!well.iter().any(|value| range.alerts(*value)), "{range}");
        }
        for wrong in ["", "@", ":x", "20:10", "1e3", "inf", "nan", "5s", "1:2:3", "@@1", "~", "--1", "."] {
            assert!(wrong.parse::<Range>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn text_of_a_range_fits_into_performance_data(text: String) {
            if let Ok(range) = text.parse::<Range>() {
                prop_assert!(range.to_string().chars().all(|c| c.is_ascii_digit() || "@~:.-".contains(c)));
            }
        }
    }
}
