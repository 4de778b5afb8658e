//! `vice wrath` as a whole: against memory stores and a real server.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::{Value, json};
use vice_core::app::{App, ProcessEnv, Workspace};
use vice_core::event::Actor;
use vice_core::id::{EnvName, Ids, RolloutId, Scope};
use vice_core::manifest::Project;
use vice_core::memory::{MemoryEventStore, MemorySeriesStore};
use vice_core::payload::cdevents::TestSuiteRunFinished;
use vice_core::payload::config::ConfigRecorded;
use vice_core::payload::environment::{RolloutEnded, RolloutOutcome};
use vice_core::payload::simulation::SimulationReport;
use vice_core::payload::verification::VerificationFinished;
use vice_core::payload::{ReleaseRef, environment_stream, verification_stream};
use vice_core::port::config::{ConfigSource, ResolvedConfig};
use vice_core::port::locator::Locator;
use vice_core::port::notifier::{Delivery, Notice, Notifier, Severity};
use vice_core::port::painter::{Painter, PictureFormat};
use vice_core::port::target::UnitState;
use vice_core::rng::Streams;
use vice_core::series::SeriesQuery;
use vice_core::store::{Append, Query};
use vice_core::time::{Clock, SystemClock};
use vice_core::ui::{Format, Outcome, Progress, Ui};
use vice_core::{Class, Code, Fault, Millis, Result};
use vice_wrath::Wrath;
use vice_wrath::cmd::{WrathArgs, run};

use crate::server::Server;
use crate::support::{FakeRunner, project, provider, request, with_secret};

/// Every port but the one under test, as little as possible.
struct Fake {
    format: Format,
    told: Mutex<Vec<String>>,
    url: Option<String>,
    units: Mutex<Vec<UnitState>>,
    config: Option<ResolvedConfig>,
}

impl Ui for Fake {
    fn format(&self) -> Format {
        self.format
    }
    fn say(&self, _: Severity, text: &str) {
        self.told.lock().unwrap().push(text.to_owned());
    }
    fn progress(&self, progress: Progress) {
        self.told.lock().unwrap().push(format!("{} {}", progress.key, progress.text));
    }
    fn emit(&self, _: &str, _: &Value) -> bool {
        true
    }
    fn ask(&self, _: &str, flag: &str) -> Result<String> {
        Err(Fault::new(Code::NoInput, flag))
    }
    fn width(&self) -> usize {
        100
    }
}

impl Painter for Fake {
    fn simulation(&self, _: &SimulationReport, _: PictureFormat) -> Result<String> {
        Ok(String::new())
    }
}

#[async_trait]
impl Locator for Fake {
    async fn url(&self, _: &Scope) -> Result<Option<String>> {
        Ok(self.url.clone())
    }

    async fn units(&self, _: &Scope) -> Result<Vec<UnitState>> {
        Ok(self.units.lock().unwrap().clone())
    }
}

#[async_trait]
impl ConfigSource for Fake {
    async fn resolve(&self, _: &Arc<Project>, _: &EnvName) -> Result<ResolvedConfig> {
        self.config.clone().ok_or_else(|| Fault::new(Code::SecretLocked, "No key fits."))
    }
    fn record(&self, _: &Scope, _: &ResolvedConfig) -> ConfigRecorded {
        unreachable!("verification records no configuration")
    }
    async fn restore(&self, _: &Arc<Project>, _: &ConfigRecorded) -> Result<ResolvedConfig> {
        unreachable!("verification restores no configuration")
    }
}

#[async_trait]
impl Notifier for Fake {
    async fn notify(&self, _: Notice) -> Result<Vec<Delivery>> {
        Ok(Vec::new())
    }
    async fn pump(&self) -> Result<usize> {
        Ok(0)
    }
}

pub(crate) struct Setup {
    pub(crate) app: App,
    told: Arc<Fake>,
}

impl Setup {
    pub(crate) fn told(&self) -> String {
        self.told.told.lock().unwrap().join("\n")
    }

    pub(crate) fn deploy(&self, units: Vec<UnitState>) {
        *self.told.units.lock().unwrap() = units;
    }
}

