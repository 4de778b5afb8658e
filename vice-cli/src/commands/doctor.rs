//! `vice doctor`: checks the environment and every configured backend, and says what to do.

use clap::Args;
use serde_json::json;
use vice_core::app::{App, ProcessEnv, Workspace};
use vice_core::capability::Capability;
use vice_core::id::Scope;
use vice_core::manifest::Project;
use vice_core::port::notifier::Severity;
use vice_core::text::{Tone, count, paint};
use vice_core::ui::Outcome;
use vice_core::{Class, Code, Fault, Result};

use crate::workspace;

/// Arguments of `vice doctor`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vice doctor")]
pub(crate) struct DoctorArgs {}

/// One thing that was looked at.
struct Finding {
    what: String,
    severity: Severity,
    said: String,
    next: Option<String>,
}

impl Finding {
    fn good(what: impl Into<String>, said: impl Into<String>) -> Self {
        Self { what: what.into(), severity: Severity::Success, said: said.into(), next: None }
    }

    fn from_fault(what: impl Into<String>, fault: &Fault) -> Self {
        let next = fault.hints().first().cloned();
        let mut said = fault.chain().join(": ");
        if let Some(place) = fault.place() {
            let (line, column) = place.line_column();
            said.push_str(&format!(" ({}:{line}:{column})", place.file));
        }
        Self { what: what.into(), severity: Severity::Error, said, next }
    }

    fn warn(what: impl Into<String>, said: impl Into<String>, next: impl Into<String>) -> Self {
        Self { what: what.into(), severity: Severity::Warning, said: said.into(), next: Some(next.into()) }
    }
}

/// Looks at everything; exits 1 when something is broken.
pub(crate) async fn run(app: &App, _: DoctorArgs) -> Result<Outcome> {
    let mut findings = vec![Finding::good("vice", concat!("version ", env!("CARGO_PKG_VERSION")))];
    findings.push(state(app));
    findings.push(history(app).await);
    findings.push(git(&app.env));
    findings.extend(no_project(&app.workspace));
    for project in app.workspace.projects.values() {
        for env in project.manifest.env.keys() {
            environment(app, project, &Scope::new(project.name().clone(), env.clone()), &mut findings).await;
        }
        channels(&app.env, project, &mut findings);
        rules(app, project, &mut findings);
    }
    Ok(outcome(&findings))
}

/// Looks at what can be looked at when the history can't be opened or a project file can't be read.
pub(crate) fn without_app(env: &ProcessEnv, fault: &Fault) -> Outcome {
    let mut findings = vec![Finding::good("vice", concat!("version ", env!("CARGO_PKG_VERSION")))];
    let what = match fault.code() {
        Code::StateUnwritable | Code::Io => "state",
        Code::HistoryDamaged | Code::HistoryNewer => "history",
        Code::ManifestInvalid => "project",
        _ => "start",
    };
    findings.push(Finding::from_fault(what, fault));
    findings.push(git(env));
    if let Ok(workspace) = workspace::load(env) {
        findings.extend(no_project(&workspace));
        workspace.projects.values().for_each(|project| channels(env, project, &mut findings));
    }
    findings.push(Finding::warn(
        "environments",
        "not looked at, because of the error above",
        "put that right, and ask again",
    ));
    outcome(&findings)
}

/// Rules and webhooks, as far as they can be looked at without an event.
fn rules(app: &App, project: &Project, findings: &mut Vec<Finding>) {
    let manifest = &project.manifest;
    if manifest.rule.is_empty() && manifest.webhook.is_empty() {
        return;
    }
    let what = format!("{} rules", project.name());
    match vice_greed::rules::lint(project, &app.actions) {
        Err(fault) => findings.push(Finding::from_fault(what, &fault)),
        Ok(advice) if advice.is_empty() => {
            let (rules, hooks) = (manifest.rule.len() as u64, manifest.webhook.len() as u64);
            let said = format!("{}, {}", count(rules, "rule", "rules"), count(hooks, "webhook", "webhooks"));
            findings.push(Finding::good(what, said));
        }
        Ok(advice) => findings.extend(advice.into_iter().map(|advice| {
            let severity = if advice.wrong { Severity::Error } else { Severity::Warning };
            let next = Some("vice greed rules lint shows all of it".to_owned());
            Finding { what: format!("{what}: {}", advice.rule), severity, said: advice.said, next }
        })),
    }
}

fn no_project(workspace: &Workspace) -> Option<Finding> {
    let none = workspace.projects.is_empty();
    none.then(|| Finding::warn("project", "no vice.toml here or above", "vice init writes one"))
}

fn state(app: &App) -> Finding {
    let dir = &app.workspace.state;
    let probe = dir.join(".doctor");
    let written = std::fs::create_dir_all(dir)
        .and_then(|()| std::fs::write(&probe, b"x"))
        .and_then(|()| std::fs::remove_file(&probe));
    match written {
        Ok(()) => Finding::good("state", format!("{} can be written", dir.display())),
        Err(error) => Finding {
            what: "state".into(),
            severity: Severity::Error,
            said: format!("{} can't be written: {error}", dir.display()),
            next: Some("make the folder writable, or free disk space".into()),
        },
    }
}

