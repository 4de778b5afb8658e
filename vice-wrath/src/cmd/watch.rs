//! `vice wrath watch`: plays scenarios at their intervals until it is stopped, raises incidents and clears them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use rand_pcg::Pcg64Mcg;
use serde_json::{Value, json};
use tokio::time::Instant;
use vice_core::app::App;
use vice_core::fold::environment::EnvironmentState;
use vice_core::fold::load;
use vice_core::histogram::latency_bucket;
use vice_core::id::EnvName;
use vice_core::payload::cdevents::{EnvironmentRef, IncidentDetected, IncidentResolved, ServiceRef};
use vice_core::payload::verification::CheckOutcome;
use vice_core::payload::{environment_stream, incident_stream};
use vice_core::port::notifier::{Notice, Severity};
use vice_core::rng::Streams;
use vice_core::series::Labels;
use vice_core::store::Append;
use vice_core::ui::Outcome;
use vice_core::{Class, Millis, Result};

use super::run::{self, Asked, ChooseArgs, Scene};
use crate::play::Player;
use crate::play::result::{RunResult, is_bad};
use crate::scenario::Scenario;
use crate::watch::exporter;
use crate::watch::health::{Change, Health, Thresholds};
use crate::watch::incidents::{IncidentChanged, OpenIncidents};
use crate::watch::metrics::{StepTimes, Watched, page};
use crate::watch::schedule::Schedule;
use crate::witness;

/// How often the loop looks whether it was asked to end.
const STOP_EVERY: Duration = Duration::from_millis(100);

/// So many different steps of a scenario are counted one by one.
const STEPS_MAX: usize = 200;

/// Arguments of `vice wrath watch`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  vice wrath watch --every 30s --env prod
  vice wrath watch checkout --every 1m --failures 3 --location eu --listen 127.0.0.1:9115")]
pub struct WatchArgs {
    /// Which scenarios are meant.
    #[command(flatten)]
    pub choose: ChooseArgs,

    /// The environment.
    #[arg(short, long)]
    pub env: Option<EnvName>,

    /// The address to play against, instead of that of the environment; nothing is recorded then.
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,

    /// A variable, as NAME=VALUE; may be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    pub var: Vec<String>,

    /// How often each scenario is played.
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    pub every: Millis,

    /// By which share of the interval a play is moved at random.
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    pub jitter: f64,

    /// So many bad plays in a row raise an incident.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub failures: u32,

    /// So many good plays in a row clear it.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub successes: u32,

    /// From where it is watched, such as eu; incidents and series carry it.
    #[arg(long, value_name = "NAME")]
    pub location: Option<String>,

    /// A label of the series, such as region=eu; may be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    pub label: Vec<String>,

    /// Serve metrics for Prometheus at this address, under /metrics.
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,

    /// End after so long; never when absent.
    #[arg(long = "for", value_name = "DURATION")]
    pub during: Option<Millis>,
}

/// One scenario under watch.
struct Post<'a> {
    scenario: &'a Scenario,
    rng: Pcg64Mcg,
    /// The number of the next play.
    next: u32,
    due: Instant,
    busy: bool,
    incident: Option<IncidentChanged>,
}

struct Watch<'a> {
    app: &'a App,
    scene: &'a Scene,
    location: String,
    labels: Labels,
    thresholds: Thresholds,
    watched: BTreeMap<String, Watched>,
    page: exporter::Page,
}

