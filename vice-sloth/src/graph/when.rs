//! When a step runs: by default after everything that it needs, `always` also after failures, or only if a comparison
//! with an output holds.

use serde_json::Value;
use vice_core::{Code, Fault, Result};

use super::reference::{Outputs, Reference, as_text, in_text, whole};

/// When a step runs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum When {
    /// After everything that it needs has succeeded.
    Needed,
    /// As soon as everything that it needs has ended in any way.
    Always,
    /// As [`When::Needed`], if the comparison holds; else the step is skipped.
    Compare {
        /// What is compared.
        left: Reference,
        /// Whether it must be equal (true) or must not be.
        equal: bool,
        /// With what, as text.
        right: String,
    },
}

impl When {
    /// Reads a `when`.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self> {
        let Some(text) = text.map(str::trim) else { return Ok(Self::Needed) };
        if text == "always" {
            return Ok(Self::Always);
        }
        // The reference may not contain an operator, the value may: the first one after the braces counts.
        let end = text.find("}}").map_or(0, |at| at + 2);
        let (left, rest) = text.split_at(end);
        let rest = rest.trim_start();
        let operators = [("==", true), ("!=", false)];
        let found =
            operators.iter().find_map(|(sign, equal)| rest.strip_prefix(sign).map(|right| (right.trim(), *equal)));
        match (whole(left), found) {
            (Some(left), Some((right, equal))) if in_text(right).is_ok_and(|names| names.is_empty()) => {
                Ok(Self::Compare { left, equal, right: literal(right) })
            }
            _ => Err(Fault::new(Code::GraphInvalid, format!("`when` can't be {text:?}."))
                .hint("Write \"{{step.output}} == value\", \"{{step.output}} != value\" or \"always\".")),
        }
    }

    /// Whether the step is to run, given that what it needs has succeeded. An output that is not there is empty.
    pub(crate) fn holds(&self, outputs: &Outputs) -> bool {
        match self {
            Self::Needed | Self::Always => true,
            Self::Compare { left, equal, right } => {
                let value = left.find(outputs).unwrap_or(&Value::Null);
                same(value, right) == *equal
            }
        }
    }

    /// The step and output that it looks at.
    pub(crate) const fn reference(&self) -> Option<&Reference> {
        match self {
            Self::Compare { left, .. } => Some(left),
            _ => None,
        }
    }
}

/// A value may be quoted, which is needed only for spaces at its ends.
fn literal(text: &str) -> String {
    match serde_json::from_str(text) {
        Ok(Value::String(inner)) => inner,
        _ => text.to_owned(),
    }
}

fn same(value: &Value, text: &str) -> bool {
    if as_text(value) == text {
        return true;
    }
    let number = text.parse::<f64>().ok();
    value.as_f64().is_some_and(|left| number.is_some_and(|right| left.total_cmp(&right).is_eq()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn outputs() -> Outputs {
        let outputs = json!({ "ok": true, "n": 1, "text": "a == b", "empty": "" });
        [("a".to_owned(), outputs.as_object().unwrap().clone())].into()
    }

    #[test]
    fn comparisons_hold_or_not() {
        for (text, expected) in [
            ("{{a.ok}} == true", true),
            ("{{ a.ok }}==false", false),
            ("{{a.n}} == 1.0", true),
            ("{{a.n}} != 1", false),
            ("{{a.text}} == a == b", true),
            ("{{a.text}} != \"a == b\"", false),
            ("{{a.empty}} == \"\"", true),
            ("{{a.missing}} ==", true),
            ("{{a.missing}} != x", true),
            ("always", true),
        ] {
            assert_eq!(When::parse(Some(text)).unwrap().holds(&outputs()), expected, "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_the_forms() {
        for bad in ["", "never", "{{a.ok}}", "{{a.ok}} > 1", "true == {{a.ok}}", "{{a.ok}} == {{a.n}}", "{{a}} == 1"] {
            let fault = When::parse(Some(bad)).unwrap_err();
            assert_eq!(fault.code(), Code::GraphInvalid, "{bad}");
            assert!(fault.hints()[0].contains("always"));
        }
    }
}
