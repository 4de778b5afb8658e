//! Whether the fields of a check fit together and can be understood.

use regex::Regex;
use vice_core::Result;
use vice_core::manifest::{CheckSpec, Project};
use vice_core::template::{self, Vars};

use super::invalid;

/// Refuses a check whose fields make no sense.
pub(super) fn check(project: &Project, name: &str, kind: &str, spec: &CheckSpec) -> Result<()> {
    placed(project, name, kind, spec)?;
    request(project, name, spec)?;
    answer(project, name, spec)?;
    if spec.retry_every.is_some() && spec.retry_for.is_none() {
        return Err(invalid(
            project,
            name,
            &["retry_every"],
            format!("The check {name} has retry_every but no retry_for."),
        )
        .hint("Add for example: retry_for = \"30s\"."));
    }
    Ok(())
}

/// Refuses fields of another kind of check: they would be ignored, and somebody would rely on them.
fn placed(project: &Project, name: &str, kind: &str, spec: &CheckSpec) -> Result<()> {
    let fields: [(&str, bool, &[&str]); 11] = [
        ("method", spec.method.is_some(), &["http"]),
        ("headers", !spec.headers.is_empty(), &["http"]),
        ("body", spec.body.is_some(), &["http"]),
        ("body_json", spec.body_json.is_some(), &["http"]),
        ("status", spec.status.is_some(), &["http"]),
        ("expect_headers", !spec.expect_headers.is_empty(), &["http"]),
        ("json", !spec.json.is_empty(), &["http"]),
        ("matches", spec.matches.is_some(), &["http", "command"]),
        ("latency_max", spec.latency_max.is_some(), &["http", "tcp"]),
        ("tls_expiry_min", spec.tls_expiry_min.is_some(), &["http"]),
        ("capture", !spec.capture.is_empty(), &["http"]),
    ];
    for (field, given, kinds) in fields {
        if given && !kinds.contains(&kind) {
            let message = format!("The {kind} check {name} can't have `{field}`.");
            return Err(invalid(project, name, &[field], message)
                .hint(format!("`{field}` is for checks of kind {}.", kinds.join(" and "))));
        }
    }
    Ok(())
}

fn request(project: &Project, name: &str, spec: &CheckSpec) -> Result<()> {
    if let Some(method) = &spec.method
        && (::http::Method::from_bytes(method.as_bytes()).is_err() || method == "CONNECT")
    {
        return Err(invalid(project, name, &["method"], format!("The check {name} can't use the method {method:?}.")));
    }
    if spec.body.is_some() && spec.body_json.is_some() {
        return Err(invalid(project, name, &["body"], format!("The check {name} has both body and body_json."))
            .hint("Leave one of them out."));
    }
    for header in spec.headers.keys().chain(spec.expect_headers.keys()) {
        if ::http::HeaderName::try_from(header.as_str()).is_err() {
            let field = if spec.headers.contains_key(header) { "headers" } else { "expect_headers" };
            return Err(invalid(project, name, &[field, header], format!("{header:?} can't be the name of a header.")));
        }
    }
    if let Some(url) = spec.http.as_deref().filter(|url| !url.contains("{{")) {
        crate::http::parse_url(url, spec.tls_expiry_min.is_some())
            .map_err(|why| invalid(project, name, &["http"], format!("The check {name} {why}.")))?;
    }
    if let Some(address) = spec.tcp.as_deref().filter(|address| !address.contains("{{")) {
        crate::tcp::parse_address(address)
            .map_err(|why| invalid(project, name, &["tcp"], format!("The check {name} {why}.")))?;
    }
    Ok(())
}

fn answer(project: &Project, name: &str, spec: &CheckSpec) -> Result<()> {
    if let Some(status) = spec.status.filter(|status| !(200..=599).contains(status)) {
        return Err(invalid(
            project,
            name,
            &["status"],
            format!("{status} is not a status that a server answers with."),
        )
        .hint("Statuses go from 200 to 599."));
    }
    if let Some(pointer) = spec.json.keys().find(|pointer| !pointer.is_empty() && !pointer.starts_with('/')) {
        return Err(invalid(project, name, &["json", pointer], format!("{pointer:?} is not a JSON Pointer."))
            .hint(format!("Write \"/{}\".", pointer.replace('.', "/"))));
    }
    for pattern in spec.matches.iter().flat_map(|matches| &matches.0) {
        check_pattern(project, name, &["matches"], pattern)?;
    }
    for (header, pattern) in &spec.expect_headers {
        check_pattern(project, name, &["expect_headers", header], pattern)?;
    }
    Ok(())
}

/// Values stand for themselves in patterns, so any harmless word tells whether the pattern around them is valid.
fn check_pattern(project: &Project, name: &str, path: &[&str], pattern: &str) -> Result<()> {
    let at = |message: String| invalid(project, name, path, message);
    let names = template::names(pattern).map_err(|fault| at(format!("{fault}")))?;
    let vars: Vars = names.into_iter().map(|name| (name, "x".to_owned())).collect();
    let filled = template::render(pattern, &vars).map_err(|fault| at(format!("{fault}")))?;
    match Regex::new(&filled) {
        Ok(_) => Ok(()),
        Err(error) => {
            Err(at(format!("The check {name} has a pattern that is not a regular expression.")).because(error))
        }
    }
}
