//! Texts from outside that want to be more than texts.

use serde_json::json;
use vice_core::Millis;
use vice_core::event::{Actor, ActorKind};
use vice_core::payload::environment::{Direction, RolloutOutcome};
use vice_core::payload::rollout::{ConfigChange, Note, OperatorCommand, Verdict};
use vice_core::payload::simulation::{Histogram, Named, SimulationReport};
use vice_core::payload::verification::{CheckOutcome, CheckResult};
use vice_core::port::painter::{Painter, PictureFormat};
use vice_core::ui::Format;
use vice_gluttony::Gluttony;

use crate::dom;
use crate::golden::{made, plain};
use crate::story::{self, Rollout, Writer};
use crate::study::{SMALL, study};
use crate::world::World;

/// Everything at once, so that each field is tried with each of them.
pub(crate) const EVIL: &str = concat!(
    "<script>alert(1)</script>\"><img src=x onerror=alert(2)>' onmouseover='alert(3)' javascript:alert(4) ",
    "{{danger}} {{{danger}}} </title></style><svg/onload=alert(5)> &lt;b&gt; \u{202e}desrever\u{2066} \u{1b}[31mred\u{7} ",
    "a\nb | *c* `d` [e](javascript:f) @everyone https://evil.example/",
);

/// `hello.dev.1`, each of whose texts is hostile.
pub(crate) async fn hostile(world: &World) {
    let mut writer = Writer::new(world);
    writer.actor = Actor { id: EVIL.into(), kind: ActorKind::Bot, on_behalf_of: None, evidence: EVIL.into() };
    let text = || EVIL.to_owned();
    let changes = vec![ConfigChange { key: text(), before: Some(text()), after: Some(text()) }];
    let versions = (Some(EVIL), EVIL);
    let began = "2026-03-02T11:00:00Z";
    let mut rollout = Rollout::start_with(&writer, "hello.dev.1", began, (versions, Some(EVIL), changes)).await;
    let direction = Direction::Deploy;
    rollout.notes(0, vec![story::wave(1, 1, &[EVIL], direction)]).await;
    let started = Note::UnitStarted { unit: text(), version: text(), op: text() };
    let failed = Note::UnitFailed { unit: text(), version: text(), reason: text(), took: Millis(900) };
    rollout.notes(100, vec![started]).await;
    rollout.notes(1_000, vec![failed, Note::TaskStarted { task: text(), unit: Some(text()), direction }]).await;
    let task =
        Note::TaskFinished { task: text(), unit: Some(text()), ok: false, reason: Some(text()), took: Millis(5) };
    rollout.notes(1_100, vec![task, Note::VerifyStarted { direction }]).await;
    let check = CheckResult {
        name: text(),
        kind: text(),
        subject: text(),
        outcome: CheckOutcome::Failed,
        attempts: 2,
        took: Millis(10),
        messages: vec![text()],
    };
    let suite = story::suite(vec![check]);
    rollout.notes(1_200, vec![Note::VerifyFinished { suite: suite.clone() }]).await;
    let evidence = json!({ EVIL: [EVIL, { "deep": EVIL }] });
    rollout.notes(1_300, vec![story::decided(Verdict::Rollback, EVIL, evidence)]).await;
    let command = Note::Commanded { command: OperatorCommand::Abort, by: text(), reason: Some(text()) };
    let weights = Note::WeightsSet { weights: vec![(text(), 10_000)] };
    rollout.notes(1_400, vec![command, weights, Note::Held { reason: text(), until: None }]).await;
    rollout.hold(EVIL).await;
    rollout.finish(1_500, RolloutOutcome::NotRestored, Some(EVIL), Some(EVIL)).await;
    story::verification(&writer, "2026-03-02T11:30:00Z", suite).await;
}

