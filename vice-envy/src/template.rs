//! Handlebars templates of files: strict, without escaping, without partials. Every name is checked before anything is
//! rendered, because handlebars itself misses names in conditions. Rendering is a pure function of the template and the
//! values.

use handlebars::template::{HelperTemplate, Parameter, TemplateElement};
use handlebars::{Handlebars, Helper, HelperDef, Path, PathSeg, RenderContext, RenderError, ScopedJson, Template};
use serde_json::{Map, Value};
use vice_core::suggest::nearest;
use vice_core::{Code, Fault, Result};

use crate::render::as_text;

/// The helpers that hand a value over in the syntax of a file.
const SYNTAX: [&str; 4] = ["json", "toml", "yaml", "shell"];
/// All helpers.
const HELPERS: [&str; 18] = [
    "if", "unless", "each", "with", "lookup", "eq", "ne", "gt", "gte", "lt", "lte", "and", "or", "not", "len",
    "default", "base64", "json",
];

/// A template that parses.
pub(crate) struct Text<'t> {
    /// What people call it.
    name: &'t str,
    source: &'t str,
    template: Template,
}

/// A name that a template uses, and the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) name: String,
    /// Whether it is fine if it does not exist: it stands in `default`.
    pub(crate) optional: bool,
}

impl<'t> Text<'t> {
    /// Parses a template.
    pub(crate) fn parse(name: &'t str, source: &'t str) -> Result<Self> {
        let template = Template::compile(source).map_err(|error| {
            let line = error.to_string().lines().next().unwrap_or_default().to_owned();
            Fault::new(Code::Template, format!("The template {name} does not parse.")).because(line)
        })?;
        Ok(Self { name, source, template })
    }

    /// The names of the outermost scope that it uses, in order. Inside of `each` and `with` names are relative, and
    /// what they are can be told only while rendering.
    pub(crate) fn uses(&self) -> Result<Vec<Use>> {
        let mut found = Vec::new();
        self.elements(&self.template, true, &mut found)?;
        Ok(found)
    }

    /// Fails for the first name that does not exist.
    pub(crate) fn check(&self, values: &Map<String, Value>) -> Result<()> {
        for used in self.uses()? {
            if !used.optional && find(values, &used.name).is_none() {
                return Err(self.unknown(&used.name, values));
            }
        }
        Ok(())
    }

    fn unknown(&self, name: &str, values: &Map<String, Value>) -> Fault {
        let mut known = Vec::new();
        names(values, "", &mut known);
        let message = format!("The template {} uses {name}, which does not exist.", self.name);
        let fault = Fault::new(Code::Template, message).detail("key", name);
        match nearest(name, known.iter().map(String::as_str)) {
            Some(near) => fault.hint(format!("Did you mean {near}?")),
            None => fault.hint("`vice envy` shows all keys; {{default NAME \"…\"}} stands for what may be absent."),
        }
    }

    /// The text with the values in it.
    pub(crate) fn render(&self, values: &Map<String, Value>) -> Result<String> {
        self.check(values)?;
        let mut engine = Handlebars::new();
        engine.set_strict_mode(true);
        engine.register_escape_fn(handlebars::no_escape);
        engine.unregister_helper("log");
        for syntax in SYNTAX {
            engine.register_helper(syntax, in_syntax(syntax));
        }
        engine.register_helper("default", or_default());
        engine.register_helper("base64", in_syntax("base64"));
        // The engine's words may hold a value.
        engine.render_template(self.source, values).map_err(|error| {
            let at = match (error.line_no, error.column_no) {
                (Some(line), Some(column)) => format!(" at line {line}, column {column}"),
                _ => String::new(),
            };
            Fault::new(Code::Template, format!("The template {} can't be rendered{at}.", self.name))
                .hint("A name inside of each or with may not exist, or a helper was given the wrong kind of value.")
        })
    }

    fn elements(&self, template: &Template, outer: bool, found: &mut Vec<Use>) -> Result<()> {
        template.elements.iter().try_for_each(|element| match element {
            TemplateElement::RawString(_) | TemplateElement::Comment(_) => Ok(()),
            TemplateElement::Expression(helper)
            | TemplateElement::HtmlExpression(helper)
            | TemplateElement::HelperBlock(helper) => self.expression(helper, outer, found),
            _ => Err(Fault::new(Code::Template, format!("The template {} uses a partial or a decorator.", self.name))
                .hint("Write the text itself; one template can't take in another.")),
        })
    }

