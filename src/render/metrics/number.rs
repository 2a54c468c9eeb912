//! Numbers as the shortest text that is the same number: the text of [`f64`]'s `Display`, faster for the usual ones.

/// Integers and decimals of fewer digits than this have only one shortest text.
const MAX_EXACT: u64 = 1_000_000_000_000_000;
/// Behind the point.
const MAX_DIGITS: usize = 9;

pub(super) fn push_number(value: f64, text: &mut Vec<u8>) {
    // Counts, seconds to the millisecond, seconds to the nanosecond.
    for (scale, digits) in [(1.0, 0), (1e3, 3), (1e9, MAX_DIGITS)] {
        let scaled = (value * scale + 0.5) as u64;
        if scaled < MAX_EXACT && scaled as f64 / scale == value && value.is_sign_positive() {
            return push_decimal(scaled, digits, text);
        }
    }
    text.extend_from_slice(value.to_string().as_bytes());
}

/// Writes `number` with its last `digits` behind the point, without zeros at the end.
fn push_decimal(mut number: u64, mut digits: usize, text: &mut Vec<u8>) {
    while digits > 0 && number.is_multiple_of(10) {
        (number, digits) = (number / 10, digits - 1);
    }
    let mut buffer = itoa::Buffer::new();
    let number = buffer.format(number).as_bytes();
    if digits == 0 {
        return text.extend_from_slice(number);
    }
    let (whole, fraction) = number.split_at(number.len().saturating_sub(digits));
    text.extend_from_slice(if whole.is_empty() { b"0" } else { whole });
    text.push(b'.');
    text.extend_from_slice(&[b'0'; MAX_DIGITS][..digits - fraction.len()]);
    text.extend_from_slice(fraction);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(value: f64) -> String {
        let mut text = Vec::new();
        push_number(value, &mut text);
        String::from_utf8(text).unwrap()
    }

    proptest! {
        #[test]
        fn numbers_have_their_shortest_text(any: f64, n: u64, small in 0_u64..2_000_000_000, digits in 0..10) {
            let scale = 10_f64.powi(digits);
            for value in [any, n as f64, n as f64 / scale, small as f64 / scale, -(small as f64) / scale] {
                prop_assert_eq!(text(value), value.to_string());
            }
        }
    }

    #[test]
    fn special_numbers_have_the_text_of_the_format() {
        for value in
            [0.0, -0.0, 1.0, 10.0, 0.1, 0.000_000_731, 1e-9, 1_699_999_998.25, 1e15, 1e16, 123_456.789]
        {
            assert_eq!(text(value), value.to_string());
        }
        assert_eq!(text(f64::NAN), "NaN");
    }
}
