//! What reports say, compared with files: `VICE_GOLDEN=write` writes them anew, and a person reads the difference.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use unicode_width::UnicodeWidthStr;
use vice_core::ui::Format;
use vice_gluttony::cmd::{ReportArgs, report};
use vice_gluttony::view::dashboard::Dashboard;
use vice_gluttony::view::rollout::RolloutReport;

use crate::story::{self, Writer};
use crate::world::World;

/// The report of what stands in the history, in one format.
pub(crate) async fn made(world: &World, name: &str, format: Format) -> (String, Value) {
    world.set_format(format);
    let args = ReportArgs { name: Some(name.to_owned()), ..ReportArgs::default() };
    let outcome = report(&world.app, args).await.unwrap();
    (outcome.text, outcome.json)
}

/// The text without styles, as a terminal without colour shows it.
pub(crate) fn plain(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |out, part| out + part.split_once('m').unwrap().1)
}

pub(crate) fn compare(name: &str, actual: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var("VICE_GOLDEN").as_deref() == Ok("write") {
        fs::write(&path, actual).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(actual, expected, "{name} differs; VICE_GOLDEN=write writes it anew");
}

async fn story(name: &str, world: &World, subject: &str) {
    let (styled, json) = made(world, subject, Format::Text).await;
    let text = plain(&styled);
    for line in text.lines() {
        assert!(line.width() <= 100, "{} columns: {line}", line.width());
        assert_eq!(line, line.trim_end(), "spaces at the end of a line");
    }
    compare(&format!("{name}.txt"), &text);
    let (markdown, _) = made(world, subject, Format::Markdown).await;
    compare(&format!("{name}.md"), &markdown);
    compare(&format!("{name}.json"), &format!("{json:#}\n"));
    let again = if json["schema"] == "vice.report.rollout/1" {
        let report: RolloutReport = serde_json::from_value(json.clone()).unwrap();
        serde_json::to_value(report).unwrap()
    } else {
        let board: Dashboard = serde_json::from_value(json.clone()).unwrap();
        serde_json::to_value(board).unwrap()
    };
    assert_eq!(again, json, "{name} does not survive the round trip");
}

#[tokio::test]
async fn success() {
    let world = World::new();
    story::success(&Writer::new(&world)).await;
    story("success", &world, "hello").await;
}

#[tokio::test]
async fn rolled_back() {
    let world = World::new();
    let writer = Writer::new(&world);
    story::success(&writer).await;
    story::rolled_back(&writer).await;
    story("rolled-back", &world, "hello").await;
}

#[tokio::test]
async fn a_fleet_with_its_forecast() {
    let world = World::new();
    story::fleet(&Writer::new(&world)).await;
    story("fleet", &world, "hello").await;
    let (page, _) = made(&world, "hello", Format::Html).await;
    let dom = crate::dom::read(&page);
    for wanted in ["How it spread", "Predicted and actual", "later than predicted", "as predicted", "dc2/rack3"] {
        assert!(dom.text.contains(wanted), "{wanted}");
    }
    if let Ok(keep) = std::env::var("VICE_LAB_KEEP") {
        fs::write(PathBuf::from(keep).join("fleet.html"), &page).unwrap();
    }
}

#[tokio::test]
async fn failed_first() {
    let world = World::new();
    story::failed_first(&Writer::new(&world)).await;
    story("failed-first", &world, "hello").await;
}

#[tokio::test]
async fn in_progress() {
    let world = World::new();
    let writer = Writer::new(&world);
    story::success(&writer).await;
    story::in_progress(&writer).await;
    story("in-progress", &world, "hello").await;
}

#[tokio::test]
async fn waiting() {
    let world = World::new();
    let writer = Writer::new(&world);
    story::success(&writer).await;
    story::waiting(&writer).await;
    story("waiting", &world, "hello").await;
}

#[tokio::test]
async fn overview() {
    let world = World::new();
    let writer = Writer::new(&world);
    story::success(&writer).await;
    story::rolled_back(&writer).await;
    story::verification(&writer, "2026-03-02T11:30:00Z", story::bad_suite()).await;
    story::verification(&writer, "2026-03-02T11:40:00Z", story::good_suite()).await;
    story("overview", &world, "overview").await;
}

#[tokio::test]
async fn an_overview_of_nothing_says_that_there_is_no_data() {
    let world = World::new();
    story("overview-empty", &world, "overview").await;
    let (text, _) = made(&world, "overview", Format::Text).await;
    assert!(text.contains("no data"));
    assert!(!text.contains("0 %"), "{text}");
}

/// Twelve short deploys before the one that went back, so that there is something to compare with.
pub(crate) async fn long_story(writer: &Writer) {
    for number in 1..=12_u64 {
        let (id, began) = (format!("hello.dev.{number}"), format!("2026-02-{:02}T09:00:00Z", number + 10));
        let version = format!("0.{number}");
        let mut rollout = story::Rollout::start(writer, &id, &began, (Some("0"), &version)).await;
        rollout.notes(100, vec![]).await;
        let outcome = vice_core::payload::environment::RolloutOutcome::Succeeded;
        rollout.finish(6_000 + number * 700, outcome, Some(&version), None).await;
    }
    story::rolled_back_as(writer, "hello.dev.13").await;
}

#[tokio::test]
async fn a_duration_is_compared_with_the_ten_before() {
    let world = World::new();
    long_story(&Writer::new(&world)).await;
    let (text, json) = made(&world, "hello", Format::Text).await;
    let expected = serde_json::json!({
        "earlier": 10, "median_ms": 11_250, "min_ms": 8_100, "max_ms": 14_400, "rank": 9,
    });
    assert_eq!(json["comparison"], expected);
    let said = "13.1s – number 9 of 11 from the fastest; the 10 before took 8.1s to 14.4s, median 11.2s";
    assert!(plain(&text).contains(said), "{text}");
    let (page, _) = made(&world, "hello", Format::Html).await;
    let dom = crate::dom::read(&page);
    // A misspelt condition in a template would leave a part out without a word.
    for part in [
        "How to go on",
        "Timeline",
        "Checks",
        "Decisions",
        "Evidence",
        "Configuration",
        "Journal",
        "Compared",
        "the median",
        "Failure:",
        "On hold:",
        "Traffic",
        "«secret:db.password»",
        "64879f7d6b96",
        "the spring release",
        "◆ decision",
    ] {
        assert!(dom.text.contains(part), "the page has no {part}");
    }
}

#[tokio::test]
async fn a_page_of_what_waits_says_for_what() {
    let world = World::new();
    let writer = Writer::new(&world);
    story::success(&writer).await;
    story::waiting(&writer).await;
    let (page, _) = made(&world, "hello", Format::Html).await;
    let text = crate::dom::read(&page).text;
    assert!(
        text.contains("Waits for: An operator paused the rollout, until 2026-03-02 18:00:00 UTC (in 6h 00m)"),
        "{text}"
    );
    let (page, _) = made(&world, "overview", Format::Html).await;
    assert!(crate::dom::read(&page).text.contains("An operator paused the rollout."));
}