    fn expression(&self, helper: &HelperTemplate, outer: bool, found: &mut Vec<Use>) -> Result<()> {
        let called = helper.block || !helper.params.is_empty() || !helper.hash.is_empty();
        let name = if called { self.called(&helper.name)? } else { String::new() };
        let optional = name == "default";
        let named = if called { None } else { Some(&helper.name) };
        for given in named.into_iter().chain(&helper.params).chain(helper.hash.values()) {
            self.parameter(given, outer, optional, found)?;
        }
        let relative = matches!(name.as_str(), "each" | "with");
        if let Some(inner) = &helper.template {
            self.elements(inner, outer && !relative, found)?;
        }
        helper.inverse.as_ref().map_or(Ok(()), |inverse| self.elements(inverse, outer, found))
    }

    fn parameter(&self, given: &Parameter, outer: bool, optional: bool, found: &mut Vec<Use>) -> Result<()> {
        match given {
            Parameter::Literal(_) => Ok(()),
            Parameter::Subexpression(inner) => match inner.as_element() {
                TemplateElement::Expression(helper) => self.expression(helper, outer, found),
                _ => Ok(()),
            },
            other => {
                let (name, root) = dotted(other);
                if (outer || root) && !name.is_empty() {
                    found.push(Use { name, optional });
                }
                Ok(())
            }
        }
    }

    fn called(&self, name: &Parameter) -> Result<String> {
        let name = dotted(name).0;
        if HELPERS.contains(&name.as_str()) || SYNTAX.contains(&name.as_str()) {
            return Ok(name);
        }
        let message = format!("The template {} uses the helper {name:?}, which does not exist.", self.name);
        let known = HELPERS.iter().chain(&SYNTAX).copied();
        let fault = Fault::new(Code::Template, message);
        Err(match nearest(&name, known) {
            Some(near) => fault.hint(format!("Did you mean {near}?")),
            None => fault.hint(format!("Known: {}, {}.", HELPERS.join(", "), SYNTAX.join(", "))),
        })
    }
}

