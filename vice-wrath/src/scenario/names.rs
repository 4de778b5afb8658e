//! Which names the steps of a scenario use, and which they provide.

use std::collections::BTreeSet;

use vice_core::template;

use super::{Action, Body, PartContent, Scenario, Spot, Step};
use crate::query::Filter;
use crate::values::templates_in;

/// The templates of a step, each with where to look for it.
pub(crate) fn templates(step: &Step) -> Vec<(&str, &Spot)> {
    let mut out: Vec<&str> = Vec::new();
    action(&step.action, &mut out);
    let mut all: Vec<(&str, &Spot)> = out.into_iter().map(|text| (text, &step.spot)).collect();
    for assertion in &step.expect {
        let mut inner: Vec<&str> = assertion.query.template().into_iter().collect();
        filters(&assertion.filters, &mut inner);
        assertion.predicate.op.templates(&mut inner);
        all.extend(inner.into_iter().map(|text| (text, &assertion.spot)));
    }
    for capture in &step.captures {
        let mut inner: Vec<&str> = capture.query.template().into_iter().collect();
        filters(&capture.filters, &mut inner);
        all.extend(inner.into_iter().map(|text| (text, &capture.spot)));
    }
    all
}

fn filters<'a>(all: &'a [Filter], out: &mut Vec<&'a str>) {
    for filter in all {
        match filter {
            Filter::Regex(text) | Filter::Split(text) | Filter::JsonPath(text) | Filter::Xpath(text) => out.push(text),
            Filter::Replace(old, new) | Filter::ReplaceRegex(old, new) => out.extend([old.as_str(), new]),
            _ => {}
        }
    }
}

fn action<'a>(action: &'a Action, out: &mut Vec<&'a str>) {
    match action {
        Action::Http(http) => {
            out.push(&http.url);
            out.push(&http.method);
            let pairs = http.query.iter().chain(&http.headers).chain(&http.cookies).chain(&http.basic);
            out.extend(pairs.flat_map(|(name, value)| [name.as_str(), value]));
            out.extend(http.ca.as_deref());
            body(&http.body, out);
        }
        Action::Tcp { address, send } => {
            out.push(address);
            out.extend(send.as_deref());
        }
        Action::Tls { address, server_name, ca, .. } => {
            out.push(address);
            out.extend(server_name.as_deref());
            out.extend(ca.as_deref());
        }
        Action::Dns { name, server, .. } => {
            out.push(name);
            out.extend(server.as_deref());
        }
        Action::Postgres { url, query } => {
            out.push(url);
            out.extend(query.as_deref());
        }
        Action::Command { argv, stdin } => {
            out.extend(argv.iter().map(String::as_str));
            out.extend(stdin.as_deref());
        }
    }
}

fn body<'a>(body: &'a Body, out: &mut Vec<&'a str>) {
    match body {
        Body::None => {}
        Body::Text(text) | Body::File(text) => out.push(text),
        Body::Json(value) => templates_in(value, out),
        Body::Form(fields) => out.extend(fields.iter().flat_map(|(name, value)| [name.as_str(), value])),
        Body::Multipart(parts) => out.extend(parts.iter().map(|part| match &part.content {
            PartContent::Text(text) | PartContent::File(text) => text.as_str(),
        })),
    }
}

/// The names that a step uses.
pub(crate) fn used(step: &Step) -> BTreeSet<String> {
    templates(step).into_iter().flat_map(|(text, _)| template::names(text).unwrap_or_default()).collect()
}

/// The names that a scenario uses and does not provide itself.
pub(crate) fn foreign(scenario: &Scenario) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = scenario.all_steps().flat_map(used).collect();
    for (_, value) in &scenario.vars {
        let mut texts = Vec::new();
        templates_in(value, &mut texts);
        names.extend(texts.into_iter().flat_map(|text| template::names(text).unwrap_or_default()));
    }
    let own = provided(scenario);
    names.retain(|name| !own.contains(name.as_str()));
    names
}

/// The names that a scenario provides: variables, columns and captures.
pub(crate) fn provided(scenario: &Scenario) -> BTreeSet<&str> {
    let mut own: BTreeSet<&str> = scenario.vars.iter().map(|(name, _)| name.as_str()).collect();
    own.extend(scenario.rows.iter().flat_map(|row| row.values.keys().map(String::as_str)));
    own.extend(scenario.all_steps().flat_map(|step| &step.captures).map(|capture| capture.name.as_str()));
    own
}
