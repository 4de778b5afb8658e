//! The events of the rules' bookkeeping against what was ever written of them.

use jiff::Timestamp;
use serde_json::json;
use vice_core::Millis;
use vice_core::id::{EnvName, ProjectName};
use vice_core::manifest::{EmitMode, Measure};
use vice_core::port::notifier::Severity;
use vice_core::testkit::golden::Corpus;

use crate::rules::effect::{Cause, Effect};
use crate::rules::payload::{
    Advanced, Claimed, ClosedCell, DeadLetter, Discarded, Done, Failed, GivenUp, Held, HeldCell, Queued, Retried,
    WindowClosed,
};
use crate::window::Cell;

fn corpus() -> Corpus {
    Corpus::of(env!("CARGO_MANIFEST_DIR"))
}

fn key() -> String {
    "00112233445566778899aabbccddeeff".to_owned()
}

fn rule() -> String {
    "slow".to_owned()
}

fn cause() -> Cause {
    Cause { seq: 17, id: "n-7".into(), kind: "com.example.made".into(), subject: "cache".into() }
}

/// One effect of each kind, and the forms of sending on.
fn effects() -> Vec<Effect> {
    let timeout = Millis::from_secs(30);
    let emit = |mode, token: Option<&str>, env: Option<&str>| Effect::Emit {
        url: "https://sink.example/events".into(),
        mode,
        token: token.map(str::to_owned),
        env: env.map(|env| EnvName::new(env).unwrap()),
    };
    vec![
        Effect::Notify {
            title: "slow".into(),
            body: "17 s".into(),
            to: vec!["ops".into()],
            severity: Severity::Warning,
        },
        Effect::Action { name: "verify".into(), input: json!({ "env": "prod" }), timeout },
        Effect::Command { argv: vec!["./clear".into(), "--all".into()], timeout },
        emit(EmitMode::Structured, Some("env:SINK"), Some("prod")),
        emit(EmitMode::Binary, None, None),
        emit(EmitMode::Batch, None, None),
        emit(EmitMode::Otlp, None, None),
    ]
}

#[test]
fn what_rules_note_is_read_as_it_was_written() {
    let project = ProjectName::new("shop").unwrap();
    let count = || [(rule(), 3)].into();
    let closed = vec![ClosedCell { rule: rule(), start: 1_700_000_000_000, key: "web-1".into() }];
    let (cursor, watermark) = (17, 1_700_000_060_000);
    let bare =
        Advanced { project: project.clone(), cursor, watermark, fired: [].into(), late: [].into(), closed: Vec::new() };
    corpus().hold(&[Advanced { project, cursor, watermark, fired: count(), late: count(), closed }, bare]);
    let cell = |cell| HeldCell {
        start: 1_700_000_000_000,
        key: "web-1".into(),
        cell: serde_json::from_value::<Cell>(cell).unwrap(),
    };
    let cells = vec![
        cell(json!({ "count": 1 })),
        cell(json!({
            "count": 4, "hops": 1,
            "sketch": { "below": { "3": 1 }, "zero": 1, "above": { "-2": 1, "120": 1 } },
            "distinct": { "exact": [1, 18_446_744_073_709_551_615_u64] },
        })),
        // Two thousand registers that have seen nothing.
        cell(json!({ "count": 0, "distinct": { "about": "A".repeat(2_731) } })),
    ];
    corpus().hold(&[Held { rule: rule(), cells }]);
    let window = |measure, value, exact| WindowClosed {
        rule: rule(),
        key: "web-1".into(),
        start: Timestamp::UNIX_EPOCH,
        end: Timestamp::from_second(60).unwrap(),
        measure,
        value,
        exact,
        count: 4,
        late: 1,
    };
    corpus().hold(&[
        window(Measure::Count, Some(4.0), true),
        window(Measure::Rate, Some(0.25), true),
        window(Measure::Distinct, Some(300.0), false),
        window(Measure::Quantile, None, false),
    ]);
}

#[test]
fn what_waits_outside_of_the_log_is_read_as_it_was_written() {
    let (attempt, reason) = (2, "it did not answer".to_owned());
    let queued = |effect| Queued { key: key(), rule: rule(), cause: cause(), effect };
    corpus().hold(&effects().into_iter().map(queued).collect::<Vec<_>>());
    corpus().hold(&[Claimed { key: key(), attempt, by: "box/17".into(), until: Timestamp::UNIX_EPOCH }]);
    corpus().hold(&[Done { key: key(), answer: "201".into() }]);
    corpus().hold(&[Failed { key: key(), attempt, reason: reason.clone(), retry_at: Timestamp::UNIX_EPOCH }]);
    corpus().hold(&[GivenUp { key: key() }]);
    let dead =
        |effect| DeadLetter { key: key(), rule: rule(), cause: cause(), effect, attempts: 8, reason: reason.clone() };
    corpus().hold(&effects().into_iter().map(Some).chain([None]).map(dead).collect::<Vec<_>>());
    corpus().hold(&[Retried { key: key() }]);
    corpus().hold(&[Discarded { key: key() }]);
}