/// The dotted name of a plain path, and whether it starts at the root whatever the scope. Empty for `this`, `@index`
/// and what else only rendering knows.
fn dotted(parameter: &Parameter) -> (String, bool) {
    let path = match parameter {
        Parameter::Name(name) => return (name.clone(), false),
        Parameter::Path(Path::Relative((segments, _))) => segments,
        _ => return (String::new(), false),
    };
    let root = matches!(path.first(), Some(PathSeg::Ruled(_))) && path.len() > 1 && is_root(&path[0]);
    let segments = if root { &path[1..] } else { &path[..] };
    let names: Option<Vec<&str>> = segments
        .iter()
        .map(|segment| match segment {
            PathSeg::Named(name) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    (names.map_or_else(String::new, |names| names.join(".")), root)
}

fn is_root(segment: &PathSeg) -> bool {
    format!("{segment:?}").contains("root")
}

/// The value of a dotted name.
pub(crate) fn find<'v>(values: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    let mut parts = name.split('.');
    let mut found = values.get(parts.next()?)?;
    for part in parts {
        found = match found {
            Value::Object(fields) => fields.get(part)?,
            Value::Array(items) => items.get(part.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(found)
}

fn names(values: &Map<String, Value>, prefix: &str, found: &mut Vec<String>) {
    for (name, value) in values {
        let name = crate::key::join(prefix, name);
        if let Value::Object(fields) = value {
            names(fields, &name, found);
        }
        found.push(name);
    }
}

/// A value in the syntax of a file.
fn written(syntax: &str, value: &Value) -> Option<String> {
    use base64::Engine as _;
    Some(match syntax {
        "toml" => ::toml::to_string(&Wrapped { v: value }).ok()?.strip_prefix("v = ")?.trim_end().to_owned(),
        "shell" => {
            let text = as_text(value);
            if text.contains('\0') {
                return None;
            }
            format!("'{}'", text.replace('\'', "'\\''"))
        }
        "base64" => base64::engine::general_purpose::STANDARD.encode(as_text(value)),
        "yaml" => crate::render::yaml_value(value),
        _ => value.to_string(),
    })
}

#[derive(serde::Serialize)]
struct Wrapped<'v> {
    v: &'v Value,
}

/// A helper that makes one value of what it is given; nothing where it can't.
struct Help<F>(F);

impl<F: Fn(&Helper<'_>) -> Option<Value> + Send + Sync> HelperDef for Help<F> {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc handlebars::Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> std::result::Result<ScopedJson<'rc>, RenderError> {
        let made = (self.0)(helper).ok_or_else(|| handlebars::RenderErrorReason::Other("no such value".to_owned()))?;
        Ok(ScopedJson::Derived(made))
    }
}

/// What a helper is given at a place, if it exists.
fn given<'h>(helper: &'h Helper<'_>, index: usize) -> Option<&'h Value> {
    helper.param(index).filter(|given| !given.is_value_missing()).map(handlebars::PathAndJson::value)
}

/// `{{json x}}` and its like.
fn in_syntax(syntax: &'static str) -> Box<dyn HelperDef + Send + Sync> {
    Box::new(Help(move |helper: &Helper<'_>| written(syntax, given(helper, 0)?).map(Value::String)))
}

/// `{{default name "text"}}`: the text where there is no such value.
fn or_default() -> Box<dyn HelperDef + Send + Sync> {
    Box::new(Help(|helper: &Helper<'_>| {
        let named = given(helper, 0).filter(|value| !value.is_null());
        Some(named.or_else(|| given(helper, 1)).cloned().unwrap_or(Value::Null))
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn values() -> Map<String, Value> {
        let values = json!({ "db": { "host": "h & <x>", "port": 5432 }, "list": [{ "n": 1 }, { "n": 2 }], "q": "it's \"\n", "on": false });
        values.as_object().unwrap().clone()
    }

    fn rendered(source: &str) -> Result<String> {
        Text::parse("t", source)?.render(&values())
    }

    #[test]
    fn values_are_written_as_they_are_or_in_a_syntax() {
        for (source, text) in [
            ("{{db.host}}:{{db.port}}", "h & <x>:5432"),
            ("{{#each list}}{{n}},{{@root.db.port}};{{/each}}", "1,5432;2,5432;"),
            ("{{#if on}}a{{else}}b{{/if}}{{#unless on}}c{{/unless}}", "bc"),
            ("{{#if (eq db.port 5432)}}y{{/if}}", "y"),
            ("{{json q}}|{{shell q}}", "\"it's \\\"\\n\"|'it'\\''s \"\n'"),
            ("{{json list}} {{yaml db.port}}", "[{\"n\":1},{\"n\":2}] 5432"),
            ("{{toml db.host}}", "\"h & <x>\""),
            ("{{base64 db.port}}", "NTQzMg=="),
            ("{{default nope \"d\"}} {{default db.port \"d\"}}", "d 5432"),
            ("{{#with db}}{{host}}{{/with}}", "h & <x>"),
        ] {
            assert_eq!(rendered(source).unwrap(), text, "{source}");
        }
    }

    #[test]
    fn unknown_names_are_found_wherever_they_stand() {
        for source in [
            "{{db.prt}}",
            "{{#if db.prt}}x{{/if}}",
            "{{#if on}}{{db.prt}}{{/if}}",
            "{{#if (eq db.prt 1)}}x{{/if}}",
            "{{json db.prt}}",
            "{{#each list}}{{json @root.db.prt}}{{/each}}",
            "{{{db.prt}}}",
        ] {
            let fault = rendered(source).unwrap_err();
            assert_eq!(fault.hints(), ["Did you mean db.port?"], "{source}: {fault:?}");
        }
        for source in ["{{#each list}}{{nope}}{{/each}}", "{{log db.host}}", "{{> part}}", "{{#if on}}", "{{nope db}}"]
        {
            assert_eq!(rendered(source).unwrap_err().code(), Code::Template, "{source}");
        }
    }
}
