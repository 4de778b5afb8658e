//! The events of this crate against what was ever written of them.

use vice_core::event::{Actor, ActorKind};
use vice_core::id::EnvName;
use vice_core::testkit::golden::Corpus;

use super::*;
use crate::message::Cause;

fn corpus() -> Corpus {
    Corpus::of(env!("CARGO_MANIFEST_DIR"))
}

fn project() -> ProjectName {
    ProjectName::new("shop").unwrap()
}

fn prod() -> EnvName {
    EnvName::new("prod").unwrap()
}

const SEVERITIES: [Severity; 4] = [Severity::Info, Severity::Success, Severity::Warning, Severity::Error];

fn key() -> String {
    "00112233445566778899aabbccddeeff".to_owned()
}

/// A message about an environment, and one about none.
pub(crate) fn messages() -> [Message; 2] {
    let actor = Actor {
        id: "ci-7".into(),
        kind: ActorKind::Ci,
        on_behalf_of: Some("ada".into()),
        evidence: "GITHUB_ACTOR".into(),
    };
    let message = Message {
        key: key(),
        project: project(),
        env: Some(prod()),
        channel: "ops".into(),
        severity: Severity::Error,
        title: "shop.prod was rolled back".into(),
        body: "errors: 4 %\n".into(),
        time: Timestamp::UNIX_EPOCH,
        actor,
        cause: Cause { id: "e1".into(), kind: "dev.cdevents.service.rolledback.0.3.0".into(), subject: "shop".into() },
    };
    [Message { env: None, ..message.clone() }, message]
}

#[test]
fn what_people_post_is_read_as_it_was_written() {
    let posted = |(severity, scope)| MessagePosted {
        project: project(),
        scope,
        severity,
        title: "The sale begins".into(),
        body: "at noon".into(),
    };
    let about = [None, Some(Scope::new(project(), prod()))];
    let all = about.iter().flat_map(|scope| SEVERITIES.map(|severity| (severity, scope.clone())));
    corpus().hold(&all.map(posted).collect::<Vec<_>>());
}

#[test]
fn the_life_of_a_message_is_read_as_it_was_written() {
    let (attempt, reason, retry_at) = (2, "503".to_owned(), Timestamp::UNIX_EPOCH);
    corpus().hold(&[Advanced { cursor: 17 }]);
    corpus().hold(&messages().map(|message| Queued { message }));
    let attempted = |possible_repeat| Attempted { key: key(), attempt, by: "box/17".into(), possible_repeat };
    corpus().hold(&[true, false].map(attempted));
    corpus().hold(&[Delivered { key: key(), attempt, answer: "200".into() }]);
    let failed = |uncertain| Failed { key: key(), attempt, reason: reason.clone(), uncertain, retry_at };
    corpus().hold(&[true, false].map(failed));
    corpus().hold(&[Dead { key: key(), attempt, reason: reason.clone() }]);
    corpus().hold(&[Retried { key: key() }]);
}

#[test]
fn every_type_of_this_crate_has_an_entry() {
    corpus().has_every_type();
}
