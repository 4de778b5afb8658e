//! Checks by command: it exits with 0, and what it prints matches. The configuration and what earlier checks captured
//! are in its environment, because arguments can be read by everybody on the machine.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use vice_core::port::command::{CommandOutput, CommandRunner, CommandSpec, Ended, EnvValue};
use vice_core::port::config::{ResolvedConfig, variable_name};
use vice_core::port::verifier::VerifyRequest;
use vice_core::{Millis, Result, Secret};

use crate::attempt::Attempt;
use crate::plan::Planned;
use crate::say::excerpt;
use crate::values::Values;

/// The environment variable of a capture.
pub(crate) fn capture_variable(name: &str) -> String {
    format!("VICE_CAPTURE_{}", variable_name(name))
}

/// One attempt, given up at `until`.
pub(crate) async fn attempt(
    runner: &dyn CommandRunner,
    request: &VerifyRequest,
    check: &Planned,
    values: &Values,
    until: Instant,
) -> Attempt {
    let spec = match command(request, check, values, until) {
        Ok(spec) => spec,
        Err(fault) => return Attempt::errored(fault.to_string()),
    };
    match runner.run(spec).await {
        Ok(output) => judge(check, values, &output),
        Err(fault) => Attempt::errored(format!("the command can't be run: {}", fault.chain().join(": "))),
    }
}

fn command(request: &VerifyRequest, check: &Planned, values: &Values, until: Instant) -> Result<CommandSpec> {
    let templates = check.spec.command.iter().flat_map(|command| &command.0);
    let argv = templates.map(|template| values.text(template)).collect::<Result<Vec<_>>>()?;
    let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let timeout = Millis(u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1));
    let mut spec = CommandSpec::new(argv, request.project.root.clone(), timeout);
    spec.env = environment(request, values);
    spec.masker = values.masker().clone();
    Ok(spec)
}

/// What a command finds in its environment.
pub(crate) fn environment(request: &VerifyRequest, values: &Values) -> BTreeMap<String, EnvValue> {
    let mut env = request.config.as_ref().map(ResolvedConfig::environment).unwrap_or_default();
    for (name, variable) in
        [("project", "VICE_PROJECT"), ("env", "VICE_ENV"), ("version", "VICE_VERSION"), ("env.url", "VICE_URL")]
    {
        if let Some(value) = values.get(name) {
            env.insert(variable.to_owned(), EnvValue::Plain(value.to_owned()));
        }
    }
    for (name, value, secret) in values.captures() {
        let value = if secret { EnvValue::Secret(Secret::new(value)) } else { EnvValue::Plain(value.to_owned()) };
        env.insert(capture_variable(name), value);
    }
    env
}

fn judge(check: &Planned, values: &Values, output: &CommandOutput) -> Attempt {
    let mut attempt = Attempt { latency: Some(output.took.as_duration()), ..Attempt::default() };
    match output.ended {
        Ended::TimedOut => attempt.error = Some(output.failure()),
        Ended::Exited(0) => {}
        Ended::Exited(_) | Ended::Signalled(_) => {
            attempt.fail(format!("command: expected exit status 0, got {}", output.failure()));
        }
    }
    for template in check.spec.matches.iter().flat_map(|matches| &matches.0) {
        match values.pattern(template) {
            Ok(pattern) if pattern.is_match(&output.stdout) || pattern.is_match(&output.stderr) => {}
            Ok(_) if attempt.error.is_some() => {}
            Ok(_) => {
                let got = if output.stdout.trim().is_empty() { &output.stderr } else { &output.stdout };
                let got = excerpt(values.masker(), got.trim_end());
                attempt.fail(format!("output: expected to match /{template}/, got `{got}`"));
            }
            Err(fault) => attempt.error = Some(fault.to_string()),
        }
    }
    attempt
}