/// Watches until it is stopped.
///
/// # Errors
/// As [`run::prepare`]; `Usage` for a schedule that makes no sense; what the history says about incidents.
pub(crate) async fn run(app: &App, args: WatchArgs) -> Result<Outcome> {
    app.ui.format().among(&[])?;
    let schedule = Schedule::new(args.every, args.jitter)?;
    let mut labels = run::labels(&args.label)?;
    labels.extend(args.location.clone().map(|location| ("location".to_owned(), location)));
    let asked = Asked { choose: &args.choose, env: args.env.as_ref(), url: args.url.as_deref(), var: &args.var };
    let (scenarios, scene) = run::prepare(app, asked).await?;
    let listener = match &args.listen {
        Some(address) => Some(exporter::bind(address).await?),
        None => None,
    };
    let page: exporter::Page = Arc::new(Mutex::new(String::new()));
    if let Some(listener) = &listener {
        app.ui.say(Severity::Info, &format!("Metrics are at http://{}/metrics.", exporter::address(listener)?));
    }
    let server = listener.map(|listener| tokio::spawn(exporter::serve(listener, Arc::clone(&page))));
    let mut watch = Watch {
        app,
        scene: &scene,
        location: args.location.clone().unwrap_or_default(),
        labels,
        thresholds: Thresholds { raise: args.failures, clear: args.successes },
        watched: BTreeMap::new(),
        page,
    };
    let ended = watch.all(&scenarios, schedule, args.during).await;
    server.into_iter().for_each(|server| server.abort());
    ended?;
    Ok(watch.outcome())
}

