//! A rule as it is evaluated, made of what `vice.toml` says. Everything that can be wrong with a rule is found here, with
//! the key that is wrong; nothing is left for the moment when an event comes.

use std::collections::BTreeMap;

use serde_json::Value;
use vice_core::Millis;
use vice_core::id::EnvName;
use vice_core::manifest::{EmitMode, EmitSpec, RuleNoticeSpec, RuleSpec, RunSpec, ThenSpec, TransformSpec};
use vice_core::port::notifier::Severity;

use super::cel::{Cel, Node, Op, Slip};
use super::template::Template;
use super::view::{EVENT_NAMES, WINDOW_NAMES};
use crate::window::{Meter, WindowRule};

/// How long a command may take unless the rule says otherwise, and an action, which may be a whole rollout.
const COMMAND_TIME: Millis = Millis::from_secs(60);
const ACTION_TIME: Millis = Millis::from_secs(600);

/// The longest that either may take.
const TIME_MAX: Millis = Millis::from_secs(6 * 3600);

/// The types that a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kinds {
    All,
    /// Each alone, or as the beginning of a type where true.
    Some(Vec<(String, bool)>),
}

impl Kinds {
    pub(crate) fn fits(&self, kind: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(all) => {
                all.iter().any(|(text, begins)| if *begins { kind.starts_with(text) } else { kind == text })
            }
        }
    }
}

impl std::fmt::Display for Kinds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::Some(all) = self else { return f.write_str("all") };
        for (n, (text, begins)) in all.iter().enumerate() {
            let (comma, star) = (if n > 0 { ", " } else { "" }, if *begins { "*" } else { "" });
            write!(f, "{comma}{text}{star}")?;
        }
        Ok(())
    }
}

/// A rule.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) kinds: Kinds,
    pub(crate) when: Option<Cel>,
    pub(crate) window: Option<WindowRule>,
    pub(crate) then: Then,
}

/// What is done.
#[derive(Debug)]
pub(crate) enum Then {
    Drop,
    Store { stream: String },
    Transform { kind: String, subject: Option<Template>, data: Vec<(String, Cel)> },
    Notify { title: Template, body: Option<Template>, to: Vec<String>, severity: Severity },
    Action { name: String, with: BTreeMap<String, Input>, timeout: Millis },
    Command { argv: Vec<String>, timeout: Millis },
    Emit { url: String, mode: EmitMode, token: Option<String>, env: Option<EnvName> },
}

impl Then {
    /// One word.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Store { .. } => "store",
            Self::Transform { .. } => "transform",
            Self::Notify { .. } => "notify",
            Self::Action { .. } => "action",
            Self::Command { .. } => "command",
            Self::Emit { .. } => "emit",
        }
    }
}

/// An input of an action.
#[derive(Debug)]
pub(crate) enum Input {
    Text(Template),
    Fixed(Value),
}

/// What is wrong with a rule: the key, and a whole sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) key: Vec<&'static str>,
    pub(crate) why: String,
}

fn wrong(key: &[&'static str], why: impl Into<String>) -> Wrong {
    Wrong { key: key.to_vec(), why: why.into() }
}

fn slipped(key: &'static [&'static str]) -> impl Fn(Slip) -> Wrong {
    move |slip| wrong(key, format!("{} (at character {})", slip.why, slip.at + 1))
}

impl Rule {
    /// Makes a rule.
    pub(crate) fn of(spec: &RuleSpec) -> Result<Self, Wrong> {
        check_name(&spec.name)?;
        let when =
            spec.when.as_deref().map(|text| Cel::read(text, &EVENT_NAMES)).transpose().map_err(slipped(&["when"]))?;
        let kinds = if spec.on.0.is_empty() {
            when.as_ref().and_then(|when| implied(when.node())).unwrap_or(Kinds::All)
        } else {
            named(&spec.on.0)?
        };
        let window = spec.window.as_ref().map(WindowRule::of).transpose()?;
        if window.is_some() && matches!(spec.then, ThenSpec::Drop) {
            return Err(wrong(&["then"], "A rule with a window can't drop: its events have been counted by then."));
        }
        let names: &[&str] = if window.is_some() { &WINDOW_NAMES } else { &EVENT_NAMES };
        Ok(Self { name: spec.name.clone(), kinds, when, window, then: then(&spec.then, names)? })
    }
}

fn check_name(name: &str) -> Result<(), Wrong> {
    let fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    if !name.is_empty() && name.len() <= 63 && name.bytes().all(fine) {
        return Ok(());
    }
    Err(wrong(&["name"], format!("{name:?} can't be the name of a rule: it has 1 to 63 characters a-z, 0-9, - and _.")))
}

fn named(texts: &[String]) -> Result<Kinds, Wrong> {
    let one = |text: &String| {
        let begins = text.ends_with('*');
        let bare = text.strip_suffix('*').unwrap_or(text);
        if bare.contains('*') || text.is_empty() {
            return Err(wrong(&["on"], format!("{text:?} names no types: a * stands only at the end.")));
        }
        Ok((bare.to_owned(), begins))
    };
    texts.iter().map(one).collect::<Result<_, _>>().map(Kinds::Some)
}

