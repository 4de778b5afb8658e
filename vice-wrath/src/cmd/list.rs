//! `vice wrath PROJECT --list`: what the checks do, without running them.

use serde_json::{Value, json};
use vice_core::id::Scope;
use vice_core::manifest::{CheckSpec, Project};
use vice_core::text::{Table, Tone};
use vice_core::ui::Outcome;
use vice_core::{Code, Fault, Result};

use crate::http::method;

/// The checks that were asked for.
pub(super) fn list(project: &Project, scope: &Scope, only: &[String], tags: &[String]) -> Result<Outcome> {
    let checks = &project.manifest.check;
    if let Some(name) = only.iter().find(|name| !checks.contains_key(name.as_str())) {
        let known: Vec<&str> = checks.keys().map(String::as_str).collect();
        return Err(Fault::new(Code::UnknownName, format!("There is no check {name:?}."))
            .hint(format!("Known: {}.", known.join(", "))));
    }
    let mut table = Table::with_heading(&["check", "looks at", "expects", "needs", "tags"]);
    let mut rows = Vec::new();
    for (name, spec) in checks {
        let asked = (only.is_empty() || only.contains(name))
            && (tags.is_empty() || spec.tags.iter().any(|tag| tags.contains(tag)));
        if !asked {
            continue;
        }
        let kind = spec.kind().unwrap_or_default();
        let expects = expectations(spec);
        table.row([
            (Tone::Strong, name.clone()),
            (Tone::Plain, format!("{kind} {}", subject(spec))),
            (Tone::Plain, expects.join(", ")),
            (Tone::Plain, spec.needs.join(", ")),
            (Tone::Faint, spec.tags.join(", ")),
        ]);
        rows.push(json!({
            "name": name, "kind": kind, "subject": subject(spec), "expects": expects,
            "needs": spec.needs, "tags": spec.tags,
            "applies": spec.only.is_empty() || spec.only.contains(&scope.env),
        }));
    }
    Ok(Outcome::done(table.render(), json!({ "scope": scope, "checks": Value::Array(rows) })))
}

fn subject(spec: &CheckSpec) -> String {
    match (&spec.http, &spec.tcp, &spec.command) {
        (Some(url), _, _) => format!("{} {}", method(spec), crate::http::shown_url(url)),
        (_, Some(address), _) => address.clone(),
        (_, _, Some(command)) => command.0.join(" "),
        _ => spec.scenario.clone().unwrap_or_default(),
    }
}

/// What must hold, in short.
fn expectations(spec: &CheckSpec) -> Vec<String> {
    let mut all = Vec::new();
    if spec.http.is_some() {
        all.push(format!("status {}", spec.status.unwrap_or(crate::http::STATUS_DEFAULT)));
    } else if spec.tcp.is_some() {
        all.push("a connection".to_owned());
    } else if spec.scenario.is_some() {
        all.push("that it passes".to_owned());
    } else {
        all.push("exit status 0".to_owned());
    }
    all.extend(spec.expect_headers.keys().map(|name| format!("header {name}")));
    all.extend(spec.json.keys().map(|pointer| format!("json {pointer}")));
    all.extend(spec.matches.iter().flat_map(|matches| &matches.0).map(|pattern| format!("/{pattern}/")));
    all.extend(spec.latency_max.map(|limit| format!("within {limit}")));
    all.extend(spec.tls_expiry_min.map(|least| format!("certificate for {least}")));
    all
}