impl Watch<'_> {
    async fn all(&mut self, scenarios: &[Scenario], schedule: Schedule, during: Option<Millis>) -> Result<()> {
        let player = run::player(self.app, self.scene, 1);
        let start = Instant::now();
        let end = during.map(|during| start + during.as_duration());
        let mut posts = self.posts(scenarios, schedule, start).await?;
        self.draw();
        let mut playing = FuturesUnordered::new();
        loop {
            let now = Instant::now();
            let over = self.app.stop.raised().is_some() || end.is_some_and(|end| now >= end);
            for (index, post) in posts.iter_mut().enumerate().filter(|(_, post)| !over && post.due <= now) {
                self.due(post, schedule, start);
                if !std::mem::replace(&mut post.busy, true) {
                    playing.push(play(&player, self.app, self.scene, index, post.scenario));
                } else if let Some(watched) = self.watched.get_mut(&post.scenario.name) {
                    watched.health.missed += 1;
                }
            }
            if over && playing.is_empty() {
                return Ok(());
            }
            let next = posts.iter().map(|post| post.due).min().unwrap_or(now + STOP_EVERY);
            let nap = next.min(now + STOP_EVERY).max(now + Duration::from_millis(1));
            tokio::select! {
                Some((index, result)) = playing.next(), if !playing.is_empty() => {
                    if let (Some(post), Some(result)) = (posts.get_mut(index), result) {
                        post.busy = false;
                        self.ended(post, &result).await?;
                    }
                }
                () = tokio::time::sleep_until(nap) => {}
            }
        }
    }

    async fn posts<'s>(
        &mut self,
        scenarios: &'s [Scenario],
        schedule: Schedule,
        start: Instant,
    ) -> Result<Vec<Post<'s>>> {
        let mut open = BTreeMap::new();
        if let Some(scope) = &self.scene.scope {
            let (state, _) = load::<OpenIncidents>(self.app.events.as_ref(), &incident_stream(scope)).await?;
            open = state.at(&self.location);
        }
        let seed = u64::try_from(self.app.clock.now().as_millisecond()).unwrap_or(0);
        let streams = Streams::new(seed);
        let mut posts = Vec::new();
        for (scenario, entity) in scenarios.iter().zip(0..) {
            let mut rng = streams.stream("watch", entity);
            let due = start + schedule.first(&mut rng);
            let incident = open.remove(&scenario.name);
            let health = if incident.is_some() { Health::opened() } else { Health::default() };
            self.watched.insert(scenario.name.clone(), Watched { health, ..Watched::default() });
            posts.push(Post { scenario, rng, next: 1, due, busy: false, incident });
        }
        Ok(posts)
    }

    /// Sets the next time. Times that passed while the machine slept are not made up for.
    fn due(&self, post: &mut Post<'_>, schedule: Schedule, start: Instant) {
        let passed = Instant::now().saturating_duration_since(start).as_nanos() / schedule.every().as_nanos().max(1);
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        post.next = post.next.max(passed.saturating_add(1));
        post.due = start + schedule.after_start(post.next, &mut post.rng);
        post.next = post.next.saturating_add(1);
    }

    async fn ended(&mut self, post: &mut Post<'_>, run: &RunResult) -> Result<()> {
        let outcome = crate::play::result::together(run.scenarios.iter().map(|scenario| scenario.outcome));
        let thresholds = self.thresholds;
        let Some(watched) = self.watched.get_mut(&post.scenario.name) else { return Ok(()) };
        count(watched, run);
        let change = watched.health.observe(outcome, thresholds);
        self.observe(run).await;
        let reason = reason(run);
        let line = json!({
            "scenario": post.scenario.name, "outcome": outcome, "took_ms": run.took_ms, "reason": reason,
            "time": self.app.clock.now(), "location": self.location,
            "incident": change.map(|change| if change == Change::Raised { "raised" } else { "cleared" }),
        });
        let word = if is_bad(outcome) { format!("did not pass: {reason}") } else { "passed".to_owned() };
        let text = format!("{} {} {word}\n", self.app.clock.now(), post.scenario.name);
        // Where nobody reads any more, somebody may still scrape.
        let _read = self.app.ui.emit(&text, &line);
        match change {
            Some(Change::Raised) => self.raise(post, reason).await?,
            Some(Change::Cleared) => self.clear(post).await?,
            None => {}
        }
        self.draw();
        Ok(())
    }

    async fn observe(&self, run: &RunResult) {
        let Some(scope) = &self.scene.scope else { return };
        let mut labels = self.labels.clone();
        labels.insert("project".to_owned(), scope.project.to_string());
        labels.insert("env".to_owned(), scope.env.to_string());
        labels.insert("host".to_owned(), self.app.env.host.clone());
        if let Ok((state, _)) = load::<EnvironmentState>(self.app.events.as_ref(), &environment_stream(scope)).await {
            labels.extend(state.running.map(|placed| ("version".to_owned(), placed.release.version)));
        }
        // Observations are not history; the next play has some again.
        drop(self.app.series.record(witness::points(run, &labels, self.app.clock.now())).await);
    }

    async fn raise(&self, post: &mut Post<'_>, reason: String) -> Result<()> {
        let now = self.app.clock.now();
        let at = if self.location.is_empty() { String::new() } else { format!(" from {}", self.location) };
        let title = format!("{} does not pass{at}: {reason}", post.scenario.name);
        self.app.ui.say(Severity::Error, &title);
        let Some(scope) = &self.scene.scope else { return Ok(()) };
        let changed = IncidentChanged {
            incident: self.app.ids.next(now),
            scope: scope.clone(),
            scenario: post.scenario.name.clone(),
            location: self.location.clone(),
            open: true,
            since: now,
            reason,
        };
        let detected = IncidentDetected {
            description: title.clone(),
            environment: EnvironmentRef { id: scope.env.to_string() },
            service: ServiceRef { id: scope.project.to_string() },
            incident: changed.incident.clone(),
        };
        let stream = incident_stream(scope);
        let events =
            vec![self.app.event(&stream, Some(scope), &changed)?, self.app.event(&stream, Some(scope), &detected)?];
        self.app.events.append(Append::of(events)).await?;
        self.notify(&changed, Severity::Error, title).await;
        post.incident = Some(changed);
        Ok(())
    }

    async fn clear(&self, post: &mut Post<'_>) -> Result<()> {
        let now = self.app.clock.now();
        let since = post.incident.as_ref().map_or(now, |incident| incident.since);
        let title = format!("{} passes again, after {}", post.scenario.name, Millis::between(since, now));
        self.app.ui.say(Severity::Success, &title);
        let (Some(scope), Some(incident)) = (&self.scene.scope, post.incident.take()) else { return Ok(()) };
        let changed = IncidentChanged { open: false, since: now, reason: String::new(), ..incident };
        let resolved = IncidentResolved {
            description: title.clone(),
            environment: EnvironmentRef { id: scope.env.to_string() },
            service: ServiceRef { id: scope.project.to_string() },
            incident: changed.incident.clone(),
        };
        let stream = incident_stream(scope);
        let events =
            vec![self.app.event(&stream, Some(scope), &changed)?, self.app.event(&stream, Some(scope), &resolved)?];
        self.app.events.append(Append::of(events)).await?;
        self.notify(&changed, Severity::Success, title).await;
        Ok(())
    }

    async fn notify(&self, changed: &IncidentChanged, severity: Severity, title: String) {
        let Some(project) = &self.scene.project else { return };
        let word = if changed.open { "raised" } else { "cleared" };
        let notice = Notice {
            key: format!("incident-{}-{word}", changed.incident),
            project: Arc::clone(project),
            scope: Some(changed.scope.clone()),
            severity,
            title,
            body: changed.reason.clone(),
            time: changed.since,
            channels: Vec::new(),
        };
        // The history has it; a channel that does not work must not end the watch.
        if let Err(fault) = self.app.notifier.notify(notice).await {
            self.app.ui.say(Severity::Warning, &format!("The incident could not be told ({fault})."));
        }
    }

    fn draw(&self) {
        let page = page(&self.watched, &self.labels);
        *self.page.lock().unwrap_or_else(PoisonError::into_inner) = page;
    }

    fn outcome(&self) -> Outcome {
        let rows: Vec<Value> = self
            .watched
            .iter()
            .map(|(name, watched)| {
                let health = &watched.health;
                json!({ "scenario": name, "runs": health.runs, "bad": health.bad, "missed": health.missed, "open": health.open })
            })
            .collect();
        let open = self.watched.values().filter(|watched| watched.health.open).count();
        let runs: u64 = self.watched.values().map(|watched| watched.health.runs).sum();
        let bad: u64 = self.watched.values().map(|watched| watched.health.bad).sum();
        let text = format!("{runs} plays, {bad} did not pass; {open} incidents are open.\n");
        let class = if open > 0 { Class::Verification } else { Class::Done };
        Outcome { class, text, json: json!({ "open": open, "scenarios": rows }) }
    }
}

