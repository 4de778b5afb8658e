//! What an action takes and gives, read from its JSON Schemas.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// The names of the properties, in order; none when the schema does not name any.
pub(crate) fn properties(schema: &Value) -> Option<Vec<&str>> {
    schema["properties"].as_object().map(|fields| fields.keys().map(String::as_str).collect())
}

/// Whether a property of this name is possible.
pub(crate) fn allows(schema: &Value, name: &str) -> bool {
    match properties(schema) {
        Some(names) if names.contains(&name) => true,
        Some(_) => schema.get("additionalProperties").is_some_and(|more| *more != json!(false)),
        None => schema["additionalProperties"] != json!(false),
    }
}

/// Whether the schema names an output or leaves its outputs open by naming none.
pub(crate) fn gives(schema: &Value, name: &str) -> bool {
    properties(schema).is_none_or(|names| names.contains(&name))
}

/// The properties that must be there.
pub(crate) fn required(schema: &Value) -> Vec<&str> {
    schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The JSON types that a property may have; none when that is not said by `type`.
pub(crate) fn types<'a>(schema: &'a Value, name: &str) -> Option<BTreeSet<&'a str>> {
    match &schema["properties"][name]["type"] {
        Value::String(one) => Some(BTreeSet::from([one.as_str()])),
        Value::Array(many) => Some(many.iter().filter_map(Value::as_str).collect()),
        _ => None,
    }
}

/// Whether a value of one of the types `from` can be one of the types `to`.
pub(crate) fn compatible(from: &BTreeSet<&str>, to: &BTreeSet<&str>) -> bool {
    let number = |set: &BTreeSet<&str>| set.contains("number") || set.contains("integer");
    !from.is_disjoint(to) || (number(from) && number(to))
}

/// Why one literal value does not fit the property; none when it fits or when the schema itself is broken, which
/// is found when the whole input is checked.
pub(crate) fn misfit(schema: &Value, name: &str, value: &Value) -> Option<String> {
    let mut alone = schema.clone();
    if let Some(fields) = alone.as_object_mut() {
        fields.remove("required");
    }
    let input = Map::from_iter([(name.to_owned(), value.clone())]);
    problem(&alone, &Value::Object(input))
}

/// Why a whole input does not fit; none when it fits.
pub(crate) fn problem(schema: &Value, input: &Value) -> Option<String> {
    match jsonschema::validator_for(schema) {
        Ok(validator) => validator.iter_errors(input).next().map(|error| error.to_string()),
        Err(error) => Some(format!("the schema itself is broken: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "n": { "type": "integer" },
                "level": { "enum": ["low", "high"] },
                "id": { "$ref": "#/$defs/id" },
                "maybe": { "type": ["string", "null"] },
            },
            "required": ["n"],
            "additionalProperties": false,
            "$defs": { "id": { "type": "string", "minLength": 2 } },
        })
    }

    #[test]
    fn names_and_types_are_read() {
        let schema = schema();
        assert!(allows(&schema, "n") && !allows(&schema, "m"));
        assert!(allows(&json!({}), "anything") && gives(&json!({}), "anything"));
        assert_eq!(required(&schema), ["n"]);
        assert_eq!(types(&schema, "maybe"), Some(BTreeSet::from(["null", "string"])));
        assert_eq!(types(&schema, "level"), None);
        assert!(compatible(&BTreeSet::from(["integer"]), &BTreeSet::from(["number"])));
        assert!(!compatible(&BTreeSet::from(["integer"]), &BTreeSet::from(["string", "null"])));
    }

    #[test]
    fn one_literal_is_checked_alone_with_its_definitions() {
        let schema = schema();
        assert_eq!(misfit(&schema, "level", &json!("high")), None);
        assert!(misfit(&schema, "level", &json!("middle")).is_some());
        assert!(misfit(&schema, "id", &json!("x")).is_some());
        assert_eq!(misfit(&schema, "id", &json!("xy")), None);
        assert!(problem(&schema, &json!({})).is_some());
    }
}
