//! `vice doctor`: checks the environment and every configured backend, and says what to do.

use clap::Args;
use serde_json::json;
use vice_core::app::App;
use vice_core::id::Scope;
use vice_core::manifest::{ChannelSpec, Project};
use vice_core::port::notifier::Severity;
use vice_core::text::{Tone, paint};
use vice_core::ui::Outcome;
use vice_core::{Class, Result};

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

    fn from_fault(what: impl Into<String>, fault: &vice_core::Fault) -> Self {
        let next = fault.hints().first().cloned();
        Self { what: what.into(), severity: Severity::Error, said: fault.chain().join(": "), next }
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
    findings.push(git(app));
    if app.workspace.projects.is_empty() {
        findings.push(Finding::warn("project", "no vice.toml here or above", "vice init writes one"));
    }
    for project in app.workspace.projects.values() {
        for env in project.manifest.env.keys() {
            environment(app, project, &Scope::new(project.name().clone(), env.clone()), &mut findings).await;
        }
        channels(project, &mut findings);
    }
    Ok(outcome(&findings))
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
    match app.events.verify().await {
        Ok(found) if found.problems.is_empty() => Finding::good(
            "history",
            format!("{} at {}: {} events, chain and head witness agree", info.kind, info.location, found.events),
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

fn git(app: &App) -> Finding {
    let path = app.env.get("PATH").unwrap_or_default();
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
                    findings.push(Finding::good(&what, format!("target {} with {units} units", info.kind)));
                }
                Err(fault) => findings.push(Finding::from_fault(&what, &fault)),
            }
        }
        Err(fault) => findings.push(Finding::from_fault(&what, &fault)),
    }
    match app.config.resolve(project, &scope.env).await {
        Ok(config) => findings.push(Finding::good(&what, format!("configuration of {} keys", config.entries.len()))),
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

fn channels(project: &Project, findings: &mut Vec<Finding>) {
    let manifest = &project.manifest;
    for (name, channel) in &manifest.channel {
        let used = manifest.notify.iter().any(|rule| rule.to.0.contains(name));
        let what = format!("{} channel {name}", project.name());
        let kind = match channel {
            ChannelSpec::Stdout {} => "stdout",
            ChannelSpec::File { .. } => "file",
            ChannelSpec::Webhook { .. } => "webhook",
            ChannelSpec::Slack { .. } => "slack",
            ChannelSpec::Email { .. } => "email",
            ChannelSpec::Command { .. } => "command",
        };
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
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    text.push_str(&match (errors, warnings) {
        (0, 0) => "Everything is fine.\n".to_owned(),
        (0, warnings) => format!("It works; {warnings} things deserve a look.\n"),
        (errors, _) => format!("{errors} things are broken.\n"),
    });
    let listed: Vec<_> = findings
        .iter()
        .map(|finding| json!({ "what": finding.what, "severity": finding.severity, "said": finding.said, "next": finding.next }))
        .collect();
    let class = if errors > 0 { Class::Failed } else { Class::Done };
    Outcome::done(text, json!({ "findings": listed, "errors": errors, "warnings": warnings })).with_class(class)
}
