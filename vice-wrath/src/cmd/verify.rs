//! A run of the checks outside of a rollout: what it is given, and how it is recorded.

use std::sync::Arc;

use vice_core::app::App;
use vice_core::fold::environment::EnvironmentState;
use vice_core::fold::load;
use vice_core::id::Scope;
use vice_core::manifest::{CheckSpec, Project};
use vice_core::payload::cdevents::{EnvironmentRef, TestSuiteRunFinished};
use vice_core::payload::verification::{CheckOutcome, SuiteResult, VerificationFinished};
use vice_core::payload::{environment_stream, verification_stream};
use vice_core::port::config::ResolvedConfig;
use vice_core::port::notifier::Severity;
use vice_core::port::verifier::VerifyRequest;
use vice_core::store::Append;
use vice_core::template::Vars;
use vice_core::{Code, Fault, Millis, Result};

use crate::plan::names_used;

/// How long all checks may take when nobody says.
const TIMEOUT: Millis = Millis::from_secs(300);

/// What somebody asked for.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) only: Vec<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) timeout: Option<Millis>,
}

/// What was found, and on which version.
pub(crate) struct Verified {
    pub(crate) version: Option<String>,
    pub(crate) suite: SuiteResult,
}

/// Runs the checks and records what was found.
pub(crate) async fn verify(app: &App, project: &Arc<Project>, scope: &Scope, asked: Asked) -> Result<Verified> {
    refuse_nothing(project, scope)?;
    let vars = vars(app, project, scope).await?;
    refuse_undeployed(project, scope, &vars, &asked.only)?;
    let version = vars.get("version").cloned();
    let config = config(app, project, scope).await?;
    let deadline = asked.timeout.or(project.env(&scope.env)?.rollout.verify_timeout).unwrap_or(TIMEOUT);
    let request = VerifyRequest {
        project: Arc::clone(project),
        env: scope.env.clone(),
        only: asked.only,
        tags: asked.tags,
        direction: None,
        vars,
        config,
        deadline,
    };
    let suite = app.verifier.verify(request).await?;
    record(app, scope, version.clone(), &suite).await?;
    Ok(Verified { version, suite })
}

fn refuse_nothing(project: &Project, scope: &Scope) -> Result<()> {
    let checks = &project.manifest.check;
    if checks.is_empty() {
        return Err(Fault::new(Code::Usage, format!("The project {} has no checks.", project.name()))
            .at(project.place(&[], ""))
            .hint("Add one to vice.toml: [check.smoke] with http = \"{{env.url}}/\"."));
    }
    if checks.values().all(|check| !check.only.is_empty() && !check.only.contains(&scope.env)) {
        return Err(Fault::new(Code::Usage, format!("No check of {} is for {}.", project.name(), scope.env))
            .hint("Each check has an `only` that leaves this environment out."));
    }
    Ok(())
}

/// The template variables of an environment outside of a rollout: `project`, `env`, and, where they are known,
/// `version` and `env.url` (without a slash at its end).
///
/// # Errors
/// What the store and the locator say.
pub async fn vars(app: &App, project: &Project, scope: &Scope) -> Result<Vars> {
    let mut vars = Vars::new();
    vars.insert("project".to_owned(), scope.project.to_string());
    vars.insert("env".to_owned(), scope.env.to_string());
    let (state, _) = load::<EnvironmentState>(app.events.as_ref(), &environment_stream(scope)).await?;
    if let Some(running) = state.running {
        vars.insert("version".to_owned(), running.release.version);
    }
    if let Some(url) = url(app, project, scope).await? {
        vars.insert("env.url".to_owned(), url.trim_end_matches('/').to_owned());
    }
    Ok(vars)
}

/// Says in one sentence what would otherwise be an unknown name in a template.
fn refuse_undeployed(project: &Project, scope: &Scope, vars: &Vars, only: &[String]) -> Result<()> {
    let asked = |name: &String, check: &CheckSpec| {
        (only.is_empty() || only.contains(name)) && (check.only.is_empty() || check.only.contains(&scope.env))
    };
    let mut checks = project.manifest.check.iter().filter(|(name, check)| asked(name, check));
    if vars.contains_key("env.url") || !checks.any(|(_, check)| uses(check, "env.url")) {
        return Ok(());
    }
    let message = format!("Nothing of {} is deployed in {}, so there is nothing to check.", scope.project, scope.env);
    Err(Fault::new(Code::Unreachable, message)
        .hint(format!("Run `vice deploy {} --env {}`.", scope.project, scope.env))
        .hint(format!("Or say where it answers: [env.{}] with url = \"https://…\".", scope.env)))
}

async fn url(app: &App, project: &Project, scope: &Scope) -> Result<Option<String>> {
    if let Some(url) = &project.env(&scope.env)?.url {
        return Ok(Some(url.clone()));
    }
    match app.locator.url(scope).await {
        // Checks that never look there run without it.
        Err(_) if !project.manifest.check.values().any(|check| uses(check, "env.url")) => Ok(None),
        found => found,
    }
}

fn uses(check: &CheckSpec, name: &str) -> bool {
    // A scenario uses what it likes; most look at the environment.
    check.scenario.is_some() || names_used(check).iter().any(|used| used == name)
}

/// The configuration: always asked for, because what is secret in it must be masked wherever it comes back.
pub(crate) async fn config(app: &App, project: &Arc<Project>, scope: &Scope) -> Result<Option<ResolvedConfig>> {
    let fault = match app.config.resolve(project, &scope.env).await {
        Ok(config) => return Ok(Some(config)),
        Err(fault) => fault,
    };
    let needed = |check| names_used(check).iter().any(|name| name.starts_with("config."));
    if project.manifest.check.values().any(|check| check.command.is_some() || check.scenario.is_some() || needed(check))
    {
        return Err(fault);
    }
    let text = format!("The configuration can't be read ({fault}); its secrets can't be masked in messages of checks.");
    app.ui.say(Severity::Warning, &text);
    Ok(None)
}

/// Records what a run found.
///
/// # Errors
/// What the history says.
pub(crate) async fn record(app: &App, scope: &Scope, version: Option<String>, suite: &SuiteResult) -> Result<()> {
    let stream = verification_stream(scope);
    let finished = VerificationFinished { scope: scope.clone(), version, rollout: None, suite: bounded(suite.clone()) };
    let outcome = if suite.count(CheckOutcome::Failed) > 0 {
        "failure"
    } else if suite.count(CheckOutcome::Errored) > 0 {
        "error"
    } else {
        "success"
    };
    let first = suite.checks.iter().find(|check| matches!(check.outcome, CheckOutcome::Failed | CheckOutcome::Errored));
    let reason = first.and_then(|check| Some(format!("{}: {}", check.name, check.messages.first()?)));
    let standard = TestSuiteRunFinished {
        environment: EnvironmentRef { id: scope.env.to_string() },
        outcome: outcome.to_owned(),
        severity: None,
        reason,
        run: app.ids.next(app.clock.now()),
    };
    let events = vec![app.event(&stream, Some(scope), &finished)?, app.event(&stream, Some(scope), &standard)?];
    app.events.append(Append::of(events)).await?;
    Ok(())
}

/// An event has a largest size. A suite of thousands of failing checks keeps its outcomes and loses messages.
fn bounded(mut suite: SuiteResult) -> SuiteResult {
    const MESSAGES_BYTES_MAX: usize = 256 * 1024;
    let mut left = MESSAGES_BYTES_MAX;
    for check in &mut suite.checks {
        check.messages.retain(|message| {
            let fits = message.len() <= left;
            left = left.saturating_sub(message.len());
            fits
        });
    }
    suite
}