/// A simulation, each of whose texts is hostile.
pub(crate) fn hostile_study() -> SimulationReport {
    let text = || EVIL.to_owned();
    let mut report = study(SMALL);
    report.version = Some(text());
    report.policy = Some(text());
    report.warnings = vec![text()];
    report.fleet.levels = vec![text()];
    report.fleet.classes = vec![Named { name: text(), units: 1 }];
    report.fleet.domains = vec![Named { name: text(), units: 1 }];
    report.fleet.aggregated = Some(text());
    for one in &mut report.assumptions {
        (one.key, one.value, one.note) = (text(), text(), Some(text()));
    }
    for story in &mut report.stories {
        (story.name, story.about, story.impact_unit) = (text(), Some(text()), Some(text()));
        for wave in &mut story.waves {
            wave.name = Some(text());
        }
        for one in &mut story.bottlenecks {
            one.constraint = text();
        }
        if let Some(bound) = &mut story.lower_bound {
            bound.binding = Some(text());
        }
        let drawn = story.propagation.as_mut().unwrap();
        drawn.aggregated = Some(text());
        for row in &mut drawn.rows {
            row.path = vec![text(), text()];
        }
        for decision in &mut drawn.decisions {
            decision.reason = text();
        }
    }
    let compared = report.compare.as_mut().unwrap();
    (compared.a, compared.b) = (text(), text());
    for row in &mut compared.rows {
        (row.story, row.figure) = (text(), text());
    }
    report.pareto.as_mut().unwrap().impact_unit = Some(text());
    report
}

#[test]
fn pictures_of_a_simulation_keep_hostile_texts_inert() {
    let report = hostile_study();
    let page = crate::simulation::page(&report);
    let dom = dom::read(&page);
    assert!(dom.text.contains("<script>alert(1)</script>\"><img src=x onerror=alert(2)>"), "the page hides the text");
    assert!(dom.text.contains("{{{danger}}}"), "the page evaluated a value");
    assert!(!page.contains(forbidden), "control or bidirectional characters");
    let styled = Gluttony.simulation(&report, PictureFormat::Text { width: 100 }).unwrap();
    assert!(!styled.contains("\u{1b}[31mred"));
    assert!(plain(&styled).chars().all(|c| !c.is_control() || c == '\n'));
    let markdown = Gluttony.simulation(&report, PictureFormat::Markdown).unwrap();
    let outside = without_code(&markdown);
    assert!(!outside.contains("<script") && !outside.contains("<img") && !outside.contains("@everyone"));
    assert!(!markdown.contains(forbidden));
}

/// Whoever fills a report can be wrong as well: nothing in it is worth a panic or a page that does not open.
#[test]
fn nonsense_in_a_simulation_is_drawn_as_nothing() {
    let mut report = study(SMALL);
    for story in &mut report.stories {
        story.total_ms.p50 = f64::NAN;
        story.total_ms.p95 = f64::INFINITY;
        story.outcomes.clear();
        story.total_ms_histogram = Some(Histogram { edges: vec![1.0, f64::NAN], counts: vec![7] });
        story.exposure_server_hours_histogram = Some(Histogram { edges: vec![1.0], counts: vec![7, 8] });
        for wave in &mut story.waves {
            (wave.units, wave.units_after, wave.p_unfound_after) = (u64::MAX, u64::MAX, Some(f64::NEG_INFINITY));
        }
        let drawn = story.propagation.as_mut().unwrap();
        for row in &mut drawn.rows {
            row.changes = vec![[0, 0, 0, 0, 0, 0], [9_999_999, u32::MAX, u32::MAX, 1, 1, 1]];
        }
        drawn.decisions[0].at_ms = u64::MAX;
        drawn.waves[0].end_ms = Some(0);
        drawn.shares[0].basis_points = u32::MAX;
    }
    report.stories[1].propagation.as_mut().unwrap().rows[0].changes.clear();
    report.stories[0].propagation.as_mut().unwrap().times_ms.clear();
    let pareto = report.pareto.as_mut().unwrap();
    pareto.points[0].time_ms = f64::NAN;
    pareto.points[1].impact = -5.0;
    report.compare.as_mut().unwrap().rows[0].lo = f64::NAN;
    let page = crate::simulation::page(&report);
    dom::read(&page);
    assert!(!page.contains("NaN") && !page.contains("inf\""));
    for width in [0, 60, 100] {
        Gluttony.simulation(&report, PictureFormat::Text { width }).unwrap();
    }
    Gluttony.simulation(&report, PictureFormat::Markdown).unwrap();
}

