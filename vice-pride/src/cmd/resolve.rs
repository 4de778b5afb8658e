//! `vice pride resolve`: somebody has looked at what an operation did that nobody could tell.

use clap::Args;
use serde_json::json;
use vice_core::app::App;
use vice_core::id::{EnvName, RolloutId};
use vice_core::payload::rollout::{Finding, OperatorCommand};
use vice_core::ui::Outcome;
use vice_core::{Code, Fault, Result};
use vice_pride_engine::{OpNo, Plan, Work};

use super::ScopeArgs;
use super::control::{active, agreed, say_and_drive};
use crate::driver::load;

/// Arguments of `vice pride resolve`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vice pride resolve --project shop --env prod\n  vice pride resolve 7 --applied --reason 'the table is there'\n  vice pride resolve 7 --undo --reason 'better not'"
)]
pub struct ResolveArgs {
    /// The operation's number, or its id as `vice why` shows it; all in doubt are listed when absent
    #[arg(value_name = "OP")]
    op: Option<String>,
    /// The project; the one of this folder when absent
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    /// The environment
    #[arg(short, long)]
    env: Option<EnvName>,
    /// It was carried out: go on behind it
    #[arg(long, group = "found", requires = "op")]
    applied: bool,
    /// It was not carried out: it is done now
    #[arg(long, group = "found", requires = "op")]
    not_applied: bool,
    /// Whatever it did, go back
    #[arg(long, group = "found", requires = "op")]
    undo: bool,
    /// For environments of production class: the environment's name in full
    #[arg(long, value_name = "ENV")]
    confirm: Option<EnvName>,
    /// Why, or how it was found
    #[arg(long)]
    reason: Option<String>,
}

/// Says what was found, and drives on if nobody does.
pub(crate) async fn run(app: &App, args: ResolveArgs) -> Result<Outcome> {
    let id = active(app, &ScopeArgs { project: args.project, env: args.env }).await?;
    let journal = load(app, &id).await?;
    let doubts: Vec<(OpNo, Work)> = journal.state.doubts().collect();
    let Some(text) = args.op else { return Ok(list(&id, &doubts, &journal.plan)) };
    let op = number(&text)?;
    if !doubts.iter().any(|(doubt, _)| *doubt == op) {
        let fault = Fault::new(Code::UnknownName, format!("Operation {} of {id} is not in doubt.", op.0));
        return Err(fault.hint("`vice pride resolve` without a number lists those that are."));
    }
    let said = match (args.applied, args.not_applied, args.undo) {
        (true, _, _) => OperatorCommand::Resolve { op: op.0, found: Finding::Applied },
        (_, true, _) => OperatorCommand::Resolve { op: op.0, found: Finding::NotApplied },
        (_, _, true) => OperatorCommand::Abort,
        _ => {
            return Err(Fault::new(Code::Usage, "What did it do?")
                .hint("Add --applied, --not-applied, or --undo to go back in either case."));
        }
    };
    agreed(app, &id, args.confirm.as_ref())?;
    say_and_drive(app, id, said, args.reason).await
}

/// The number at the end of an operation's id.
fn number(text: &str) -> Result<OpNo> {
    let last = text.rsplit_once('/').map_or(text, |(_, last)| last);
    last.parse().map(OpNo).map_err(|_| {
        let shown: String = text.chars().take(60).collect();
        Fault::new(Code::Usage, format!("{shown:?} is no operation."))
            .hint("Write its number, as in `vice pride resolve 7`.")
    })
}

/// What an operation was for, in words.
pub(crate) fn describe(work: Work, plan: &Plan) -> String {
    let unit = |unit: vice_pride_engine::UnitNo| {
        plan.units.get(unit.index()).map_or_else(|| unit.0.to_string(), |unit| unit.name.clone())
    };
    match work {
        Work::Apply { unit: number } => format!("unit {} to version {}", unit(number), plan.to.version),
        Work::Undo { unit: number, .. } => format!("unit {} back to what it ran", unit(number)),
        Work::Task { task, unit: number, .. } => {
            let name = plan.tasks.get(usize::from(task.0)).map_or("?", |task| task.name.as_str());
            match number {
                Some(number) => format!("task {name} for unit {}", unit(number)),
                None => format!("task {name}"),
            }
        }
        Work::Fence { .. } => "the fence of the target".to_owned(),
        Work::Weigh { .. } => "the shares of traffic".to_owned(),
        Work::Verify { .. } | Work::Measure { .. } | Work::Probe { .. } => "a look at what runs".to_owned(),
    }
}

fn list(id: &RolloutId, doubts: &[(OpNo, Work)], plan: &Plan) -> Outcome {
    let mut text = String::new();
    for (op, work) in doubts {
        text.push_str(&format!("{}  {}\n", op.0, describe(*work, plan)));
    }
    if doubts.is_empty() {
        text = format!("Nothing of {id} is in doubt.\n");
    }
    let listed: Vec<_> = doubts.iter().map(|(op, work)| json!({ "op": op.0, "what": describe(*work, plan) })).collect();
    Outcome::done(text, json!({ "rollout": id, "in_doubt": listed }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_named_by_number_or_id() {
        assert_eq!(number("7").unwrap(), OpNo(7));
        assert_eq!(number("shop.prod.3-1f/12").unwrap(), OpNo(12));
        for bad in ["", "x", "7/", "-1", "99999999999"] {
            assert_eq!(number(bad).unwrap_err().code(), Code::Usage, "{bad:?}");
        }
    }
}
