//! Steps by command: what it prints, and how it exits. The configuration and what was captured is in its environment.

use vice_core::port::command::{CommandSpec, Ended, EnvValue};
use vice_core::{Millis, Secret};

use super::{Tried, Try};
use crate::command::capture_variable;
use crate::query::facts::Facts;

pub(super) async fn attempt(attempt: &Try<'_>, argv: &[String], stdin: Option<&str>, mut facts: Facts) -> Tried {
    let spec = match spec(attempt, argv, stdin) {
        Ok(spec) => spec,
        Err(why) => return Tried::failed(facts, why),
    };
    match attempt.bench.runner.run(spec).await {
        Err(fault) => Tried::failed(facts, format!("the command can't be run: {}", fault.chain().join(": "))),
        Ok(output) => {
            facts.timing.total = output.took.as_duration();
            let error = (output.ended == Ended::TimedOut).then(|| output.failure());
            facts.exit = match output.ended {
                Ended::Exited(status) => Some(status),
                // As shells count it.
                Ended::Signalled(signal) => Some(128 + signal),
                Ended::TimedOut => None,
            };
            facts.body = output.stdout.into_bytes();
            facts.stderr = output.stderr;
            Tried { facts, error, late: false }
        }
    }
}

fn spec(attempt: &Try<'_>, argv: &[String], stdin: Option<&str>) -> Result<CommandSpec, String> {
    let argv = argv.iter().map(|word| attempt.text(word)).collect::<Result<Vec<_>, _>>()?;
    let left = attempt.until.saturating_duration_since(tokio::time::Instant::now());
    let timeout = Millis(u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1));
    let mut spec = CommandSpec::new(argv, attempt.bench.dir.clone(), timeout);
    spec.env = attempt.bench.env.as_ref().clone();
    for (name, value, secret) in attempt.values.captures() {
        let value = if secret { EnvValue::Secret(Secret::new(value)) } else { EnvValue::Plain(value.to_owned()) };
        spec.env.insert(capture_variable(name), value);
    }
    spec.stdin = stdin.map(|text| attempt.text(text).map(Secret::new)).transpose()?;
    spec.masker = attempt.values.masker().clone();
    Ok(spec)
}
