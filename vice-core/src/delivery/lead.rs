//! Which changes a deploy brought, for the lead time: from the moment when a change was merged to the moment when a version
//! that has it ran. Events must say that they belong together; nothing is concluded from times alone.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::Run;
use crate::id::ProjectName;
use crate::payload::environment::{Direction, RolloutOutcome};

/// So many hexadecimal digits name a commit as well as all of them.
const SHORT_COMMIT: usize = 7;

/// What an event about a change, a build or an artifact says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The project that it was sent for, where that is known.
    pub project: Option<ProjectName>,
    /// What it is about: the change, the build, the artifact.
    pub subject: String,
    /// When.
    pub at: Timestamp,
    /// The texts in it.
    pub words: BTreeSet<String>,
}

/// Gives each successful deploy the moments at which the changes were merged that it was the first to bring. All runs are
/// of one environment.
pub fn attribute(runs: &mut [Run], merged: &[Origin], made: &[Origin]) {
    for change in merged {
        let versions = |version: &str| {
            names(&change.words, version)
                || made.iter().any(|origin| origin.words.contains(&change.subject) && names(&origin.words, version))
        };
        let first = runs
            .iter_mut()
            .filter(|run| change.project.as_ref().is_none_or(|project| *project == run.rollout.scope.project))
            .filter(|run| run.direction == Direction::Deploy && versions(&run.version))
            .filter_map(|run| match run.ended {
                Some((at, RolloutOutcome::Succeeded)) if at >= change.at => Some((at, run)),
                _ => None,
            })
            .min_by_key(|(at, _)| *at);
        if let Some((_, run)) = first {
            run.merged.push(change.at);
        }
    }
}

/// Whether one of the texts is this version: as it is, as a tag with a `v`, or as a shorter or longer name of a commit.
fn names(words: &BTreeSet<String>, version: &str) -> bool {
    !version.is_empty() && (words.contains(version) || words.iter().any(|word| same(word, version)))
}

fn same(word: &str, version: &str) -> bool {
    let (short, long) = if word.len() < version.len() { (word, version) } else { (version, word) };
    let commit = short.len() >= SHORT_COMMIT && long.bytes().all(|byte| byte.is_ascii_hexdigit());
    (commit && long.starts_with(short))
        || long.strip_prefix('v') == Some(short)
        || long.strip_prefix("refs/tags/") == Some(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn origin(subject: &str, second: i64, words: &[&str]) -> Origin {
        let words = words.iter().copied().chain([subject]).map(str::to_owned).collect();
        Origin { project: None, subject: subject.to_owned(), at: at(second), words }
    }

    fn run(number: u64, version: &str, ended: i64, outcome: RolloutOutcome) -> Run {
        Run {
            rollout: format!("hello.dev.{number}").parse().unwrap(),
            direction: Direction::Deploy,
            version: version.to_owned(),
            began: at(ended - 10),
            ended: Some((at(ended), outcome)),
            merged: Vec::new(),
        }
    }

    #[test]
    fn the_first_success_of_a_version_brings_its_changes() {
        let mut runs = [
            run(1, "2", 50, RolloutOutcome::RolledBack),
            run(2, "2", 70, RolloutOutcome::Succeeded),
            run(3, "2", 90, RolloutOutcome::Succeeded),
        ];
        attribute(&mut runs, &[origin("change-7", 20, &["2"]), origin("change-8", 30, &["3"])], &[]);
        assert_eq!(runs.map(|run| run.merged), [vec![], vec![at(20)], vec![]]);
    }

    #[test]
    fn an_artifact_ties_a_change_to_a_version() {
        let mut runs = [run(1, "1.4.2", 70, RolloutOutcome::Succeeded)];
        let made = [origin("pkg:generic/hello@1.4.2", 40, &["v1.4.2", "change-7"])];
        attribute(&mut runs, &[origin("change-7", 20, &[]), origin("change-8", 20, &[])], &made);
        assert_eq!(runs[0].merged, [at(20)]);
    }

    #[test]
    fn what_is_merged_later_or_for_another_project_is_not_in_it() {
        let mut runs = [run(1, "2", 70, RolloutOutcome::Succeeded)];
        let other = Origin { project: Some(ProjectName::new("other").unwrap()), ..origin("c", 20, &["2"]) };
        attribute(&mut runs, &[origin("late", 80, &["2"]), other], &[]);
        assert!(runs[0].merged.is_empty());
    }

    #[test]
    fn versions_are_named_in_several_ways() {
        let words = |word: &str| BTreeSet::from([word.to_owned()]);
        for (word, version, is) in [
            ("1.2", "1.2", true),
            ("v1.2", "1.2", true),
            ("1.2", "v1.2", true),
            ("refs/tags/1.2", "1.2", true),
            ("3fa9c17e00aa11bb22cc33dd44ee55ff66778899", "3fa9c17e", true),
            ("3fa9c17", "3fa9c17e00aa11bb22cc33dd44ee55ff66778899", true),
            ("3fa9c1", "3fa9c17e00aa11bb22cc33dd44ee55ff66778899", false),
            ("1.2.3", "1.2", false),
            ("12", "1", false),
            ("", "1", false),
        ] {
            assert_eq!(names(&words(word), version), is, "{word} {version}");
        }
        assert!(!names(&words(""), ""));
    }
}
