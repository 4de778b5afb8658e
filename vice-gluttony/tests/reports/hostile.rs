//! Texts from outside that want to be more than texts.

use serde_json::json;
use vice_core::Millis;
use vice_core::event::{Actor, ActorKind};
use vice_core::payload::environment::{Direction, RolloutOutcome};
use vice_core::payload::rollout::{ConfigChange, Note, OperatorCommand, Verdict};
use vice_core::payload::verification::{CheckOutcome, CheckResult};
use vice_core::ui::Format;

use crate::dom;
use crate::golden::{made, plain};
use crate::story::{self, Rollout, Writer};
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

#[tokio::test]
async fn a_page_shows_hostile_texts_as_texts() {
    let world = World::new();
    hostile(&world).await;
    for name in ["hello", "overview"] {
        let (page, _) = made(&world, name, Format::Html).await;
        let dom = dom::read(&page);
        assert!(dom.text.contains("<script>alert(1)</script>\"><img src=x onerror=alert(2)>"), "{name} hides the text");
        assert!(dom.text.contains("{{{danger}}}"), "{name} evaluated a value");
        let forbidden =
            |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
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
