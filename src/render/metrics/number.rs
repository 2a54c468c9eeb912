//! Numbers as the shortest text that is the same number: the text of [`f64`]'s `Display`, faster for the usual ones.

/// Integers and decimals of fewer digits than this have only one shortest text.
const MAX_EXACT: u64 = 1_000_000_000_000_000;

pub(super) fn push_number(value: f64, text: &mut Vec<u8>) {
    // Counts, seconds to the millisecond, seconds to the nanosecond.
    for (scale, digits) in [(1.0, 0), (1e3, 3), (1e9, 9)] {
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
    let mut buffer = [0; 24];
    let (mut start, mut written) = (buffer.len(), 0);
    while number > 0 || written <= digits {
        if written == digits && digits > 0 {
            start -= 1;
            buffer[start] = b'.';
        }
        start -= 1;
        buffer[start] = b'0' + (number % 10) as u8;
        (number, written) = (number / 10, written + 1);
    }
    text.extend_from_slice(&buffer[start..]);
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