fn forbidden(c: char) -> bool {
    (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[tokio::test]
async fn a_page_shows_hostile_texts_as_texts() {
    let world = World::new();
    hostile(&world).await;
    for name in ["hello", "overview"] {
        let (page, _) = made(&world, name, Format::Html).await;
        let dom = dom::read(&page);
        assert!(dom.text.contains("<script>alert(1)</script>\"><img src=x onerror=alert(2)>"), "{name} hides the text");
        assert!(dom.text.contains("{{{danger}}}"), "{name} evaluated a value");
        assert!(!page.contains(forbidden), "{name} has control or bidirectional characters");
        // The reader has compared the one script that may be there with ours, byte by byte.
        let count = |wanted| dom.elements.iter().filter(|(element, _)| element == wanted).count();
        assert_eq!((count("script") <= 1, count("img")), (true, 0));
    }
}

#[tokio::test]
async fn a_terminal_gets_no_escape_sequence_from_outside() {
    let world = World::new();
    hostile(&world).await;
    for name in ["hello", "overview"] {
        let (text, _) = made(&world, name, Format::Text).await;
        assert!(!text.contains("\u{1b}[31mred") && !text.contains('\u{7}') && !text.contains('\u{202e}'));
        assert!(plain(&text).chars().all(|c| !c.is_control() || c == '\n'), "{name}");
        assert!(plain(&text).contains("\\u{1b}[31mred"), "{name} hides what was there");
        for line in plain(&text).lines() {
            assert!(unicode_width::UnicodeWidthStr::width(line) <= 100, "{name}: {line}");
        }
    }
}

#[tokio::test]
async fn markdown_keeps_hostile_texts_in_their_cells() {
    let world = World::new();
    hostile(&world).await;
    for name in ["hello", "overview"] {
        let (text, _) = made(&world, name, Format::Markdown).await;
        // What is not code must have no markup; code shows everything as it is.
        let outside = without_code(&text);
        assert!(!outside.contains("<script") && !outside.contains("<img"), "{name}");
        let mut columns = None;
        for line in text.lines() {
            if !line.starts_with('|') {
                columns = None;
                continue;
            }
            let count = line.replace("\\|", "").matches('|').count();
            assert_eq!(*columns.get_or_insert(count), count, "{name}: {line}");
        }
    }
}

/// The text without its code spans: a run of backticks up to the next run of the same length.
fn without_code(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('`') {
        if rest[..at].ends_with('\\') {
            out.push_str(&rest[..=at]);
            rest = &rest[at + 1..];
            continue;
        }
        out.push_str(&rest[..at]);
        let run = rest[at..].chars().take_while(|c| *c == '`').count();
        let inside = &rest[at + run..];
        let mut end = 0;
        loop {
            end += inside[end..].find('`').expect("a code span ends");
            let closing = inside[end..].chars().take_while(|c| *c == '`').count();
            if closing == run {
                break;
            }
            end += closing;
        }
        rest = &inside[end + run..];
    }
    out + rest
}

#[tokio::test]
async fn json_keeps_what_was_recorded() {
    let world = World::new();
    hostile(&world).await;
    let (_, json) = made(&world, "hello", Format::Json).await;
    assert_eq!(json["by"], EVIL);
    assert_eq!(json["failure"], EVIL);
    let text = json.to_string();
    assert!(text.chars().all(|c| !c.is_control()), "JSON escapes control characters");
}
