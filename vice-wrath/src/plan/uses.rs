//! Which names a check uses in its templates, where, and whether they exist.

use serde_json::Value;
use vice_core::manifest::{CheckSpec, Project};
use vice_core::suggest::nearest;
use vice_core::template;
use vice_core::{Code, Fault, Result};

use super::{Planned, invalid};
use crate::values::Values;

/// A template of a check with its path below `[check.<name>]`.
struct Templated<'a> {
    path: Vec<&'a str>,
    text: &'a str,
}

fn templates(spec: &CheckSpec) -> Vec<Templated<'_>> {
    let mut all = Vec::new();
    let single = [("http", spec.http.as_deref()), ("tcp", spec.tcp.as_deref()), ("body", spec.body.as_deref())];
    all.extend(single.into_iter().filter_map(|(field, text)| Some(Templated { path: vec![field], text: text? })));
    for (field, map) in [("headers", &spec.headers), ("expect_headers", &spec.expect_headers)] {
        all.extend(map.iter().map(|(key, text)| Templated { path: vec![field, key.as_str()], text }));
    }
    let commands = spec.command.iter().flat_map(|command| &command.0);
    all.extend(commands.map(|text| Templated { path: vec!["command"], text }));
    let patterns = spec.matches.iter().flat_map(|matches| &matches.0);
    all.extend(patterns.map(|text| Templated { path: vec!["matches"], text }));
    if let Some(body) = &spec.body_json {
        in_json(&["body_json"], body, &mut all);
    }
    for (pointer, value) in &spec.json {
        in_json(&["json", pointer], value, &mut all);
    }
    all
}

fn in_json<'a>(path: &[&'a str], value: &'a Value, all: &mut Vec<Templated<'a>>) {
    match value {
        Value::String(text) => all.push(Templated { path: path.to_vec(), text }),
        Value::Array(items) => items.iter().for_each(|item| in_json(path, item, all)),
        Value::Object(fields) => fields.values().for_each(|field| in_json(path, field, all)),
        _ => {}
    }
}

/// All names that a check uses. Templates that are not valid are left to [`known`].
pub(crate) fn names(spec: &CheckSpec) -> Vec<String> {
    templates(spec).iter().flat_map(|templated| template::names(templated.text).unwrap_or_default()).collect()
}

/// Refuses names that neither the run nor another check provides, and secrets in the arguments of commands.
pub(super) fn known(project: &Project, check: &Planned, values: &Values, all: &[Planned]) -> Result<()> {
    let captures = || all.iter().flat_map(|other| &other.captures);
    for templated in templates(&check.spec) {
        let names = template::names(templated.text).map_err(|fault| {
            invalid(project, &check.name, &templated.path, format!("{fault}")).hint("Write {{name}}.")
        })?;
        for name in names {
            let capture = captures().find(|capture| capture.name == name);
            if capture.is_none() && !values.knows(&name) {
                return Err(unknown(project, check, &templated.path, &name, values, all));
            }
            let secret = values.is_secret(&name) || capture.is_some_and(|capture| capture.secret);
            if secret && templated.path == ["command"] {
                return Err(in_argv(project, check, &name, capture.is_some()));
            }
        }
    }
    Ok(())
}

fn unknown(project: &Project, check: &Planned, path: &[&str], name: &str, values: &Values, all: &[Planned]) -> Fault {
    let message = format!("The check {} uses {{{{{name}}}}}, which is not known here.", check.name);
    let fault = invalid(project, &check.name, path, message);
    let captured = all.iter().flat_map(|other| &other.captures).map(|capture| capture.name.as_str());
    let known: Vec<&str> = values.names().chain(captured).collect();
    if matches!(name, "version" | "env.url") {
        return fault.hint(format!("Nothing of {} is deployed yet: run `vice deploy {0}`.", project.name()));
    }
    match nearest(name, known.iter().copied()) {
        Some(near) => fault.hint(format!("Did you mean {{{{{near}}}}}?")),
        None => fault.hint(format!("Known names: {}.", known.join(", "))),
    }
}

/// Other users of the machine can read the arguments of a process, but not its environment.
fn in_argv(project: &Project, check: &Planned, name: &str, captured: bool) -> Fault {
    let variable = match name.strip_prefix("config.") {
        Some(key) if !captured => vice_core::port::config::variable_name(key),
        _ => crate::command::capture_variable(name),
    };
    let message = format!("The check {} would pass the secret {{{{{name}}}}} as an argument.", check.name);
    Fault::new(Code::ManifestInvalid, message)
        .at(project.place(&["check", &check.name, "command"], "arguments can be read by other users of the machine"))
        .hint(format!("The command finds it in its environment as {variable}."))
}
