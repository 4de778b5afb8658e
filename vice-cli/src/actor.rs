//! Who asks: from `--actor`, from what the CI system says, or the login name. The event keeps how it is known.

use vice_core::app::ProcessEnv;
use vice_core::event::{Actor, ActorKind};
use vice_core::text::sanitize;
use vice_core::{Code, Fault, Result};

/// CI systems by the variable that marks them, with the variables that name the job and the person behind it.
const CI_SYSTEMS: &[(&str, &str, &str)] = &[
    ("GITHUB_ACTIONS", "GITHUB_WORKFLOW", "GITHUB_ACTOR"),
    ("GITLAB_CI", "CI_JOB_NAME", "GITLAB_USER_LOGIN"),
    ("FORGEJO_ACTIONS", "GITHUB_WORKFLOW", "GITHUB_ACTOR"),
    ("CI", "CI_JOB_NAME", "CI_ACTOR"),
];

/// Whether a variable that marks a CI system is set, and not to something that means no.
fn marks(env: &ProcessEnv, name: &str) -> bool {
    let no = |value: &str| ["0", "false", "no", "off"].iter().any(|word| value.eq_ignore_ascii_case(word));
    env.get(name).is_some_and(|value| !no(value))
}

/// Whether this is a job of a CI system, where nobody looks at a live terminal and nobody can be asked.
pub(crate) fn in_ci(env: &ProcessEnv) -> bool {
    marks(env, "CI")
}

/// The actor of this command.
pub(crate) fn find(env: &ProcessEnv, named: Option<&str>) -> Result<Actor> {
    let login = || sanitize(&env.user);
    let ci = CI_SYSTEMS.iter().find(|(mark, _, _)| marks(env, mark));
    let (id, kind, evidence, behind) = match ci {
        Some((mark, job, person)) => {
            let id = format!("ci/{}", sanitize(env.get(job).unwrap_or("job")));
            (id, ActorKind::Ci, (*mark).to_owned(), env.get(person).map(sanitize))
        }
        None => (login(), ActorKind::Person, format!("login name on {}", env.host), None),
    };
    let Some(named) = named else {
        return Ok(Actor { id, kind, on_behalf_of: behind, evidence });
    };
    if named.is_empty() || named.len() > 200 || named.chars().any(char::is_control) {
        return Err(Fault::new(Code::Usage, "--actor needs a name of at most 200 printable characters."));
    }
    // A wrapper says for whom it asks. That is a claim by the login that runs it, and both are kept.
    let kind = if kind == ActorKind::Person { ActorKind::Bot } else { kind };
    Ok(Actor { id, kind, on_behalf_of: Some(named.to_owned()), evidence: format!("--actor, said by {}", login()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(vars: &[(&str, &str)]) -> ProcessEnv {
        ProcessEnv {
            vars: vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            user: "ada".into(),
            host: "box".into(),
            ..ProcessEnv::default()
        }
    }

    #[test]
    fn people_jobs_and_wrappers_are_told_apart() {
        let person = find(&env(&[]), None).unwrap();
        assert_eq!((person.id.as_str(), person.kind), ("ada", ActorKind::Person));
        let job = env(&[("GITHUB_ACTIONS", "true"), ("GITHUB_WORKFLOW", "ship"), ("GITHUB_ACTOR", "grace")]);
        assert_eq!(find(&job, None).unwrap().to_string(), "grace (through ci/ship)");
        for no in ["false", "0", "False", ""] {
            assert_eq!(find(&env(&[("CI", no)]), None).unwrap().kind, ActorKind::Person, "{no:?}");
            assert!(!in_ci(&env(&[("CI", no)])), "{no:?}");
        }
        assert!(in_ci(&env(&[("CI", "1")])));
        let bot = find(&env(&[]), Some("linus")).unwrap();
        assert_eq!((bot.to_string().as_str(), bot.kind), ("linus (through ada)", ActorKind::Bot));
        assert!(find(&env(&[]), Some("a\nb")).is_err());
    }
}
