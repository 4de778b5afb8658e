//! Which events somebody may see and add who is bound to some projects. An event is of the project that its stream names and
//! of the one in its scope; where there are both, both count. What belongs to no project belongs to whoever is not bound.

use std::collections::BTreeSet;
use std::sync::Arc;

use vice_core::event::{Event, SOURCE};
use vice_core::id::ProjectName;
use vice_core::store::{Append, Query};
use vice_core::{Code, Fault, Result};

use crate::ingest::CONFLICTS;

/// The streams whose second part is a project: `CLASS/PROJECT…`.
const CLASSES: [&str; 19] = [
    "config",
    "dead",
    "derived",
    "environment",
    "inbox",
    "incident",
    "kept",
    "late",
    "lease",
    "message",
    "receipts",
    "recipe",
    "rollout",
    "rules",
    "run",
    "service",
    "verification",
    "webhook",
    "window",
];

/// How the types of the events begin that vice makes of its own work. Rules and notifications believe them.
const OWN_KINDS: &str = "dev.cdeventsx.vice-";

/// The project of a stream, by its name.
fn project_of(stream: &str) -> Option<&str> {
    let (class, rest) = stream.split_once('/')?;
    // Evidence is of whoever sent it, which is in its scope.
    if stream == CONFLICTS || !CLASSES.contains(&class) {
        return None;
    }
    rest.split('/').next().filter(|project| !project.is_empty())
}

/// The projects that a token is bound to: an extension of the request. A request without one is bound to none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds(Arc<BTreeSet<ProjectName>>);

impl Bounds {
    /// These projects, of which there is one at least.
    #[must_use]
    pub fn of(projects: impl IntoIterator<Item = ProjectName>) -> Self {
        Self(Arc::new(projects.into_iter().collect()))
    }

    /// Whether a project is one of them.
    #[must_use]
    pub fn has(&self, project: &str) -> bool {
        self.0.iter().any(|one| one.as_str() == project)
    }

    /// Whether a stream is theirs.
    pub(super) fn has_stream(&self, stream: &str) -> bool {
        project_of(stream).is_some_and(|project| self.has(project))
    }

    /// Whether something of this scope, written as `PROJECT/ENVIRONMENT`, is theirs.
    pub(super) fn has_scope(&self, scope: &str) -> bool {
        scope.split('/').next().is_some_and(|project| self.has(project))
    }

    /// Whether an event may be seen.
    pub(super) fn shows(&self, event: &Event) -> bool {
        let scope = event.scope.as_ref().map(|scope| scope.project.as_str());
        let named = [project_of(&event.stream), scope];
        named.iter().any(Option::is_some) && named.into_iter().flatten().all(|project| self.has(project))
    }

    /// Whether a snapshot may be seen: none of a stream that is nobody's, because others are in it.
    ///
    /// # Errors
    /// For a stream of another project.
    pub(super) fn require_stream(&self, stream: &str) -> Result<bool> {
        match project_of(stream) {
            Some(project) if !self.has(project) => Err(self.refuse(&format!("the stream {stream:?}"))),
            other => Ok(other.is_some()),
        }
    }

    /// Whether there can be an answer: there is none about a stream that is nobody's. What is asked of everything is
    /// answered with what is theirs.
    ///
    /// # Errors
    /// For a question about another project.
    pub(super) fn require_query(&self, query: &Query) -> Result<bool> {
        if let Some(project) = query.project.as_ref().filter(|project| !self.has(project.as_str())) {
            return Err(self.refuse(&format!("the project {project}")));
        }
        query.stream.as_ref().map_or(Ok(true), |stream| self.require_stream(stream))
    }

    /// # Errors
    /// For a scope of another project.
    pub(super) fn require_scope(&self, scope: &str) -> Result<()> {
        if self.has_scope(scope) { Ok(()) } else { Err(self.refuse(&format!("the environment {scope:?}"))) }
    }

    /// # Errors
    /// For a stream that is not theirs.
    pub(super) fn require_own(&self, stream: &str) -> Result<()> {
        if self.has_stream(stream) { Ok(()) } else { Err(self.refuse(&format!("the stream {stream:?}"))) }
    }

    /// # Errors
    /// For an event in a stream, or of a scope, that is not theirs.
    pub(crate) fn require_event(&self, event: &Event) -> Result<()> {
        if event.scope.as_ref().is_some_and(|scope| !self.has(scope.project.as_str())) {
            let scope = event.scope.as_ref().map(ToString::to_string).unwrap_or_default();
            return Err(self.refuse(&format!("the environment {scope:?}")));
        }
        self.require_own(&event.stream)
    }

    /// # Errors
    /// For an event from outside that is not theirs, or that says what only vice itself says: rules and notifications
    /// believe that, and the ids of what rules make can be guessed.
    pub(crate) fn require_sent(&self, event: &Event) -> Result<()> {
        if event.source.starts_with(SOURCE) || event.kind.starts_with(OWN_KINDS) {
            return Err(self.refuse("what only vice itself says"));
        }
        self.require_event(event)
    }

