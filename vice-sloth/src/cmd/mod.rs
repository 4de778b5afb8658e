//! The command line of `vice sloth` (and `vice auto`).

mod choose;
mod list;
mod show;

use clap::{Args, Subcommand};
use vice_core::id::EnvName;
use vice_core::ui::{Format, Outcome};
use vice_core::{App, Code, Fault, Result};

use crate::draw;
use crate::journal::payload::RunId;
use crate::journal::read;
use crate::run::{self, Doubt, PARALLEL};

/// Automation graphs: steps that are actions or commands, run with their data flowing along the edges.
#[derive(Debug, Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Examples:\n  vice sloth run release\n  vice sloth graph release\n  vice sloth resume hello.release.3"
)]
pub struct SlothArgs {
    #[command(subcommand)]
    command: SlothCommand,
}

#[derive(Debug, Subcommand)]
enum SlothCommand {
    /// Run a graph
    #[command(
        after_help = "Examples:\n  vice sloth run release\n  vice sloth run release --project hello --env dev\n  vice sloth run release --resume"
    )]
    Run(RunArgs),
    /// Go on with a run that failed, was interrupted or was killed
    #[command(
        after_help = "Examples:\n  vice sloth resume hello.release.3\n  vice sloth resume hello.release.3 --redo deploy"
    )]
    Resume {
        /// The run
        run: RunId,
        #[command(flatten)]
        doubt: DoubtArgs,
    },
    /// Draw a graph: as text, with --format mermaid or svg as a picture
    #[command(
        after_help = "Examples:\n  vice sloth graph release\n  vice sloth graph release --format svg -o release.svg"
    )]
    Graph {
        /// The graph
        graph: String,
        /// The project; the one of this folder, or the only one that has the graph, when absent
        #[arg(short, long)]
        project: Option<String>,
        /// The environment that actions would get
        #[arg(short, long)]
        env: Option<EnvName>,
    },
    /// List the graphs, and whether they are valid
    #[command(after_help = "Example:\n  vice sloth list")]
    List {
        /// The project; all when absent
        project: Option<String>,
    },
    /// List the latest runs
    #[command(after_help = "Example:\n  vice sloth runs release --limit 5")]
    Runs {
        /// The graph; all when absent
        graph: Option<String>,
        /// The project; all when absent
        #[arg(short, long)]
        project: Option<String>,
        /// At most so many
        #[arg(short = 'n', long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
    },
    /// Show how a run went or stands
    #[command(after_help = "Example:\n  vice sloth show hello.release.3")]
    Show {
        /// The run
        run: RunId,
    },
}

#[derive(Debug, Args)]
struct RunArgs {
    /// The graph
    graph: String,
    /// The project; the one of this folder, or the only one that has the graph, when absent
    #[arg(short, long)]
    project: Option<String>,
    /// The environment that actions get when their step says none
    #[arg(short, long)]
    env: Option<EnvName>,
    /// How many steps may run at once
    #[arg(long, value_name = "COUNT", default_value_t = PARALLEL, value_parser = clap::value_parser!(u32).range(1..=64))]
    parallel: u32,
    /// Go on with the latest run of the graph instead of beginning a new one
    #[arg(long, conflicts_with_all = ["env", "parallel"])]
    resume: bool,
    #[command(flatten)]
    doubt: DoubtArgs,
}

#[derive(Debug, Args)]
struct DoubtArgs {
    /// Run this step again, though it is not known what it did (repeatable)
    #[arg(long, value_name = "STEP")]
    redo: Vec<String>,
    /// Take this step as done, though it is not known what it did (repeatable)
    #[arg(long, value_name = "STEP")]
    skip: Vec<String>,
}

impl From<DoubtArgs> for Doubt {
    fn from(args: DoubtArgs) -> Self {
        Self { redo: args.redo, skip: args.skip }
    }
}

/// Runs `vice sloth`.
///
/// # Errors
/// What the chosen command fails with. A step that fails is not an error but an [`Outcome`] whose class says what
/// that means.
pub async fn run(app: &App, args: SlothArgs) -> Result<Outcome> {
    match args.command {
        SlothCommand::Graph { graph, project, env } => draw_graph(app, &graph, project.as_deref(), env.as_ref()),
        other => {
            app.ui.format().among(&[])?;
            match other {
                SlothCommand::Run(args) => run_graph(app, args).await,
                SlothCommand::Resume { run, doubt } => resume(app, &run, doubt.into()).await,
                SlothCommand::List { project } => list::graphs(app, project.as_deref()).await,
                SlothCommand::Runs { graph, project, limit } => {
                    list::runs(app, project.as_deref(), graph.as_deref(), usize::from(limit)).await
                }
                SlothCommand::Show { run } => show::outcome(&read::run(app, &run).await?, app.clock.now()),
                SlothCommand::Graph { graph, project, env } => {
                    draw_graph(app, &graph, project.as_deref(), env.as_ref())
                }
            }
        }
    }
}

fn draw_graph(app: &App, name: &str, project: Option<&str>, env: Option<&EnvName>) -> Result<Outcome> {
    let format = app.ui.format().among(&[Format::Mermaid, Format::Svg])?;
    let project = choose::project(app, name, project)?;
    let env = run::environment(&project, env)?;
    let graph = run::check(app, &project, name, env.as_ref())?;
    let title = project.name().as_str();
    let text = match format {
        Format::Mermaid => draw::mermaid(&graph),
        Format::Svg => draw::svg(name, title, &graph),
        _ => draw::text(name, title, &graph),
    };
    Ok(Outcome::done(text, draw::value(name, title, &graph)))
}

async fn run_graph(app: &App, args: RunArgs) -> Result<Outcome> {
    let project = choose::project(app, &args.graph, args.project.as_deref())?;
    let doubt = Doubt::from(args.doubt);
    if args.resume {
        let number = read::latest(app, project.name(), &args.graph).await?;
        if number == 0 {
            return Err(Fault::new(Code::UnknownName, format!("The graph {} has never run.", args.graph))
                .hint("Leave --resume out to begin a first run."));
        }
        return resume(app, &RunId { project: project.name().clone(), graph: args.graph, number }, doubt).await;
    }
    if let Some(step) = doubt.redo.iter().chain(&doubt.skip).next() {
        return Err(Fault::new(Code::Usage, format!("A new run has no step {step} in doubt."))
            .hint("--redo and --skip are for --resume and `vice sloth resume`."));
    }
    let view = run::start(app, &project, &args.graph, args.env.as_ref(), args.parallel).await?;
    show::worked(app, &view)
}

async fn resume(app: &App, run: &RunId, doubt: Doubt) -> Result<Outcome> {
    let view = run::resume(app, run, &doubt).await?;
    show::worked(app, &view)
}

#[cfg(test)]
mod tests;
