//! Where two JSON values differ, as lines that a person can act on.

use serde_json::Value;
use vice_core::secret::Masker;

use crate::say::excerpt;

/// How many differences are listed for one assertion.
const DIFFERENCES_MAX: usize = 5;

/// Lines such as `/user/name: expected "a", got "b"`; empty when the values are equal. `at` is the pointer of both.
/// Values are masked and cut to their beginnings.
pub(crate) fn differences(masker: &Masker, at: &str, expected: &Value, got: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    let show = |value: &Value| excerpt(masker, &value.to_string());
    walk(&show, at, expected, got, &mut lines);
    if lines.len() > DIFFERENCES_MAX {
        let more = lines.len() - DIFFERENCES_MAX;
        lines.truncate(DIFFERENCES_MAX);
        lines.push(format!("{}: {more} more differences", shown(at)));
    }
    lines
}

fn shown(at: &str) -> &str {
    if at.is_empty() { "(whole body)" } else { at }
}

type Show<'a> = &'a dyn Fn(&Value) -> String;

fn walk(show: Show<'_>, at: &str, expected: &Value, got: &Value, lines: &mut Vec<String>) {
    match (expected, got) {
        (Value::Object(want), Value::Object(have)) => {
            for (key, value) in want {
                step(show, &child(at, key), Some(value), have.get(key), lines);
            }
            for (key, value) in have.iter().filter(|(key, _)| !want.contains_key(*key)) {
                step(show, &child(at, key), None, Some(value), lines);
            }
        }
        (Value::Array(want), Value::Array(have)) => {
            for index in 0..want.len().max(have.len()) {
                step(show, &format!("{at}/{index}"), want.get(index), have.get(index), lines);
            }
        }
        _ if same(expected, got) => {}
        _ => lines.push(format!("{}: expected {}, got {}", shown(at), show(expected), show(got))),
    }
}

fn step(show: Show<'_>, at: &str, expected: Option<&Value>, got: Option<&Value>, lines: &mut Vec<String>) {
    match (expected, got) {
        (Some(expected), Some(got)) => walk(show, at, expected, got, lines),
        (Some(expected), None) => lines.push(format!("{at}: expected {}, but nothing is there", show(expected))),
        (None, Some(got)) => lines.push(format!("{at}: expected nothing, got {}", show(got))),
        (None, None) => {}
    }
}

/// A JSON Pointer's next part, with `~` and `/` escaped (RFC 6901).
fn child(at: &str, key: &str) -> String {
    format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// 1 and 1.0 are the same number: TOML and JSON writers differ in which they write.
fn same(one: &Value, two: &Value) -> bool {
    match (one, two) {
        (Value::Number(one), Value::Number(two)) if one.is_f64() || two.is_f64() => one.as_f64() == two.as_f64(),
        _ => one == two,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn equal_values_have_no_differences() {
        assert!(
            differences(&Masker::default(), "/a", &json!({"n": 1, "l": [1.0]}), &json!({"l": [1], "n": 1.0}))
                .is_empty()
        );
    }

    #[test]
    fn differences_name_the_pointer() {
        let lines = differences(
            &Masker::default(),
            "",
            &json!({"a": {"b/c": 1}, "l": [1, 2], "gone": null}),
            &json!({"a": {"b/c": "1"}, "l": [1], "new": true}),
        );
        assert_eq!(
            lines,
            [
                "/a/b~1c: expected 1, got \"1\"",
                "/l/1: expected 2, but nothing is there",
                "/gone: expected null, but nothing is there",
                "/new: expected nothing, got true"
            ]
        );
    }

    #[test]
    fn long_lists_of_differences_are_cut() {
        let lines = differences(&Masker::default(), "/l", &json!([]), &json!(vec![0; 1000]));
        assert_eq!(lines.len(), DIFFERENCES_MAX + 1);
        assert_eq!(lines.last().unwrap(), "/l: 995 more differences");
    }
}
