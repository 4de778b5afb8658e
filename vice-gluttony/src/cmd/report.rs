//! `vice gluttony report NAME`: finds out what is meant, reads it, and shows it.

use clap::Args;
use serde_json::Value;
use vice_core::app::App;
use vice_core::id::{EnvName, RolloutId};
use vice_core::suggest::nearest;
use vice_core::ui::{Format, Outcome};
use vice_core::{Code, Context, Fault, Result};

use super::dashboards::known;
use crate::load;
use crate::render::{html, markdown, terminal};
use crate::view::dashboard::Dashboard;
use crate::view::rollout::RolloutReport;

/// Arguments of `vice report` and `vice gluttony report`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "Examples:
  vice report hello
  vice report hello --rollout 3
  vice report overview
  vice report hello --format html -o report.html")]
pub struct ReportArgs {
    /// A project, or a dashboard such as overview; the project of this folder when absent
    #[arg(value_name = "PROJECT|DASHBOARD")]
    pub name: Option<String>,

    /// The environment
    #[arg(short, long)]
    pub env: Option<EnvName>,

    /// A rollout such as 3 or hello.dev.3; the latest when absent
    #[arg(long, value_name = "ID")]
    pub rollout: Option<String>,
}

/// Runs `vice report`.
///
/// # Errors
/// `UnknownName` when there is no such project, dashboard, environment or rollout; what the store says.
pub async fn report(app: &App, args: ReportArgs) -> Result<Outcome> {
    let format = app.ui.format().among(&[Format::Html, Format::Markdown])?;
    let asked = Asked { name: args.name, env: args.env, rollout: args.rollout, only: None };
    let made = find(app, asked).await?;
    Ok(Outcome::done(made.text(format, app.ui.width())?, made.json()?))
}

/// What somebody wants to see.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) name: Option<String>,
    pub(crate) env: Option<EnvName>,
    pub(crate) rollout: Option<String>,
    /// Whether the name can only be a dashboard (true) or only a project (false).
    pub(crate) only: Option<bool>,
}

/// A view model of either kind.
#[derive(Debug)]
pub(crate) enum Made {
    Rollout(Box<RolloutReport>),
    Dashboard(Dashboard),
}

impl Made {
    pub(crate) fn text(&self, format: Format, width: usize) -> Result<String> {
        match (self, format) {
            (Self::Rollout(report), Format::Html) => html::rollout(report),
            (Self::Rollout(report), Format::Markdown) => Ok(markdown::rollout(report)),
            (Self::Rollout(report), _) => Ok(terminal::rollout(report, width)),
            (Self::Dashboard(board), Format::Html) => html::dashboard(board),
            (Self::Dashboard(board), Format::Markdown) => Ok(markdown::dashboard(board)),
            (Self::Dashboard(board), _) => Ok(terminal::dashboard(board, width)),
        }
    }

    pub(crate) fn json(&self) -> Result<Value> {
        let value = match self {
            Self::Rollout(report) => serde_json::to_value(report),
            Self::Dashboard(board) => serde_json::to_value(board),
        };
        value.context(Code::Internal, || "A report does not serialise.".to_owned())
    }

    pub(crate) fn summary(&self) -> String {
        match self {
            Self::Rollout(report) => report.headline.clone(),
            Self::Dashboard(board) => board.title.clone(),
        }
    }
}

/// Finds out what is meant and reads it. A project wins over a dashboard of the same name.
pub(crate) async fn find(app: &App, asked: Asked) -> Result<Made> {
    let name = asked.name.as_deref();
    let is_project = name.is_none_or(|name| app.workspace.projects.contains_key(name));
    if asked.only == Some(false) || (is_project && asked.only.is_none()) {
        return one(app, &asked).await;
    }
    let name = name.unwrap_or_default();
    let mut boards = known(app);
    let Some((spec, _)) = boards.remove(name) else {
        return Err(unknown(app, name, &boards.keys().map(String::as_str).collect::<Vec<_>>()));
    };
    if asked.rollout.is_some() {
        return Err(Fault::new(Code::Usage, format!("{name} is a dashboard; --rollout goes with a project."))
            .hint("Leave --rollout out, or name the project."));
    }
    Ok(Made::Dashboard(load::dashboard(app, name, &spec, asked.env.as_ref()).await?))
}

async fn one(app: &App, asked: &Asked) -> Result<Made> {
    let id = rollout_id(app, asked).await?;
    Ok(Made::Rollout(Box::new(load::rollout(app, &id).await?)))
}

async fn rollout_id(app: &App, asked: &Asked) -> Result<RolloutId> {
    let Some(text) = asked.rollout.as_deref() else {
        let (_, scope) = app.scope(asked.name.as_deref(), asked.env.as_ref())?;
        return load::latest(app, &scope).await;
    };
    if let Ok(number) = text.parse::<u64>() {
        let (_, scope) = app.scope(asked.name.as_deref(), asked.env.as_ref())?;
        return Ok(RolloutId { scope, number });
    }
    let id: RolloutId = text.parse()?;
    let other_project = asked.name.as_deref().is_some_and(|name| name != id.scope.project.as_str());
    let other_env = asked.env.as_ref().is_some_and(|env| *env != id.scope.env);
    if other_project || other_env {
        return Err(Fault::new(Code::Usage, format!("The rollout {id} belongs to {}.", id.scope))
            .hint("Leave the project and --env out, or name the ones that it belongs to."));
    }
    Ok(id)
}

fn unknown(app: &App, name: &str, boards: &[&str]) -> Fault {
    let projects: Vec<&str> = app.workspace.projects.keys().map(vice_core::id::ProjectName::as_str).collect();
    let shown: String = name.chars().take(80).collect();
    let fault = Fault::new(Code::UnknownName, format!("There is no project and no dashboard {shown:?} here."));
    let fault = match nearest(name, projects.iter().chain(boards).copied()) {
        Some(near) => fault.hint(format!("Did you mean {near}?")),
        None => fault,
    };
    let fault = match projects.as_slice() {
        [] => fault.hint("No vice.toml was found here; `vice init` writes one."),
        projects => fault.hint(format!("Known projects: {}.", projects.join(", "))),
    };
    fault.hint(format!("Known dashboards: {}.", boards.join(", ")))
}
