//! The small templates of `vice.toml`: `{{name}}` with dotted names, nothing else. No logic, no helpers, no second
//! evaluation: a value that contains `{{…}}` stays as it is. An unknown name is an error that lists near ones.

use std::collections::BTreeMap;

use crate::fault::{Code, Fault, Result};
use crate::suggest::nearest;

/// The variables of a template by their dotted names.
pub type Vars = BTreeMap<String, String>;

/// The names that a template uses, in order of appearance.
///
/// # Errors
/// [`Code::Template`] when braces are not closed.
pub fn names(template: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    expand(template, |name| {
        found.push(name.to_owned());
        Ok(String::new())
    })?;
    Ok(found)
}

/// Replaces every `{{name}}` by its value.
///
/// # Errors
/// [`Code::Template`] when a name is unknown or braces are not closed.
pub fn render(template: &str, vars: &Vars) -> Result<String> {
    expand(template, |name| vars.get(name).cloned().ok_or_else(|| unknown(template, name, vars)))
}

fn unknown(template: &str, name: &str, vars: &Vars) -> Fault {
    let fault = Fault::new(Code::Template, format!("{template:?} uses {{{{{name}}}}}, which is not known here."));
    match nearest(name, vars.keys().map(String::as_str)) {
        Some(near) => fault.hint(format!("Did you mean {{{{{near}}}}}?")),
        None if vars.is_empty() => fault.hint("No variables are known here."),
        None => fault.hint(format!("Known names: {}.", vars.keys().cloned().collect::<Vec<_>>().join(", "))),
    }
}

fn expand(template: &str, mut value_of: impl FnMut(&str) -> Result<String>) -> Result<String> {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find("{{") {
        out.push_str(&rest[..start]);
        let after = &rest[start + 2..];
        let Some(end) = after.find("}}") else {
            return Err(Fault::new(Code::Template, format!("{template:?} opens {{{{ and does not close it."))
                .hint("Write {{name}}."));
        };
        out.push_str(&value_of(after[..end].trim())?);
        rest = &after[end + 2..];
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars() -> Vars {
        [("version", "1.2"), ("env.url", "http://x/{{version}}")].map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    }

    #[test]
    fn names_are_replaced_once() {
        assert_eq!(render("a-{{version}}.tar {{ env.url }}", &vars()).unwrap(), "a-1.2.tar http://x/{{version}}");
    }

    #[test]
    fn unknown_names_suggest_the_nearest() {
        let fault = render("{{verson}}", &vars()).unwrap_err();
        assert_eq!(fault.code(), Code::Template);
        assert_eq!(fault.hints(), ["Did you mean {{version}}?"]);
    }

    #[test]
    fn open_braces_are_an_error() {
        assert!(render("x {{version", &vars()).is_err());
        assert_eq!(names("{{a}} {{b.c}}").unwrap(), ["a", "b.c"]);
    }
}
