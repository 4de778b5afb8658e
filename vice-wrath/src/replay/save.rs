//! A difference as checks that show it again: the requests that lead to it, what they take from each other, and what the
//! first version answers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;
use toml::{Table, Value};

use super::compare::{Place, Way};
use super::memory::Source;
use super::run::{Finding, Report};
use crate::recording::{Exchange, values};

/// Headers that matter to what is answered; others are of the browser that was recorded.
const KEPT: [&str; 8] = [
    "accept",
    "accept-language",
    "authorization",
    "content-type",
    "cookie",
    "if-match",
    "if-none-match",
    "x-requested-with",
];

/// The checks of all findings as a part of `vice.toml`.
pub(crate) fn scenario(exchanges: &[Exchange], sessions: &[Vec<usize>], report: &Report) -> String {
    let mut out =
        "# What differed in a replay. Each group of checks leads to one difference and expects what was answered\n\
                   # before; put it into vice.toml, or run it against the version that is to be repaired.\n"
            .to_owned();
    for (number, finding) in report.findings.iter().enumerate() {
        let Some((session, steps)) = sessions.iter().enumerate().find(|(_, steps)| steps.contains(&finding.index))
        else {
            continue;
        };
        let none = Vec::new();
        let origins = report.origins.get(&session).unwrap_or(&none);
        let group = Group { prefix: format!("difference-{}", number + 1), exchanges, origins };
        out.push_str(&group.text(finding, steps));
    }
    out
}

struct Group<'a> {
    prefix: String,
    exchanges: &'a [Exchange],
    origins: &'a [(String, usize, Source)],
}