pub(crate) fn setup(checks: &str, url: Option<String>, config: Option<ResolvedConfig>, format: Format) -> Setup {
    provider();
    let fake = Arc::new(Fake { format, told: Mutex::default(), url, units: Mutex::default(), config });
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let runner = Arc::new(FakeRunner::default());
    let series = Arc::new(MemorySeriesStore::default());
    let wrath = Wrath::new(Arc::clone(&clock), Arc::clone(&runner) as _)
        .with_ui(Arc::clone(&fake) as _)
        .with_series(Arc::clone(&series) as _);
    let wrath = Arc::new(wrath);
    let project = project(checks);
    let workspace = Workspace {
        root: PathBuf::from("/project"),
        projects: [(project.name().clone(), project)].into(),
        ..Workspace::default()
    };
    let app = App {
        clock,
        ids: Arc::new(Ids::new(&Streams::new(7))),
        ui: Arc::clone(&fake) as _,
        env: Arc::new(ProcessEnv::default()),
        actor: Actor::system("test"),
        workspace: Arc::new(workspace),
        events: Arc::new(MemoryEventStore::default()),
        series,
        runner,
        config: Arc::clone(&fake) as _,
        verifier: Arc::clone(&wrath) as _,
        prober: wrath,
        painter: Arc::clone(&fake) as _,
        locator: Arc::clone(&fake) as _,
        notifier: Arc::clone(&fake) as _,
        actions: Arc::default(),
        stop: Arc::default(),
        http: Arc::new(()),
    };
    Setup { app, told: fake }
}

pub(crate) fn args() -> WrathArgs {
    WrathArgs {
        command: None,
        project: Some("hello".into()),
        env: Some("dev".parse().unwrap()),
        only: vec![],
        tag: vec![],
        list: false,
        timeout: None,
    }
}

fn scope() -> Scope {
    Scope::new("hello".parse().unwrap(), "dev".parse().unwrap())
}

/// Says in the history that a version runs.
pub(crate) async fn deployed(app: &App, version: &str) {
    let release =
        ReleaseRef { version: version.into(), artifact: None, source: String::new(), config: None, recipe: None };
    let ended = RolloutEnded {
        rollout: RolloutId { scope: scope(), number: 1 },
        outcome: RolloutOutcome::Succeeded,
        running: Some(release),
        proven: false,
        took: Millis(5),
        reason: None,
        split: false,
    };
    let event = app.event(environment_stream(&scope()), Some(&scope()), &ended).unwrap();
    app.events.append(Append::of(vec![event])).await.unwrap();
}

/// `/ok` is fine, `/bad` is not, everything else is not there.
async fn server() -> Server {
    Server::start(|request, mut conn| async move {
        match request.line().split(' ').nth(1) {
            Some("/ok") => conn.answer("200 OK", "", "version 1.2").await,
            Some("/bad") => conn.answer("500 Oh", "", "<&\"]]>\u{1}").await,
            _ => conn.answer("404 No", "", "").await,
        }
    })
    .await
}

const MIXED: &str = "[check.fine]\nhttp = \"{{env.url}}/ok\"\nmatches = \"version {{version}}\"\n\
    [check.bad]\nhttp = \"{{env.url}}/bad\"\nmatches = \"ok\"\n[check.down]\ntcp = \"127.0.0.1:1\"\n[check.after]\ntcp = \"127.0.0.1:1\"\nneeds = [\"bad\"]\n";

async fn outcome(checks: &str, format: Format) -> (Setup, Result<Outcome>) {
    let server = server().await;
    let setup = setup(checks, Some(format!("{}/", server.url())), Some(ResolvedConfig::default()), format);
    deployed(&setup.app, "1.2").await;
    let outcome = run(&setup.app, args()).await;
    (setup, outcome)
}

