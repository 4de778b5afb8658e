//! How to go on: the commands that make sense next.

use serde::{Deserialize, Serialize};
use vice_core::fold::environment::EnvironmentState;
use vice_core::id::RolloutId;

use super::Standing;

/// A command to type, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// When it is the right one.
    pub when: String,
    /// The command.
    pub command: String,
}

/// What to do after, or during, a rollout. `held` is the version on hold that this rollout wanted.
#[must_use]
pub fn steps(id: &RolloutId, standing: Standing, held: Option<&str>, state: &EnvironmentState) -> Vec<Next> {
    let (project, env) = (&id.scope.project, &id.scope.env);
    let next = |when: &str, command: String| Next { when: when.to_owned(), command };
    let why = || next("See what was decided, and why", format!("vice why {id}"));
    let back = || {
        let target = state.rollback_target()?;
        let when = format!("Go back to {}", target.release.version);
        Some(Next { when, command: format!("vice rollback {project} --env {env}") })
    };
    let mut steps = match standing {
        Standing::Succeeded => vec![next("See what runs", format!("vice status {project} --env {env}"))],
        Standing::Running => vec![
            next("Follow it", format!("vice status {project} --env {env}")),
            next("Go on if its process is gone", format!("vice pride resume {project} --env {env}")),
        ],
        Standing::Waiting => vec![
            next("Go on", format!("vice pride resume {project} --env {env}")),
            next("End it and go back", format!("vice pride abort {project} --env {env}")),
            why(),
        ],
        Standing::RolledBack | Standing::Failed => {
            vec![why(), next("Deploy a fixed version", format!("vice deploy {project} --env {env}"))]
        }
        Standing::NotRestored | Standing::Aborted => {
            vec![why(), next("See what runs", format!("vice status {project} --env {env}"))]
        }
    };
    if matches!(standing, Standing::Succeeded | Standing::NotRestored | Standing::Aborted) {
        steps.extend(back());
    }
    if let Some(version) = held {
        let command = format!("vice pride hold release {project}@{} --env {env} --reason WHY", shown(version));
        steps.push(next("Let the version be deployed again", command));
    }
    steps
}

/// A version as it may stand in a command that people copy. Versions are checked before they are deployed; an event from
/// elsewhere may say anything, and then the command shows a blank to fill in instead.
fn shown(version: &str) -> &str {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+' | '/');
    if !version.is_empty() && version.chars().all(fine) { version } else { "VERSION" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_to_copy_never_holds_what_a_shell_would_run() {
        let id: RolloutId = "hello.dev.2".parse().unwrap();
        let hold = |version| steps(&id, Standing::RolledBack, Some(version), &EnvironmentState::default());
        let command = |version| hold(version).last().unwrap().command.clone();
        assert_eq!(command("2"), "vice pride hold release hello@2 --env dev --reason WHY");
        assert_eq!(command("2; rm -rf ~"), "vice pride hold release hello@VERSION --env dev --reason WHY");
    }
}
