//! Posting a message: what `vice lust PROJECT -m …`, `vice lust test` and the action `notify` have in common.

use std::sync::Arc;

use vice_core::id::{EnvName, Scope};
use vice_core::manifest::Project;
use vice_core::port::notifier::{Delivery, Notice, Severity};
use vice_core::{App, Code, Fault, Result};

use crate::message::{clean_body, clean_title};

/// A message to post.
pub(crate) struct Post {
    pub(crate) project: Option<String>,
    pub(crate) env: Option<EnvName>,
    pub(crate) title: Option<String>,
    pub(crate) message: String,
    pub(crate) severity: Severity,
    pub(crate) channels: Vec<String>,
}

/// A message that was posted, and what became of it.
pub(crate) struct Posted {
    pub(crate) project: Arc<Project>,
    pub(crate) title: String,
    pub(crate) deliveries: Vec<Delivery>,
}

/// Posts a message.
///
/// # Errors
/// `Usage` for an empty message, `UnknownName` for names that do not exist, and what the store says. A receiver that
/// does not take it is not an error here.
pub(crate) async fn post(app: &App, request: Post) -> Result<Posted> {
    let project = app.workspace.project_or_here(request.project.as_deref())?;
    let scope = match &request.env {
        Some(env) => {
            project.env(env)?;
            Some(Scope::new(project.name().clone(), env.clone()))
        }
        None => None,
    };
    let (title, body) = split(request.title.as_deref(), &request.message);
    if title.is_empty() {
        return Err(Fault::new(Code::Usage, "The message is empty.").hint("Write it after -m, or pipe it into -m -."));
    }
    let time = app.clock.now();
    let notice = Notice {
        key: app.ids.next(time),
        project: Arc::clone(&project),
        scope,
        severity: request.severity,
        title: title.clone(),
        body,
        time,
        channels: request.channels,
    };
    let deliveries = app.notifier.notify(notice).await?;
    Ok(Posted { project, title, deliveries })
}

/// Title and text. Without a title the first line of the message is the title.
fn split(title: Option<&str>, message: &str) -> (String, String) {
    match title {
        Some(title) => (clean_title(title), clean_body(message)),
        None => {
            let message = message.trim_start();
            let (first, rest) = message.split_once('\n').unwrap_or((message, ""));
            // A first line that is too long for a title is not lost: it begins the text as well.
            let title = clean_title(first);
            let body = if title.ends_with('…') { message } else { rest };
            (title, clean_body(body))
        }
    }
}

/// The channels that failed, each with why.
pub(crate) fn failures(deliveries: &[Delivery]) -> Vec<String> {
    let failed = deliveries.iter().filter(|delivery| !delivery.delivered);
    failed.map(|delivery| format!("{} ({})", delivery.channel, delivery.detail)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_title() {
        assert_eq!(split(None, "one\ntwo\nthree"), ("one".into(), "two\nthree".into()));
        assert_eq!(split(Some("t"), "one\ntwo"), ("t".into(), "one\ntwo".into()));
        let long = "x".repeat(300);
        assert_eq!(split(None, &long).1, long);
    }
}