    /// # Errors
    /// For an append of which any part is not theirs.
    pub(super) fn require_append(&self, append: &Append) -> Result<()> {
        append.events.iter().try_for_each(|event| self.require_event(event))?;
        append.conditions.iter().try_for_each(|(stream, _)| self.require_own(stream))?;
        append.fence.as_ref().map_or(Ok(()), |fence| self.require_scope(&fence.scope))
    }

    /// Says what the token is bound to, and nothing of what there is beside that.
    fn refuse(&self, what: &str) -> Fault {
        let shown: String = what.chars().take(200).collect();
        Fault::new(Code::Backend, format!("The token is bound to {}, and {shown} is not theirs.", self.shown())).hint(
            "Use a token that is bound to that project, or to none; whoever runs `vice serve` has the file of tokens.",
        )
    }

    fn shown(&self) -> String {
        let names: Vec<&str> = self.0.iter().map(ProjectName::as_str).collect();
        let word = if names.len() == 1 { "the project" } else { "the projects" };
        format!("{word} {}", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use vice_core::store::{Expected, Fence};
    use vice_core::testkit::event_store::{event, scope};

    use super::*;

    fn bounds(names: &[&str]) -> Bounds {
        Bounds::of(names.iter().map(|name| ProjectName::new(*name).unwrap()))
    }

    fn of(stream: &str, project: Option<&str>) -> Event {
        Event { scope: project.map(|project| scope(project, "prod")), ..event("e", stream) }
    }

    #[test]
    fn an_event_is_of_its_stream_and_of_its_scope() {
        let shop = bounds(&["shop"]);
        // Stream, scope; may be seen; may be added.
        for (stream, project, seen, added) in [
            ("rollout/shop/prod/1", Some("shop"), true, true),
            ("run/shop/release/1", None, true, true),
            ("message/shop", None, true, true),
            ("inbox/shop/prod", Some("shop"), true, true),
            ("rollout/cart/prod/1", Some("cart"), false, false),
            ("rollout/cart/prod/1", Some("shop"), false, false),
            ("rollout/shop/prod/1", Some("cart"), false, false),
            ("message/cart", None, false, false),
            ("message/shopping", None, false, false),
            ("inbox", None, false, false),
            ("inbox/conflicts", None, false, false),
            ("inbox/conflicts", Some("shop"), true, false),
            ("outbox/lust", None, false, false),
            ("outbox/shop", None, false, false),
            ("forward/shop", None, false, false),
            ("history", None, false, false),
            ("anything", Some("shop"), true, false),
            ("rollout/", None, false, false),
            ("rollout", None, false, false),
            ("", None, false, false),
        ] {
            let event = of(stream, project);
            assert_eq!(shop.shows(&event), seen, "{stream} {project:?}");
            assert_eq!(shop.require_event(&event).is_ok(), added, "{stream} {project:?}");
        }
        let conflicts = bounds(&["conflicts", "lust"]);
        assert!(!conflicts.shows(&of("inbox/conflicts", None)) && !conflicts.shows(&of("outbox/lust", None)));
    }

    #[test]
    fn what_only_vice_says_is_not_taken_from_outside() {
        let shop = bounds(&["shop"]);
        let sent = |source: &str, kind: &str| Event {
            source: source.into(),
            kind: kind.into(),
            ..of("inbox/shop/prod", Some("shop"))
        };
        assert!(shop.require_sent(&sent("/cron", "com.example.made")).is_ok());
        for (source, kind) in
            [("/vice/rules/cart/r", "com.example.made"), ("/cron", "dev.cdeventsx.vice-rollout.finished.0.1.0")]
        {
            assert!(shop.require_sent(&sent(source, kind)).is_err(), "{source} {kind}");
        }
    }

    #[test]
    fn an_append_is_theirs_with_all_its_parts() {
        let both = bounds(&["shop", "cart"]);
        let append = || Append::of(vec![of("rollout/shop/prod/1", None), of("rollout/cart/prod/1", None)]);
        assert!(both.require_append(&append()).is_ok());
        let fault = bounds(&["shop"]).require_append(&append()).unwrap_err();
        assert_eq!(
            fault.to_string(),
            "The token is bound to the project shop, and the stream \"rollout/cart/prod/1\" is not theirs."
        );
        assert!(both.require_append(&append().expect("lease/till/prod", Expected::NoStream)).is_err());
        let fence = |scope: &str| Fence { scope: scope.into(), epoch: 1 };
        assert!(both.require_append(&append().fenced(fence("till/prod"))).is_err());
        assert!(both.require_append(&append().fenced(fence("cart/prod"))).is_ok());
    }

    #[test]
    fn a_question_about_others_is_refused_and_one_about_everything_is_not() {
        let shop = bounds(&["shop"]);
        let stream = |name: &str| Query::stream(name, 0);
        let project = |name: &str| Query { project: Some(ProjectName::new(name).unwrap()), ..Query::default() };
        for (query, fine) in [
            (Query::default(), true),
            (stream("environment/shop/prod"), true),
            (stream("outbox/lust"), true),
            (stream("environment/cart/prod"), false),
            (project("shop"), true),
            (project("cart"), false),
        ] {
            assert_eq!(shop.require_query(&query).is_ok(), fine, "{query:?}");
        }
    }
}
