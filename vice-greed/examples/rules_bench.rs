//! Events a second of one core that 20 rules look at, of which at most 2 are about an event's type; `bench/rules/run` calls it.
//!
//!     rules_bench [SECONDS] [ROUNDS]
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark prints and measures time")]

use std::time::{Duration, Instant};

use jiff::Timestamp;
use vice_core::event::{Actor, Event};
use vice_core::manifest::Project;
use vice_greed::rules::Ruleset;

type Failure = Box<dyn std::error::Error>;

/// Ten types with two rules each: one compares a text deep in the data, one a number and a text.
fn project() -> Result<Project, Failure> {
    let mut text = "name = \"shop\"\n[env.dev]\n".to_owned();
    for n in 0..10 {
        text.push_str(&format!(
            "[[rule]]\nname = \"a{n}\"\non = \"com.example.kind{n}\"\nwhen = 'data.subject.content.outcome == \"failure\"'\nthen.store = {{ stream = \"x\" }}\n\
             [[rule]]\nname = \"b{n}\"\nwhen = 'type == \"com.example.kind{n}\" && data.customData.n > 500 && subject.startsWith(\"run-\")'\nthen.store = {{ stream = \"x\" }}\n"
        ));
    }
    Ok(Project::parse("/".into(), "vice.toml".into(), text)?)
}

fn event(n: u64) -> Event {
    let outcome = if n.is_multiple_of(7) { "failure" } else { "success" };
    let data = format!(
        r#"{{"context":{{"specversion":"0.5.1","id":"id-{n}","source":"/vice","type":"com.example.kind{}","timestamp":"2026-07-14T09:00:00Z"}},"subject":{{"id":"run-{n}","source":"/vice","content":{{"environment":{{"id":"prod"}},"outcome":"{outcome}","reason":"as expected"}}}},"customData":{{"n":{},"host":"web-{}"}},"customDataContentType":"application/json"}}"#,
        n % 12,
        n % 1000,
        n % 40
    );
    Event {
        id: format!("id-{n}"),
        source: "/vice".into(),
        // Every sixth event is of a type that no rule is about.
        kind: format!("com.example.kind{}", n % 12),
        subject: format!("run-{n}"),
        time: Timestamp::UNIX_EPOCH,
        stream: "inbox".into(),
        scope: None,
        actor: Actor::system("bench"),
        data,
    }
}

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, default: u64| args.get(index).map_or(Ok(default), |text| text.parse());
    let (seconds, rounds) = (number(0, 2)?, number(1, 5)?);
    let rules = Ruleset::of(&project()?)?;
    let events: Vec<Event> = (0..10_000).map(event).collect();
    for round in 0..rounds {
        let (start, mut looked, mut fitting) = (Instant::now(), 0_u64, 0);
        while start.elapsed() < Duration::from_secs(seconds) {
            for event in &events {
                fitting += rules.fitting(event);
            }
            looked += events.len() as u64;
        }
        let rate = looked as f64 / start.elapsed().as_secs_f64();
        println!("round {round}: {rate:.0} events/s, {:.3} rules fit an event", fitting as f64 / looked as f64);
    }
    Ok(())
}