async fn play(
    player: &Player,
    app: &App,
    scene: &Scene,
    index: usize,
    scenario: &Scenario,
) -> (usize, Option<RunResult>) {
    let mut values = scene.values.clone();
    values.set("run.id", Value::from(app.ids.next(app.clock.now())));
    if let Some(scope) = &scene.scope
        && let Some(url) = moved(app, scene, scope).await
    {
        values.set("env.url", Value::from(url.trim_end_matches('/')));
    }
    // Interrupted: nothing was found out.
    (index, player.play(std::slice::from_ref(scenario), &values).await.ok())
}

/// Where the system answers now: a deploy may have moved it.
async fn moved(app: &App, scene: &Scene, scope: &vice_core::id::Scope) -> Option<String> {
    let fixed = scene.project.as_ref()?.env(&scope.env).ok()?.url.is_some();
    if fixed || scene.values.get("env.url").is_none() {
        return None;
    }
    app.locator.url(scope).await.ok().flatten()
}

fn reason(run: &RunResult) -> String {
    let bad = run.scenarios.iter().find(|scenario| is_bad(scenario.outcome));
    let first = bad.and_then(|scenario| {
        let step = scenario.first_bad();
        let found = step.and_then(|step| Some(format!("{}: {}", step.name, step.findings.first()?.message)));
        scenario.reason.clone().or(found)
    });
    first.unwrap_or_default()
}

fn count(watched: &mut Watched, run: &RunResult) {
    watched.seconds = run.took_ms / 1000.0;
    for step in run.scenarios.iter().flat_map(|scenario| &scenario.steps) {
        if step.outcome == CheckOutcome::Skipped {
            continue;
        }
        if !watched.steps.contains_key(&step.name) && watched.steps.len() >= STEPS_MAX {
            continue;
        }
        let times: &mut StepTimes = watched.steps.entry(step.name.clone()).or_default();
        times.bad += u64::from(is_bad(step.outcome));
        if let Some(ms) = step.latency_ms {
            *times.buckets.entry(latency_bucket((ms * 1000.0) as u64)).or_default() += 1;
            times.count += 1;
            times.sum_seconds += ms / 1000.0;
        }
    }
}