async fn history(app: &App) -> Finding {
    let info = app.events.describe();
    let lasting = app.events.capabilities().has(Capability::Durable);
    match app.events.verify().await {
        Ok(found) if found.problems.is_empty() && info.shared && !lasting => Finding::warn(
            "history",
            format!("{} at {}: what it acknowledges may be gone after a power cut", info.kind, info.location),
            "let the server sync always, and say so behind the URL with ?sync=always",
        ),
        Ok(found) if found.problems.is_empty() => Finding::good(
            "history",
            format!(
                "{} at {}: {}, chain and head witness agree",
                info.kind,
                info.location,
                count(found.events, "event", "events")
            ),
        ),
        Ok(found) => Finding {
            what: "history".into(),
            severity: Severity::Error,
            said: found.problems.join(" "),
            next: Some("vice greed restore brings back a backup".into()),
        },
        Err(fault) => Finding::from_fault("history", &fault),
    }
}

fn git(env: &ProcessEnv) -> Finding {
    let path = env.get("PATH").unwrap_or_default();
    match std::env::split_paths(path).map(|dir| dir.join("git")).find(|file| file.is_file()) {
        Some(file) => Finding::good("git", file.display().to_string()),
        None => {
            Finding::warn("git", "not on PATH", "install it to deploy from git references and to name versions by tags")
        }
    }
}

async fn environment(app: &App, project: &std::sync::Arc<Project>, scope: &Scope, findings: &mut Vec<Finding>) {
    let what = scope.to_string();
    match vice_pride::backend::connect(app, project, scope) {
        Ok(backend) => {
            let info = backend.target.describe();
            match backend.target.inventory().await {
                Ok(inventory) => {
                    let units = inventory.units.len();
                    findings.push(Finding::good(
                        &what,
                        format!("target {} with {}", info.kind, count(units, "unit", "units")),
                    ));
                }
                Err(fault) => findings.push(Finding::from_fault(&what, &fault)),
            }
        }
        Err(fault) => findings.push(Finding::from_fault(&what, &fault)),
    }
    match app.config.resolve(project, &scope.env).await {
        Ok(config) => findings
            .push(Finding::good(&what, format!("configuration of {}", count(config.entries.len(), "key", "keys")))),
        Err(fault) => findings.push(Finding::from_fault(&what, &fault)),
    }
    if project.manifest.check.is_empty() {
        findings.push(Finding::warn(
            &what,
            "no checks: a deploy is only gated by health",
            "add a [check.…] to vice.toml",
        ));
    }
}

fn channels(env: &ProcessEnv, project: &Project, findings: &mut Vec<Finding>) {
    let manifest = &project.manifest;
    if let Err(fault) = vice_lust::check(project).and_then(|()| vice_lust::check_programs(project, env)) {
        findings.push(Finding::from_fault(format!("{} notify", project.name()), &fault));
    }
    for (name, channel) in &manifest.channel {
        let used = manifest.notify.iter().any(|rule| rule.to.0.contains(name));
        let what = format!("{} channel {name}", project.name());
        let kind = channel.kind();
        findings.push(if used {
            Finding::good(what, format!("{kind}; `vice lust test {name}` sends a message"))
        } else {
            Finding::warn(
                what,
                format!("{kind}, used by no [[notify]] rule"),
                "add a rule, or use it with `vice lust --to`",
            )
        });
    }
}

fn outcome(findings: &[Finding]) -> Outcome {
    let mut text = String::new();
    for finding in findings {
        let mark = match finding.severity {
            Severity::Error => paint(Tone::Bad, "✗"),
            Severity::Warning => paint(Tone::Warn, "!"),
            _ => paint(Tone::Good, "✓"),
        };
        text.push_str(&format!("{mark} {}: {}\n", finding.what, vice_core::text::sanitize(&finding.said)));
        if let Some(next) = &finding.next {
            text.push_str(&format!("    {} {next}\n", paint(Tone::Code, "do:")));
        }
    }
    let number = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (errors, warnings) = (number(Severity::Error), number(Severity::Warning));
    text.push_str(&match (errors, warnings) {
        (0, 0) => "Everything is fine.\n".to_owned(),
        (0, 1) => "It works; 1 thing deserves a look.\n".to_owned(),
        (0, warnings) => format!("It works; {warnings} things deserve a look.\n"),
        (1, _) => "1 thing is broken.\n".to_owned(),
        (errors, _) => format!("{errors} things are broken.\n"),
    });
    let listed: Vec<_> = findings
        .iter()
        .map(|finding| json!({ "what": finding.what, "severity": finding.severity, "said": finding.said, "next": finding.next }))
        .collect();
    let class = if errors > 0 { Class::Failed } else { Class::Done };
    Outcome::done(text, json!({ "findings": listed, "errors": errors, "warnings": warnings })).with_class(class)
}
