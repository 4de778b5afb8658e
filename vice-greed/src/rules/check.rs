//! What is wrong with rules and webhooks, and what most likely is, before any event comes.

use std::collections::BTreeMap;
use std::sync::Arc;

use vice_core::manifest::Project;
use vice_core::port::action::Action;
use vice_core::suggest::nearest;
use vice_core::{Code, Fault, Result};

use super::rule::{Kinds, Rule, Then};
use super::ruleset::Ruleset;

/// Something about a rule that somebody may want to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// The rule.
    pub rule: String,
    /// Whether the rule can't work as it is.
    pub wrong: bool,
    /// What it is, in a whole sentence.
    pub said: String,
}

/// Checks the rules and webhooks of a project as far as it alone says.
///
/// # Errors
/// `ManifestInvalid` at the first that makes no sense.
pub fn check(project: &Project) -> Result<()> {
    Ruleset::of(project)?;
    for (name, hook) in &project.manifest.webhook {
        let path = ["webhook", name.as_str()];
        let fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        if name.is_empty() || name.len() > 63 || !name.bytes().all(fine) {
            let message = format!("{name:?} can't be the name of a webhook: it becomes part of a URL.");
            return Err(project.invalid(&path, message).hint("Use 1 to 63 characters a-z, 0-9, - and _."));
        }
        if hook.secret.is_empty() || hook.secret.contains("://") {
            let message = format!("The webhook {name} names no secret.");
            return Err(project.invalid(&path, message).hint("Write a configuration key, or env:NAME."));
        }
        if let Some(env) = &hook.env {
            project.env(env)?;
        }
    }
    Ok(())
}

/// What is wrong with the rules of a project, and what is worth a look.
///
/// # Errors
/// As [`check`].
pub fn lint(project: &Project, actions: &BTreeMap<&'static str, Arc<dyn Action>>) -> Result<Vec<Advice>> {
    check(project)?;
    let rules = Ruleset::of(project)?;
    let mut found = Vec::new();
    for (index, rule) in rules.rules.iter().enumerate() {
        let mut note = |wrong: bool, said: String| found.push(Advice { rule: rule.name.clone(), wrong, said });
        if rule.kinds == Kinds::All {
            note(false, "It looks at every event: name the types in `on`.".to_owned());
        }
        if let Some(by) = rules.rules[..index].iter().find(|earlier| hides(earlier, rule)) {
            note(true, format!("It is never asked: {} drops the same events before.", by.name));
        }
        match &rule.then {
            Then::Transform { kind, .. } if rule.kinds.fits(kind) => {
                note(false, "What it makes is of a type that it is about; it will not look at that.".to_owned());
            }
            Then::Action { name, .. } if !actions.contains_key(name.as_str()) => {
                note(true, missing("action", name, actions.keys().copied()));
            }
            Then::Notify { to, .. } => {
                let known: Vec<&str> = project.manifest.channel.keys().map(String::as_str).collect();
                for channel in to.iter().filter(|channel| !known.contains(&channel.as_str())) {
                    note(true, missing("channel", channel, known.iter().copied()));
                }
            }
            Then::Emit { url, token: Some(_), .. } if url.starts_with("http://") && !is_local(url) => {
                note(false, "It sends a token without TLS: write https.".to_owned());
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Whether a rule takes everything away from a later one.
fn hides(earlier: &Rule, later: &Rule) -> bool {
    let covers = match (&earlier.kinds, &later.kinds) {
        (Kinds::All, _) => true,
        (Kinds::Some(_), Kinds::All) => false,
        (one, Kinds::Some(all)) => {
            all.iter().all(|(text, begins)| one.fits(text) && (!begins || covers_all(one, text)))
        }
    };
    matches!(earlier.then, Then::Drop) && earlier.when.is_none() && covers
}

/// Whether types with a beginning are all covered.
fn covers_all(kinds: &Kinds, beginning: &str) -> bool {
    let Kinds::Some(all) = kinds else { return true };
    all.iter().any(|(text, begins)| *begins && beginning.starts_with(text.as_str()))
}

fn missing<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(name, known.clone()) {
        Some(near) => format!("There is no {what} {name:?}: did you mean {near}?"),
        None => {
            let known: Vec<&str> = known.into_iter().collect();
            format!("There is no {what} {name:?}; there are: {}.", known.join(", "))
        }
    }
}

fn is_local(url: &str) -> bool {
    let host = url::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
    host.is_some_and(|host| matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]"))
}

/// A fault for a rule that nobody has.
pub(crate) fn unknown_rule(project: &Project, name: &str) -> Fault {
    let known: Vec<&str> = project.manifest.rule.iter().map(|rule| rule.name.as_str()).collect();
    let shown: String = name.chars().take(80).collect();
    let fault = Fault::new(Code::UnknownName, format!("The project {} has no rule {shown:?}.", project.name()));
    match nearest(name, known.iter().copied()) {
        Some(near) => fault.hint(format!("Did you mean {near}?")),
        None => fault.hint("`vice greed rules list` shows them."),
    }
}
