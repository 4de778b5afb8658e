//! `{{step.output}}` inside values. A text that is exactly one reference becomes the output with its type; inside
//! other text the output is rendered as text. What an output contains is never looked at again.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use vice_core::template::{self, Vars};
use vice_core::{Code, Fault, Result};

/// The name of an output of a step.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reference {
    /// The step.
    pub(crate) step: String,
    /// Its output.
    pub(crate) output: String,
}

/// The outputs of the steps that have succeeded, by step.
pub(crate) type Outputs = BTreeMap<String, Map<String, Value>>;

impl Reference {
    fn parse(name: &str) -> Result<Self> {
        match name.split_once('.') {
            Some((step, output)) if !step.is_empty() && !output.is_empty() => {
                Ok(Self { step: step.to_owned(), output: output.to_owned() })
            }
            _ => Err(Fault::new(Code::GraphInvalid, format!("{{{{{name}}}}} does not name an output of a step."))
                .hint("Write {{step.output}}.")),
        }
    }

    /// The value, if the step gave it.
    pub(crate) fn find<'a>(&self, outputs: &'a Outputs) -> Option<&'a Value> {
        outputs.get(&self.step)?.get(&self.output)
    }
}

/// The references in a text, in order of appearance.
pub(crate) fn in_text(text: &str) -> Result<Vec<Reference>> {
    template::names(text)?.iter().map(|name| Reference::parse(name)).collect()
}

/// The references anywhere in a value.
pub(crate) fn in_value(value: &Value) -> Result<Vec<Reference>> {
    match value {
        Value::String(text) => in_text(text),
        Value::Array(items) => collect(items.iter()),
        Value::Object(fields) => collect(fields.values()),
        _ => Ok(Vec::new()),
    }
}

fn collect<'a>(values: impl Iterator<Item = &'a Value>) -> Result<Vec<Reference>> {
    let mut all = Vec::new();
    for value in values {
        all.extend(in_value(value)?);
    }
    Ok(all)
}

/// The reference that a text is exactly, if it is.
pub(crate) fn whole(text: &str) -> Option<Reference> {
    let inner = text.strip_prefix("{{")?.strip_suffix("}}")?;
    if inner.contains("{{") || inner.contains("}}") {
        return None;
    }
    Reference::parse(inner.trim()).ok()
}

/// A value as it stands in text: texts as they are, nothing for null, JSON for the rest.
pub(crate) fn as_text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A text with its references replaced. With `lenient` an output that is not there is empty, else it is an error.
pub(crate) fn render(text: &str, outputs: &Outputs, lenient: bool) -> Result<String> {
    let mut vars = Vars::new();
    for name in template::names(text)? {
        let value = lookup(&Reference::parse(&name)?, outputs, lenient)?;
        vars.insert(name, as_text(value));
    }
    template::render(text, &vars)
}

/// A value with its references replaced.
pub(crate) fn resolve(value: &Value, outputs: &Outputs, lenient: bool) -> Result<Value> {
    Ok(match value {
        Value::String(text) => match whole(text) {
            Some(reference) => lookup(&reference, outputs, lenient)?.clone(),
            None => Value::String(render(text, outputs, lenient)?),
        },
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| resolve(item, outputs, lenient)).collect::<Result<_>>()?)
        }
        Value::Object(fields) => {
            let resolved = fields.iter().map(|(key, field)| Ok((key.clone(), resolve(field, outputs, lenient)?)));
            Value::Object(resolved.collect::<Result<_>>()?)
        }
        other => other.clone(),
    })
}

fn lookup<'a>(reference: &Reference, outputs: &'a Outputs, lenient: bool) -> Result<&'a Value> {
    match reference.find(outputs) {
        Some(value) => Ok(value),
        None if lenient => Ok(&Value::Null),
        None => {
            let Reference { step, output } = reference;
            Err(Fault::new(Code::GraphFailed, format!("The step {step} did not give its output {output}.")))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn outputs() -> Outputs {
        let outputs = json!({ "count": 3, "name": "a {{b.count}}", "list": [1, 2] });
        [("b".to_owned(), outputs.as_object().unwrap().clone())].into()
    }

    #[test]
    fn a_whole_reference_keeps_its_type_and_text_is_rendered() {
        let value = json!({ "n": "{{b.count}}", "t": "n={{ b.count }}", "deep": ["{{b.list}}", "{{b.list}}!"] });
        let resolved = resolve(&value, &outputs(), false).unwrap();
        assert_eq!(resolved, json!({ "n": 3, "t": "n=3", "deep": [[1, 2], "[1,2]!"] }));
    }

    #[test]
    fn an_output_is_never_evaluated_again() {
        let resolved = resolve(&json!(["{{b.name}}", "x {{b.name}}"]), &outputs(), false).unwrap();
        assert_eq!(resolved, json!(["a {{b.count}}", "x a {{b.count}}"]));
    }

    #[test]
    fn two_references_are_not_a_whole_one() {
        assert_eq!(whole("{{a.x}}{{b.y}}"), None);
        assert_eq!(render("{{b.count}}{{b.count}}", &outputs(), false).unwrap(), "33");
    }

    #[test]
    fn a_missing_output_is_an_error_unless_lenient() {
        assert_eq!(render("{{b.other}}", &outputs(), false).unwrap_err().code(), Code::GraphFailed);
        assert_eq!(render("<{{b.other}}>", &outputs(), true).unwrap(), "<>");
        assert_eq!(resolve(&json!("{{c.x}}"), &outputs(), true).unwrap(), Value::Null);
    }
}
