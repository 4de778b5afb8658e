//! `vice pride replay`: what another policy would have said of rollouts that are over. It reads the history and changes
//! nothing; the verdicts are those of the engine's judge.

mod past;
mod policy;
mod render;

use clap::Args;
use serde_json::json;
use vice_core::app::App;
use vice_core::fold;
use vice_core::fold::environment::EnvironmentState;
use vice_core::id::{EnvName, ProjectName, RolloutId};
use vice_core::payload::environment_stream;
use vice_core::ui::Outcome;
use vice_core::{Code, Fault, Result};
use vice_pride_engine::hindsight::{End, Hindsight, look_back, recorded_windows};
use vice_pride_engine::judge::Analysis;
use vice_pride_engine::{Course, Reason};

use crate::driver::{Journal, load};
use policy::Policy;

/// Arguments of `vice pride replay`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vice pride replay shop.prod.12 --policy careful.toml\n  vice pride replay shop.prod.12 --set error_ratio_max=2 --set metric.errors.margin=1.25\n  vice pride replay --all --project shop --env prod --policy careful.toml"
)]
pub struct ReplayArgs {
    /// A rollout such as shop.prod.12, or a project, which means its latest judged one
    #[arg(value_name = "ROLLOUT", required_unless_present = "all", conflicts_with = "all")]
    what: Option<String>,
    /// Every rollout of the history: precision and recall of the policy
    #[arg(long)]
    all: bool,
    /// With --all: only this project
    #[arg(long, value_name = "PROJECT", requires = "all")]
    project: Option<ProjectName>,
    /// Only this environment
    #[arg(short, long)]
    env: Option<EnvName>,
    /// A TOML file with keys of [env.NAME.rollout] that judge, and [metric.NAME] tables; as recorded when absent
    #[arg(long, value_name = "FILE")]
    policy: Option<String>,
    /// One key of the policy, over the file: alpha=0.001, metric.errors.margin=1.25
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Replays one rollout, or all of them.
///
/// # Errors
/// `UnknownName`; `Usage` for a rollout without readings and a policy that can't be replayed; `HistoryDamaged`.
pub(crate) async fn run(app: &App, args: ReplayArgs) -> Result<Outcome> {
    let policy = Policy::read(&app.env.dir, args.policy.as_deref(), &args.set)?;
    if args.all {
        return past::run(app, args.project.as_ref(), args.env.as_ref(), &policy).await;
    }
    let id = find(app, args.what.as_deref(), args.env.as_ref()).await?;
    let journal = load(app, &id).await?;
    let replayed = Replayed::new(&id, &journal, &policy)?;
    let text = render::one(&id, &journal, &replayed, &policy);
    let value = json!({
        "rollout": id,
        "policy": replayed.analysis,
        "ignored": policy.ignored,
        "recorded": { "end": replayed.recorded.end, "outcome": journal.state.outcome(), "cause": journal.state.cause() },
        "replayed": replayed.policy,
    });
    Ok(Outcome::done(text, value))
}

/// One rollout under the policy and, for comparison, under the one that it had.
struct Replayed {
    /// The policy for this rollout: what it had, with the changes.
    analysis: Analysis,
    /// Under the policy that it had.
    recorded: Hindsight,
    /// Under the other one.
    policy: Hindsight,
}

impl Replayed {
    /// # Errors
    /// `Usage` where nothing was recorded, or the policy does not fit.
    fn new(id: &RolloutId, journal: &Journal, policy: &Policy) -> Result<Self> {
        let Some(had) = journal.plan.analysis.as_ref() else { return Err(unjudged(id, "No metric judged it.")) };
        let analysis = policy.applied_to(had)?;
        let windows = recorded_windows(&journal.recorded, had.metrics.len());
        if windows.is_empty() {
            return Err(unjudged(id, "It ended before the first window of a metric was read."));
        }
        let course = Course::new(journal.plan.clone())?;
        let recorded = look_back(&course, &windows, had)?;
        let policy = look_back(&course, &windows, &analysis)?;
        Ok(Self { analysis, recorded, policy })
    }

    /// Whether the policy would have stopped it.
    fn stops(&self) -> bool {
        matches!(self.policy.end, End::Stopped(_))
    }
}

/// Whether the judge ended it then.
fn was_judged(journal: &Journal) -> bool {
    matches!(journal.state.cause(), Some(Reason::Judged { .. }))
}

fn unjudged(id: &RolloutId, why: &str) -> Fault {
    Fault::new(Code::Usage, format!("The rollout {id} has no readings that could be judged again."))
        .because(why.to_owned())
        .hint("Only rollouts that watched live metrics have them: strategies such as canary and ramp, with a [metric.NAME].")
        .hint("`vice pride replay --all` passes over those without and counts them.")
}

/// The rollout that is meant: by its id, or the latest judged one of a project.
async fn find(app: &App, what: Option<&str>, env: Option<&EnvName>) -> Result<RolloutId> {
    if let Some(id) = what.and_then(|what| what.parse::<RolloutId>().ok()) {
        return Ok(id);
    }
    let (_, scope) = app.scope(what, env)?;
    let (state, _) = fold::load::<EnvironmentState>(app.events.as_ref(), &environment_stream(&scope)).await?;
    for past in &state.past {
        let journal = load(app, &past.rollout).await?;
        if journal.plan.analysis.is_some() && !recorded_windows(&journal.recorded, 0).is_empty() {
            return Ok(past.rollout.clone());
        }
    }
    Err(Fault::new(Code::UnknownName, format!("No rollout of {scope} has readings of metrics yet."))
        .hint("`vice history` lists the rollouts; those with a canary or ramp strategy are judged on live metrics."))
}
