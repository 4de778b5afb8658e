//! Rules: which events become messages on which channels. Matching is pure; what a rule names is checked by [`check`].

use vice_core::app::ProcessEnv;
use vice_core::event::Event;
use vice_core::id::EnvName;
use vice_core::manifest::{BuiltInChannel, ChannelSpec, NotifySpec, Project};
use vice_core::suggest::nearest;
use vice_core::{Fault, Result};

use crate::facts::{Meaning, WORDS};
use crate::message::{Cause, Message, clean_body, clean_title, key};
use crate::payload::{MessagePosted, OWN_KINDS};
use crate::template;

/// The channel that every project has.
pub(crate) const STDOUT: &str = "stdout";

static STDOUT_SPEC: ChannelSpec = ChannelSpec::BuiltIn(BuiltInChannel::Stdout {});

/// Whether rules look at an event at all. The outbox's own events never trigger a rule, so that no message causes
/// another; posted messages are queued by whoever posts them, in the same append.
pub(crate) fn concerns(event: &Event) -> bool {
    use vice_core::event::Payload as _;
    event.kind != MessagePosted::KIND && !OWN_KINDS.iter().any(|own| event.kind.starts_with(own))
}

/// The specification of a channel of a project.
pub(crate) fn channel<'a>(project: &'a Project, name: &str) -> Option<&'a ChannelSpec> {
    project.manifest.channel.get(name).or_else(|| (name == STDOUT).then_some(&STDOUT_SPEC))
}

/// The messages that an event causes in a project: one for each channel, the first matching rule decides its text.
pub(crate) fn messages(project: &Project, event: &Event, meaning: &Meaning) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    let env = event.scope.as_ref().map(|scope| &scope.env);
    for rule in project.manifest.notify.iter().filter(|rule| matches(rule, &event.kind, &meaning.facts.word, env)) {
        for name in &rule.to.0 {
            if messages.iter().all(|message| message.channel != *name) {
                messages.push(message(project, rule, name, event, meaning));
            }
        }
    }
    messages
}

/// Whether a rule wants an event of this type, with this word, in this environment.
pub(crate) fn matches(rule: &NotifySpec, kind: &str, word: &str, env: Option<&EnvName>) -> bool {
    let wants = |on: &String| match on.strip_suffix('*') {
        Some("") => !word.is_empty(),
        Some(prefix) => kind.starts_with(prefix),
        None => (!word.is_empty() && on == word) || on == kind,
    };
    rule.on.iter().any(wants) && (rule.env.is_empty() || env.is_some_and(|env| rule.env.contains(env)))
}

/// The channels for a posted message: those of the rules for messages; without such a rule all channels of the
/// project; in a project without channels the terminal.
pub(crate) fn message_channels(project: &Project, env: Option<&EnvName>) -> Vec<String> {
    let rules = project.manifest.notify.iter().filter(|rule| matches(rule, "", "message", env));
    let mut names: Vec<String> = Vec::new();
    for name in rules.flat_map(|rule| &rule.to.0) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    if names.is_empty() {
        names.extend(project.manifest.channel.keys().cloned());
    }
    if names.is_empty() {
        names.push(STDOUT.to_owned());
    }
    names
}

fn message(project: &Project, rule: &NotifySpec, channel: &str, event: &Event, meaning: &Meaning) -> Message {
    let facts = &meaning.facts;
    let (title, body, wrong) = match text(rule, meaning) {
        Ok((title, body)) => (title, body, None),
        Err(fault) => (facts.title_default.clone(), String::new(), Some(fault)),
    };
    // A broken template must not cost the message: the default is sent, and says what is wrong.
    let body = match wrong {
        Some(fault) => format!("The template of this rule does not work: {}", fault.chain().join(" ")),
        None => body,
    };
    Message {
        key: key(&format!("{}\n{}", event.source, event.id), project.name(), channel),
        project: project.name().clone(),
        env: event.scope.as_ref().map(|scope| scope.env.clone()),
        channel: channel.to_owned(),
        severity: meaning.severity,
        title: clean_title(&title),
        body: clean_body(&body),
        time: event.time,
        actor: event.actor.clone(),
        cause: Cause { id: event.id.clone(), kind: event.kind.clone(), subject: event.subject.clone() },
    }
}