#[tokio::test]
async fn the_text_reads_well_without_colour() {
    let (setup, outcome) = outcome(MIXED, Format::Text).await;
    let outcome = outcome.unwrap();
    assert_eq!(outcome.class, Class::Verification);
    for part in [
        "✓",
        "passed",
        "✗",
        "failed",
        "!",
        "not run",
        "-",
        "skipped",
        "    status: expected 200, got 500",
        "    needs bad, which failed",
    ] {
        assert!(outcome.text.contains(part), "{part}: {}", outcome.text);
    }
    assert!(outcome.text.lines().last().unwrap().starts_with("4 checks of hello in dev: "), "{}", outcome.text);
    assert_eq!(
        (&outcome.json["passed"], &outcome.json["failed"], &outcome.json["errored"], &outcome.json["skipped"]),
        (&json!(1), &json!(1), &json!(1), &json!(1))
    );
    assert_eq!(
        (&outcome.json["version"], &outcome.json["scope"]["env"], &outcome.json["ok"]),
        (&json!("1.2"), &json!("dev"), &json!(false))
    );
    assert_eq!(outcome.json["checks"][1]["outcome"], "failed");
    assert!(setup.told().contains("check/bad bad: failed: status: expected 200, got 500"), "{}", setup.told());
}

#[tokio::test]
async fn a_run_is_recorded_with_its_standard_event_and_its_latencies() {
    let (setup, _) = outcome(MIXED, Format::Text).await;
    let events = setup.app.events.read(&Query::stream(verification_stream(&scope()), 0)).await.unwrap();
    assert_eq!(events.len(), 2);
    let finished = events[0].event.decode::<VerificationFinished>().unwrap().unwrap();
    assert_eq!((finished.version.as_deref(), finished.suite.checks.len()), (Some("1.2"), 4));
    let standard = events[1].event.decode::<TestSuiteRunFinished>().unwrap().unwrap();
    assert_eq!((standard.outcome.as_str(), standard.environment.id.as_str()), ("failure", "dev"));
    assert_eq!(standard.reason.as_deref(), Some("bad: status: expected 200, got 500"));
    let now = SystemClock.now();
    let query = SeriesQuery {
        name: "check_latency_seconds".into(),
        labels: [("check", "fine"), ("project", "hello"), ("env", "dev"), ("version", "1.2")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into(),
        from: jiff::Timestamp::UNIX_EPOCH,
        until: now + jiff::SignedDuration::from_secs(60),
    };
    assert_eq!(setup.app.series.query(&query).await.unwrap().len(), 1);
}

#[tokio::test]
async fn junit_has_failures_errors_and_skips() {
    let (_, outcome) = outcome(MIXED, Format::Junit).await;
    let outcome = outcome.unwrap();
    let report = quick_junit::Report::deserialize_from_str(&outcome.text).unwrap();
    assert_eq!((report.tests, report.failures, report.errors), (4, 1, 1));
    let suite = &report.test_suites[0];
    assert_eq!((suite.name.as_str(), suite.tests, suite.timestamp.is_some()), ("hello/dev", 4, true));
    let status = |index: usize| format!("{:?}", suite.test_cases[index].status);
    assert!(status(0).starts_with("Success"));
    assert!(status(1).contains("Failure") && status(1).contains("status: expected 200, got 500"), "{}", status(1));
    assert!(status(1).contains("<&") && outcome.text.contains("&lt;&amp;"), "{}", outcome.text);
    assert!(status(2).contains("Error") && status(2).contains("connection refused"), "{}", status(2));
    assert!(status(3).starts_with("Skipped") && status(3).contains("needs bad"), "{}", status(3));
}

#[tokio::test]
async fn the_class_follows_from_what_was_found() {
    let (_, fine) = outcome("[check.a]\nhttp = \"{{env.url}}/ok\"\n", Format::Json).await;
    assert_eq!(fine.unwrap().class, Class::Done);
    let (_, down) = outcome("[check.a]\ntcp = \"127.0.0.1:1\"\n", Format::Json).await;
    assert_eq!(down.unwrap().class, Class::Failed);
    let (_, html) = outcome(MIXED, Format::Html).await;
    assert_eq!(html.unwrap_err().class(), Class::Usage);
}

#[tokio::test]
async fn nothing_to_check_is_said_with_what_to_do() {
    let (_, none) = outcome("", Format::Text).await;
    let none = none.unwrap_err();
    assert!(none.class() == Class::Usage && none.hints()[0].contains("[check.smoke]"), "{none:?}");
    let (_, elsewhere) = outcome("[check.a]\ntcp = \"x:1\"\nonly = [\"int\"]\n", Format::Text).await;
    assert_eq!(elsewhere.unwrap_err().code(), Code::Usage);
    let nowhere = setup(MIXED, None, Some(ResolvedConfig::default()), Format::Text);
    let fault = run(&nowhere.app, args()).await.unwrap_err();
    assert_eq!((fault.code(), fault.hints()[0].as_str()), (Code::Unreachable, "Run `vice deploy hello --env dev`."));
    let other = run(&nowhere.app, WrathArgs { only: vec!["down".into()], ..args() }).await.unwrap();
    assert_eq!(other.class, Class::Failed);
}

#[tokio::test]
async fn a_locked_configuration_only_stops_checks_that_need_it() {
    let server = server().await;
    let free = setup("[check.a]\nhttp = \"{{env.url}}/ok\"\n", Some(server.url()), None, Format::Text);
    assert_eq!(run(&free.app, args()).await.unwrap().class, Class::Done);
    assert!(free.told().contains("can't be masked"), "{}", free.told());
    let bound = setup("[check.a]\nhttp = \"{{env.url}}/{{config.x}}\"\n", Some(server.url()), None, Format::Text);
    assert_eq!(run(&bound.app, args()).await.unwrap_err().code(), Code::SecretLocked);
}

#[tokio::test]
async fn a_list_runs_nothing() {
    let setup = setup(MIXED, None, None, Format::Text);
    let outcome = run(&setup.app, WrathArgs { list: true, ..args() }).await.unwrap();
    assert!(
        outcome.text.contains("http GET {{env.url}}/ok") && outcome.text.contains("status 200, /version {{version}}/"),
        "{}",
        outcome.text
    );
    assert_eq!(outcome.json["checks"].as_array().unwrap().len(), 4);
    assert_eq!(setup.told(), "");
}

#[tokio::test]
async fn the_action_gives_counts_and_fails_with_the_class() {
    let server = server().await;
    let config = Some(ResolvedConfig::default());
    let setup = setup(MIXED, Some(server.url()), config, Format::Text);
    deployed(&setup.app, "1.2").await;
    let action = vice_wrath::cmd::actions(&setup.app).remove(0);
    assert_eq!(action.describe().name, "verify");
    let passed = action.run(json!({ "project": "hello", "env": "dev", "only": ["fine"] })).await.unwrap();
    assert_eq!((&passed["ok"], &passed["passed"], &passed["failed"]), (&json!(true), &json!(1), &json!(0)));
    let failed = action.run(json!({ "project": "hello", "env": "dev" })).await.unwrap_err();
    assert_eq!((failed.code(), &failed.details()["verification"]["failed"]), (Code::VerificationFailed, &json!(1)));
    assert_eq!(action.run(json!({})).await.unwrap_err().code(), Code::Usage);
}

/// A configuration with one secret.
pub(crate) fn secret_config(key: &str, secret: &str) -> Option<ResolvedConfig> {
    with_secret(request("", ""), key, secret).config
}

#[test]
fn the_command_line_is_as_documented() {
    use clap::{Args, FromArgMatches};
    let command = || WrathArgs::augment_args(clap::Command::new("wrath"));
    command().debug_assert();
    let line = ["wrath", "hello", "-e", "dev", "--only", "a", "--only", "b", "--tag", "x", "--timeout", "90s"];
    let parsed = WrathArgs::from_arg_matches(&command().get_matches_from(line)).unwrap();
    assert_eq!(
        (parsed.project.as_deref(), parsed.only.len(), parsed.timeout),
        (Some("hello"), 2, Some(Millis(90_000)))
    );
    assert!(command().try_get_matches_from(["wrath", "--env", "No Such"]).is_err());
    assert!(command().render_long_help().to_string().contains("vice wrath hello --list"));
}
