//! Templates of titles and texts: handlebars without escaping and without logic beyond comparisons. Handlebars' own
//! strict mode misses names in conditions, so every name is checked before anything is rendered; rendering is then a
//! pure function of the template and the facts.

use handlebars::template::{HelperTemplate, Parameter, TemplateElement};
use handlebars::{
    Context, Handlebars, Helper, HelperDef, Path, PathSeg, RenderContext, RenderError, ScopedJson, Template,
};
use serde_json::Value;
use vice_core::suggest::nearest;
use vice_core::{Code, Context as _, Fault, Result};

use crate::facts::Facts;

/// The names that templates can use.
pub(crate) const NAMES: [&str; 16] = [
    "project",
    "env",
    "version",
    "previous_version",
    "outcome",
    "reason",
    "actor",
    "rollout",
    "took",
    "title_default",
    "word",
    "severity",
    "event.id",
    "event.type",
    "event.time",
    "event.subject",
];

const HELPERS: [&str; 8] = ["if", "unless", "eq", "ne", "and", "or", "not", "default"];

/// Checks every name and helper of a template.
///
/// # Errors
/// `Template`, with the nearest known name.
pub(crate) fn check(template: &str) -> Result<()> {
    let parsed = Template::compile(template).map_err(|error| {
        let line = error.to_string().lines().next().unwrap_or_default().to_owned();
        Fault::new(Code::Template, format!("The template {template:?} does not parse.")).because(line)
    })?;
    elements(template, &parsed)
}

/// Renders a template.
///
/// # Errors
/// `Template` when it does not parse or names something unknown.
pub(crate) fn render(template: &str, facts: &Facts) -> Result<String> {
    check(template)?;
    let mut handlebars = Handlebars::new();
    handlebars.set_strict_mode(true);
    handlebars.register_escape_fn(handlebars::no_escape);
    handlebars.unregister_helper("log");
    handlebars.register_helper("default", Box::new(DefaultHelper));
    handlebars
        .render_template(template, facts)
        .context(Code::Template, || format!("The template {template:?} can't be rendered."))
}

fn elements(source: &str, template: &Template) -> Result<()> {
    template.elements.iter().try_for_each(|element| match element {
        TemplateElement::RawString(_) | TemplateElement::Comment(_) => Ok(()),
        TemplateElement::Expression(helper)
        | TemplateElement::HtmlExpression(helper)
        | TemplateElement::HelperBlock(helper) => expression(source, helper),
        _ => Err(Fault::new(Code::Template, format!("The template {source:?} uses a partial or a decorator."))
            .hint("Only names, conditions and comparisons are known here.")),
    })
}

fn expression(source: &str, helper: &HelperTemplate) -> Result<()> {
    if helper.block || !helper.params.is_empty() {
        called(source, &helper.name)?;
    } else {
        parameter(source, &helper.name)?;
    }
    for given in helper.params.iter().chain(helper.hash.values()) {
        parameter(source, given)?;
    }
    let inner = [&helper.template, &helper.inverse];
    inner.into_iter().flatten().try_for_each(|template| elements(source, template))
}

fn parameter(source: &str, parameter: &Parameter) -> Result<()> {
    match parameter {
        Parameter::Literal(_) => Ok(()),
        Parameter::Subexpression(inner) => match inner.as_element() {
            TemplateElement::Expression(helper) => {
                called(source, &helper.name)?;
                helper.params.iter().chain(helper.hash.values()).try_for_each(|given| self::parameter(source, given))
            }
            _ => Ok(()),
        },
        Parameter::Path(_) | Parameter::Name(_) => known(source, &dotted(parameter), &NAMES, "name"),
        _ => Err(Fault::new(Code::Template, format!("The template {source:?} has something that vice does not know."))),
    }
}

fn called(source: &str, name: &Parameter) -> Result<()> {
    known(source, &dotted(name), &HELPERS, "helper")
}

/// The dotted form of a plain path; whatever else there is keeps its own text, which no known name equals.
fn dotted(parameter: &Parameter) -> String {
    match parameter {
        Parameter::Name(name) => name.clone(),
        Parameter::Path(Path::Relative((segments, raw))) => {
            let names: Option<Vec<&str>> = segments.iter().map(named).collect();
            names.map_or_else(|| raw.clone(), |names| names.join("."))
        }
        Parameter::Path(Path::Local((_, _, raw))) => raw.clone(),
        _ => String::new(),
    }
}

fn named(segment: &PathSeg) -> Option<&str> {
    match segment {
        PathSeg::Named(name) => Some(name),
        _ => None,
    }
}

fn known(source: &str, name: &str, all: &[&str], what: &str) -> Result<()> {
    if all.contains(&name) {
        return Ok(());
    }
    let fault =
        Fault::new(Code::Template, format!("The template {source:?} uses the {what} {name:?}, which does not exist."));
    Err(match nearest(name, all.iter().copied()) {
        Some(near) => fault.hint(format!("Did you mean {near}?")),
        None => fault.hint(format!("Known: {}.", all.join(", "))),
    })
}

/// `{{default name "text"}}`: the text where the fact is empty.
struct DefaultHelper;

impl HelperDef for DefaultHelper {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> std::result::Result<ScopedJson<'rc>, RenderError> {
        let text = |index| helper.param(index).map(|given| given.value().clone()).unwrap_or(Value::Null);
        let value = text(0);
        let empty = value.as_str().is_some_and(str::is_empty) || value.is_null();
        Ok(ScopedJson::Derived(if empty { text(1) } else { value }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts { project: "shop & <co>".into(), version: "2".into(), ..Facts::default() }
    }

    #[test]
    fn values_are_rendered_as_they_are_and_only_once() {
        let facts = Facts { reason: "{{project}}".into(), ..facts() };
        assert_eq!(render("{{project}} {{version}} {{reason}}", &facts).unwrap(), "shop & <co> 2 {{project}}");
        assert_eq!(render("{{event.id}}{{#if env}}x{{else}}y{{/if}}", &facts).unwrap(), "y");
        assert_eq!(render("{{default env \"nowhere\"}} {{default version \"?\"}}", &facts).unwrap(), "nowhere 2");
        assert_eq!(render("{{#if (eq version \"2\")}}two{{/if}}", &facts).unwrap(), "two");
    }

    #[test]
    fn every_listed_name_renders() {
        for name in NAMES {
            render(&format!("{{{{{name}}}}}"), &facts()).unwrap();
        }
    }

    #[test]
    fn unknown_names_are_found_wherever_they_stand() {
        for template in [
            "{{verson}}",
            "{{#if verson}}x{{/if}}",
            "{{#unless verson}}x{{/unless}}",
            "{{#if (eq verson \"1\")}}x{{/if}}",
            "{{#if env}}{{verson}}{{/if}}",
            "{{#if env}}x{{else}}{{verson}}{{/if}}",
            "{{default verson \"x\"}}",
            "{{{verson}}}",
        ] {
            let fault = check(template).unwrap_err();
            assert_eq!(fault.code(), Code::Template, "{template}");
            assert_eq!(fault.hints(), ["Did you mean version?"], "{template}");
        }
    }

    #[test]
    fn only_the_listed_helpers_exist() {
        for template in [
            "{{log \"x\"}}",
            "{{#each project}}x{{/each}}",
            "{{lookup event \"id\"}}",
            "{{> part}}",
            "{{this}}",
            "{{../env}}",
            "{{@root.env}}",
            "{{event}}",
        ] {
            assert_eq!(check(template).unwrap_err().code(), Code::Template, "{template}");
        }
        assert_eq!(check("{{#if env}}x").unwrap_err().code(), Code::Template);
    }
}
