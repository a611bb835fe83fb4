//! JSON of strangers is looked over before it is read: how deep, how many values, how long its numbers are.

use crate::limits::{JSON_DEPTH_MAX, JSON_NUMBER_CHARS_MAX, JSON_VALUES_MAX};

/// Is the text within the bounds? Whether it is JSON at all is not looked at.
pub(crate) fn is_bounded(text: &str) -> bool {
    is_bounded_to(text, JSON_VALUES_MAX)
}

/// The same, with another bound for values.
pub(crate) fn is_bounded_to(text: &str, values_max: usize) -> bool {
    let (mut depth, mut values, mut number) = (0_usize, 1_usize, 0_usize);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                values += 1;
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' => values += 1,
            _ => {}
        }
        number = match byte {
            b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E' => number + 1,
            _ => 0,
        };
        if depth > JSON_DEPTH_MAX || values > values_max || number > JSON_NUMBER_CHARS_MAX {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_values_and_numbers_have_bounds() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(is_bounded(&nested(JSON_DEPTH_MAX)));
        assert!(!is_bounded(&nested(JSON_DEPTH_MAX + 1)));
        let list = |count: usize| format!("[{}]", vec!["1"; count].join(","));
        assert!(is_bounded(&list(JSON_VALUES_MAX - 1)));
        assert!(!is_bounded(&list(JSON_VALUES_MAX + 1)));
        assert!(is_bounded(&"1".repeat(JSON_NUMBER_CHARS_MAX)));
        assert!(!is_bounded(&"1".repeat(JSON_NUMBER_CHARS_MAX + 1)));
    }

    #[test]
    fn what_stands_in_strings_does_not_count() {
        let text = format!(
            r#"{{"sdp":"{}\"[[[[[[[[[[[[[[[[{}"}}"#,
            "1".repeat(100),
            ",".repeat(2000)
        );
        assert!(is_bounded(&text));
    }
}