impl Group<'_> {
    fn text(&self, finding: &Finding, session: &[usize]) -> String {
        let before: Vec<usize> = session.iter().copied().take_while(|index| *index != finding.index).collect();
        let steps = self.needed(&before, finding.index);
        let mut checks = Table::new();
        let mut previous: Option<String> = None;
        for (number, index) in steps.iter().enumerate() {
            let name = format!("{}-{}", self.prefix, number + 1);
            let last = *index == finding.index;
            let mut check = self.check(*index, &steps, last.then_some(finding));
            if let Some(previous) = previous.replace(name.clone()) {
                check.insert("needs".to_owned(), Value::Array(vec![Value::String(previous)]));
            }
            checks.insert(name, Value::Table(check));
        }
        let document = Table::from_iter([("check".to_owned(), Value::Table(checks))]);
        let place = format!("{}: {} {}", finding.route, finding.place.words(), finding.way.word());
        let comment: String = place.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        format!("\n# {comment}\n{}", toml::to_string(&document).unwrap_or_default())
    }

    /// The exchange, those that change something before it, and those whose values it uses.
    fn needed(&self, before: &[usize], index: usize) -> Vec<usize> {
        let mut needed: BTreeSet<usize> = [index].into();
        let changes =
            |index: &&usize| !matches!(self.exchanges[**index].request.method.as_str(), "GET" | "HEAD" | "OPTIONS");
        needed.extend(before.iter().filter(changes));
        loop {
            let used = needed.iter().flat_map(|index| self.used(*index)).map(|(origin, _)| origin);
            let more: Vec<usize> = used.filter(|origin| before.contains(origin) && !needed.contains(origin)).collect();
            if more.is_empty() {
                return needed.into_iter().collect();
            }
            needed.extend(more);
        }
    }

    /// The values of earlier answers that a request says: where each came from, and the recorded value.
    fn used(&self, index: usize) -> Vec<(usize, &str)> {
        let asked = &self.exchanges[index].request;
        let body = asked.body.as_ref().and_then(|body| body.text.as_deref()).unwrap_or_default();
        let says = |value: &str| {
            let named = asked.headers.iter().filter(|(name, _)| KEPT.contains(&name.as_str()));
            asked.target.split(['/', '?', '&', '=']).any(|part| part == value)
                || named.clone().any(|(_, text)| text.contains(value) && value.len() > 3)
                || (value.len() > 3 && body.contains(value))
        };
        let earlier = self.origins.iter().filter(|(_, origin, _)| *origin < index);
        earlier.filter(|(value, ..)| says(value)).map(|(value, origin, _)| (*origin, value.as_str())).collect()
    }

    fn name(&self, value: &str) -> Option<String> {
        let place = self.origins.iter().position(|(it, ..)| it == value)?;
        Some(format!("{}_value_{place}", self.prefix.replace('-', "_")))
    }

    fn check(&self, index: usize, steps: &[usize], finding: Option<&Finding>) -> Table {
        let exchange = &self.exchanges[index];
        let asked = &exchange.request;
        let used: Vec<&str> = self.used(index).into_iter().map(|(_, value)| value).collect();
        let mut check = Table::new();
        check.insert("http".to_owned(), format!("{{{{env.url}}}}{}", self.templated(&asked.target, &used)).into());
        check.insert("method".to_owned(), asked.method.clone().into());
        let mut headers = Table::new();
        for name in KEPT {
            if let Some(value) = values(&asked.headers, name).next() {
                headers.insert(name.to_owned(), self.templated(value, &used).into());
            }
        }
        if !headers.is_empty() {
            check.insert("headers".to_owned(), Value::Table(headers));
        }
        if let Some(text) = asked.body.as_ref().and_then(|body| body.text.as_deref()) {
            check.insert("body".to_owned(), self.templated(text, &used).into());
        }
        if let Some(answer) = &exchange.answer {
            check.insert("status".to_owned(), i64::from(answer.status).into());
        }
        let captures = self.captures(index, steps);
        if !captures.is_empty() {
            check.insert("capture".to_owned(), Value::Table(captures));
        }
        if let Some(finding) = finding {
            expect(&mut check, finding);
        }
        check
    }

    /// What of an answer later steps use.
    fn captures(&self, index: usize, steps: &[usize]) -> Table {
        let mut captures = BTreeMap::new();
        for later in steps.iter().filter(|later| **later > index) {
            for (origin, value) in self.used(*later) {
                let source =
                    self.origins.iter().find(|(it, at, _)| it == value && *at == index).map(|(.., source)| source);
                let (Some(source), Some(name)) = (source.filter(|_| origin == index), self.name(value)) else {
                    continue;
                };
                let text = match source {
                    Source::Json(pointer) => format!("json:{pointer}"),
                    Source::Header(header) => format!("header:{header}"),
                    // As it is sent back: what follows the first pair are cookies that nobody asks for.
                    Source::Cookie(_) => "header:set-cookie".to_owned(),
                    Source::Regex(pattern) => format!("regex:{pattern}"),
                };
                captures.insert(name, Value::String(text));
            }
        }
        captures.into_iter().collect()
    }

    /// A text in which earlier values are named. Braces of its own would be read as names.
    fn templated(&self, text: &str, used: &[&str]) -> String {
        let mut text = text.to_owned();
        for value in used {
            let source = self.origins.iter().find(|(it, ..)| it == value).map(|(.., source)| source);
            let said = match source {
                Some(Source::Cookie(cookie)) => format!("{cookie}={value}"),
                _ => (*value).to_owned(),
            };
            if let Some(name) = self.name(value) {
                text = text.replace(&said, &format!("{{{{{name}}}}}"));
            }
        }
        text
    }
}

/// What the answer has to be, as far as a check can say it.
fn expect(check: &mut Table, finding: &Finding) {
    match (&finding.place, finding.way) {
        (Place::Status, _) => {
            if let Ok(status) = finding.before.parse::<i64>() {
                check.insert("status".to_owned(), status.into());
            }
        }
        (Place::Header(name), Way::Value | Way::Missing) if !name.starts_with("set-cookie") => {
            let pattern = format!("^{}$", regex::escape(&finding.before));
            let headers = Table::from_iter([(name.clone(), Value::String(pattern))]);
            check.insert("expect_headers".to_owned(), Value::Table(headers));
        }
        (Place::Json(_), Way::Value | Way::Type | Way::Missing) => {
            if let Ok(value) = serde_json::from_str::<Json>(&finding.before)
                && let Ok(value) = Value::try_from(value)
            {
                let json = Table::from_iter([(finding.pointer.clone(), value)]);
                check.insert("json".to_owned(), Value::Table(json));
            }
        }
        _ => {}
    }
}