/// The types that a condition lets through, where its parts that are joined by `&&` say so. Without this, a rule that
/// compares `type` by hand would be asked about every event.
fn implied(node: &Node) -> Option<Kinds> {
    let is_type = |node: &Node| matches!(node, Node::Root(0));
    match node {
        Node::And(all) => all.iter().find_map(implied),
        Node::Two(Op::Eq, one, two) => match (one.as_ref(), two.as_ref()) {
            (kind, Node::Text(text)) | (Node::Text(text), kind) if is_type(kind) => {
                Some(Kinds::Some(vec![(text.clone(), false)]))
            }
            _ => None,
        },
        Node::Two(Op::In, one, two) if is_type(one) => {
            let Node::List(all) = two.as_ref() else { return None };
            let text = |node: &Node| match node {
                Node::Text(text) => Some((text.clone(), false)),
                _ => None,
            };
            all.iter().map(text).collect::<Option<_>>().map(Kinds::Some)
        }
        Node::Call(super::cel::Func::StartsWith, arguments) => match arguments.as_slice() {
            [kind, Node::Text(text)] if is_type(kind) => Some(Kinds::Some(vec![(text.clone(), true)])),
            _ => None,
        },
        _ => None,
    }
}

fn then(spec: &ThenSpec, names: &[&str]) -> Result<Then, Wrong> {
    match spec {
        ThenSpec::Drop => Ok(Then::Drop),
        ThenSpec::Store(spec) => {
            let fine = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if spec.stream.is_empty() || spec.stream.len() > 100 || !spec.stream.chars().all(fine) {
                let why = format!("{:?} can't be a part of a stream's name: use letters, digits, - _ .", spec.stream);
                return Err(wrong(&["then", "store", "stream"], why));
            }
            Ok(Then::Store { stream: spec.stream.clone() })
        }
        ThenSpec::Transform(spec) => transform(spec, names),
        ThenSpec::Notify(spec) => notify(spec, names),
        ThenSpec::Run(spec) => run(spec, names),
        ThenSpec::Emit(spec) => emit(spec),
    }
}

fn transform(spec: &TransformSpec, names: &[&str]) -> Result<Then, Wrong> {
    if spec.kind.is_empty() || spec.kind.len() > 255 || spec.kind.starts_with("dev.cdeventsx.vice-") {
        let why = format!("{:?} can't be the type of an event that a rule makes.", spec.kind);
        return Err(wrong(&["then", "transform", "type"], why));
    }
    let subject = spec.subject.as_deref().map(|text| Template::read(text, names)).transpose();
    let subject = subject.map_err(slipped(&["then", "transform", "subject"]))?;
    let read = |(key, text): (&String, &String)| Ok((key.clone(), Cel::read(text, names)?));
    let data = spec.data.iter().map(read).collect::<Result<_, Slip>>();
    let data = data.map_err(slipped(&["then", "transform", "data"]))?;
    Ok(Then::Transform { kind: spec.kind.clone(), subject, data })
}

fn notify(spec: &RuleNoticeSpec, names: &[&str]) -> Result<Then, Wrong> {
    let title = Template::read(&spec.title, names).map_err(slipped(&["then", "notify", "title"]))?;
    let body = spec.body.as_deref().map(|text| Template::read(text, names)).transpose();
    let body = body.map_err(slipped(&["then", "notify", "body"]))?;
    let severity = spec.severity.unwrap_or(Severity::Warning);
    Ok(Then::Notify { title, body, to: spec.to.0.clone(), severity })
}

fn run(spec: &RunSpec, names: &[&str]) -> Result<Then, Wrong> {
    let timeout = |usual: Millis| {
        let timeout = spec.timeout.unwrap_or(usual);
        if timeout == Millis::ZERO || timeout > TIME_MAX {
            return Err(wrong(&["then", "run", "timeout"], format!("It lies between 1ms and {TIME_MAX}.")));
        }
        Ok(timeout)
    };
    match (&spec.action, &spec.command) {
        (Some(action), None) => {
            let input = |(key, value): (&String, &Value)| {
                let input = match value {
                    Value::String(text) => Input::Text(Template::read(text, names)?),
                    other => Input::Fixed(other.clone()),
                };
                Ok((key.clone(), input))
            };
            let with = spec.with.iter().map(input).collect::<Result<_, Slip>>();
            let with = with.map_err(slipped(&["then", "run", "with"]))?;
            Ok(Then::Action { name: action.clone(), with, timeout: timeout(ACTION_TIME)? })
        }
        (None, Some(command)) if spec.with.is_empty() => {
            Ok(Then::Command { argv: command.0.clone(), timeout: timeout(COMMAND_TIME)? })
        }
        (None, Some(_)) => {
            Err(wrong(&["then", "run", "with"], "A command takes no inputs: it gets the event on standard input."))
        }
        _ => Err(wrong(&["then", "run"], "It needs either an action or a command.")),
    }
}

fn emit(spec: &EmitSpec) -> Result<Then, Wrong> {
    let key = &["then", "emit", "url"];
    let url = url::Url::parse(&spec.url).map_err(|error| wrong(key, format!("The URL is none: {error}.")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong(key, "The URL has to begin with http:// or https://."));
    }
    if url.password().is_some() {
        return Err(wrong(key, "The URL must not hold a password: name a secret as `token`."));
    }
    Ok(Then::Emit { url: spec.url.clone(), mode: spec.mode, token: spec.token.clone(), env: spec.env.clone() })
}

impl WindowRule {
    /// Makes a window.
    fn of(spec: &vice_core::manifest::SpanSpec) -> Result<Self, Wrong> {
        let cel = |key: &'static [&'static str], text: &Option<String>, names: &[&str]| {
            text.as_deref().map(|text| Cel::read(text, names)).transpose().map_err(slipped(key))
        };
        let meter = Meter::of(spec).map_err(|(key, why)| wrong(&["window", key], why))?;
        Ok(Self {
            meter,
            key: cel(&["window", "key"], &spec.key, &EVENT_NAMES)?,
            of: cel(&["window", "of"], &spec.of, &EVENT_NAMES)?,
            having: cel(&["window", "having"], &spec.having, &WINDOW_NAMES)?,
            keep_late: spec.keep_late,
        })
    }
}