fn text(rule: &NotifySpec, meaning: &Meaning) -> Result<(String, String)> {
    let facts = &meaning.facts;
    let title = match &rule.title {
        Some(title) => template::render(title, facts)?,
        None => facts.title_default.clone(),
    };
    let body = match &rule.body {
        Some(body) => template::render(body, facts)?,
        None => default_body(meaning),
    };
    Ok((title, body))
}

/// The facts that a title of one line has no room for.
fn default_body(meaning: &Meaning) -> String {
    let facts = &meaning.facts;
    let mut lines = Vec::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            lines.push(format!("{name}: {value}"));
        }
    };
    line("rollout", &facts.rollout);
    line("before", &facts.previous_version);
    line("took", &facts.took);
    line("by", &facts.actor);
    lines.join("\n")
}

/// Checks everything that the rules of a project name: words, channels, environments and templates.
///
/// # Errors
/// `ManifestInvalid` or `Template`, pointing at the place, with the nearest known name.
pub fn check(project: &Project) -> Result<()> {
    project.manifest.notify.iter().try_for_each(|rule| check_rule(project, rule))
}

/// Checks that there is a program for each channel whose kind is not built in.
///
/// # Errors
/// `BackendMissing`, pointing at the channel, with the nearest kind; `Usage` for a program that anybody could replace.
pub fn check_programs(project: &Project, env: &ProcessEnv) -> Result<()> {
    project.manifest.channel.iter().try_for_each(|(name, spec)| match spec {
        ChannelSpec::BuiltIn(_) => Ok(()),
        ChannelSpec::Plugin(plugin) => crate::channel::plugin::program(plugin, env)
            .map(drop)
            .map_err(|fault| fault.at(project.place(&["channel", name, "kind"], "not a kind that is built in"))),
    })
}

fn check_rule(project: &Project, rule: &NotifySpec) -> Result<()> {
    let invalid = |message: String| project.invalid(&["notify"], message);
    for on in &rule.on {
        let word = on == "*" || on.contains('.') || WORDS.iter().any(|(word, _)| word == on);
        if !word {
            let fault = invalid(format!("A notify rule is about {on:?}, which never happens."));
            return Err(suggest(fault, on, WORDS.iter().map(|(word, _)| *word)));
        }
    }
    for name in &rule.to.0 {
        if channel(project, name).is_none() {
            let fault = invalid(format!("A notify rule goes to the channel {name:?}, which does not exist."));
            return Err(suggest(fault, name, project.manifest.channel.keys().map(String::as_str)));
        }
    }
    for env in &rule.env {
        if project.env(env).is_err() {
            let fault = invalid(format!("A notify rule is for the environment {env}, which does not exist."));
            return Err(suggest(fault, env.as_str(), project.manifest.env.keys().map(EnvName::as_str)));
        }
    }
    let templates = [&rule.title, &rule.body];
    templates
        .into_iter()
        .flatten()
        .try_for_each(|text| template::check(text).map_err(|fault| fault.at(project.place(&["notify"], ""))))
}

/// Adds the nearest of the known names, or all of them.
pub(crate) fn suggest<'a>(fault: Fault, name: &str, known: impl Iterator<Item = &'a str>) -> Fault {
    let known: Vec<&str> = known.collect();
    match nearest(name, known.iter().copied()) {
        Some(near) => fault.hint(format!("Did you mean {near}?")),
        None if known.is_empty() => fault.hint("There are none; add a section such as [channel.ops]."),
        None => fault.hint(format!("Known: {}.", known.join(", "))),
    }
}
