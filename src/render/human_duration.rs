//! Durations for people: `250ms`, `1.4s`, `7m31s`, `2h5m`, `3d4h`.

use std::fmt;
use std::time::Duration;

/// Displays a duration in its one or two largest units.
#[derive(Clone, Copy, Debug)]
pub struct HumanDuration(pub Duration);

impl HumanDuration {
    /// Without the fraction of a second.
    #[must_use]
    pub const fn in_seconds(duration: Duration) -> HumanDuration {
        HumanDuration(Duration::from_secs(duration.as_secs()))
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        if self.0.is_zero() {
            return f.write_str("0s");
        }
        if seconds < 0.000_95 {
            return f.write_str("<1ms");
        }
        if seconds < 0.999_5 {
            return write!(f, "{:.0}ms", seconds * 1000.0);
        }
        if seconds < 9.95 {
            let tenths = format!("{seconds:.1}");
            return write!(f, "{}s", tenths.strip_suffix(".0").unwrap_or(&tenths));
        }
        let rounded = self.0.saturating_add(Duration::from_millis(500)).as_secs();
        let two_units = |big: u64, big_unit: &str, small: u64, small_unit: &str| match small {
            0 => format!("{big}{big_unit}"),
            _ => format!("{big}{big_unit}{small}{small_unit}"),
        };
        f.write_str(&match rounded {
            0..60 => format!("{rounded}s"),
            60..3600 => two_units(rounded / 60, "m", rounded % 60, "s"),
            3600..86_400 => two_units(rounded / 3600, "h", rounded % 3600 / 60, "m"),
            _ => two_units(rounded / 86_400, "d", rounded % 86_400 / 3600, "h"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_depends_on_the_size() {
        for (seconds, text) in [
            (0.0, "0s"),
            (0.000_3, "<1ms"),
            (0.003, "3ms"),
            (0.25, "250ms"),
            (0.999_9, "1s"),
            (1.4, "1.4s"),
            (3.000_4, "3s"),
            (9.96, "10s"),
            (59.4, "59s"),
            (59.6, "1m"),
            (451.2, "7m31s"),
            (3600.0, "1h"),
            (7530.0, "2h5m"),
            (273_700.0, "3d4h"),
        ] {
            assert_eq!(HumanDuration(Duration::from_secs_f64(seconds)).to_string(), text);
        }
        assert_eq!(HumanDuration(Duration::MAX).to_string(), "213503982334601d7h");
    }
}
