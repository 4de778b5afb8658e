//! Making a commit and pushing it on the condition that nobody was faster.

use vice_core::Result;

use super::errors;
use super::process::{Git, Output};

/// The commit of a file after another one; an empty `parent` is none.
pub(crate) async fn commit(git: &Git, file: &str, bytes: &[u8], summary: &str, parent: &str) -> Result<String> {
    let blob = git.ok_with(&["hash-object", "-w", "--no-filters", "--stdin"], Some(bytes.to_vec())).await?;
    let tree = git.ok_with(&["mktree"], Some(format!("100644 blob {blob}\t{file}\n").into_bytes())).await?;
    let mut arguments = vec!["commit-tree", tree.as_str()];
    if !parent.is_empty() {
        arguments.extend(["-p", parent]);
    }
    git.ok_with(&arguments, Some(summary.as_bytes().to_vec())).await
}

/// Pushes a commit to a ref, if the ref is still at `expected` (empty: not there); false when it is not.
pub(crate) async fn push(git: &Git, name: &str, place: &str, expected: &str, commit: &str) -> Result<bool> {
    let (lease, refspec) = (format!("--force-with-lease={name}:{expected}"), format!("{commit}:{name}"));
    match outcome(&send(git, &[&lease], &refspec).await?, name) {
        Outcome::Done => Ok(true),
        Outcome::Lost => Ok(false),
        Outcome::Refused(reason, output) => Err(errors::refused(&reason, output, place, name)),
        Outcome::Failed(output) => Err(errors::remote(output, place)),
    }
}

/// Sets a ref to a commit, whatever it was.
pub(crate) async fn replace(git: &Git, name: &str, place: &str, commit: &str) -> Result<()> {
    match outcome(&send(git, &["--force"], &format!("{commit}:{name}")).await?, name) {
        // Two of one holder's signs of life in a race: one of them is enough.
        Outcome::Done | Outcome::Lost => Ok(()),
        Outcome::Refused(reason, output) => Err(errors::refused(&reason, output, place, name)),
        Outcome::Failed(output) => Err(errors::remote(output, place)),
    }
}

async fn send(git: &Git, how: &[&str], refspec: &str) -> Result<Output> {
    let mut arguments = vec!["push", "--porcelain", "--no-verify", "--no-follow-tags", "--no-signed"];
    arguments.extend(how);
    if git.is_near() {
        // Asked for where it can be: a server elsewhere has settings of its own.
        arguments.push("--receive-pack=git -c core.fsync=objects,reference -c gc.autoDetach=false receive-pack");
    }
    arguments.extend(["--", git.url(), refspec]);
    git.run(&arguments, None).await
}

enum Outcome<'a> {
    Done,
    Lost,
    /// The server said no, with its reason.
    Refused(String, &'a Output),
    Failed(&'a Output),
}

/// Reasons of a server that another push came in between.
const RACES: [&str; 8] = [
    "stale info",
    "fetch first",
    "non-fast-forward",
    "failed to update ref",
    "cannot lock ref",
    "failed to lock",
    "incorrect old value",
    "reference already exists",
];

/// What the lines of `--porcelain` say about the one ref: a flag, from and to, and a summary, separated by tabs.
fn outcome<'a>(output: &'a Output, name: &str) -> Outcome<'a> {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| {
        let mut parts = line.splitn(3, '\t');
        let (flag, refs, summary) = (parts.next()?, parts.next()?, parts.next()?);
        refs.ends_with(&format!(":{name}")).then(|| (flag.to_owned(), summary.to_owned()))
    });
    match line {
        Some((flag, _)) if flag != "!" && output.ok() => Outcome::Done,
        Some((_, summary)) if RACES.iter().any(|race| summary.contains(race)) => Outcome::Lost,
        Some((flag, summary)) if flag == "!" && summary.contains("rejected") => Outcome::Refused(summary, output),
        _ => Outcome::Failed(output),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: i32, line: &str) -> &'static str {
        let output = Output {
            status: Some(status),
            stdout: format!("To /srv/h.git\n{line}\nDone\n").into_bytes(),
            stderr: String::new(),
        };
        match outcome(&output, "refs/vice/history") {
            Outcome::Done => "done",
            Outcome::Lost => "lost",
            Outcome::Refused(..) => "refused",
            Outcome::Failed(_) => "failed",
        }
    }

    #[test]
    fn a_lost_race_is_told_from_a_refusal() {
        let ours = "abc:refs/vice/history";
        for (status, line, expected) in [
            (0, format!(" \t{ours}\tabc..def"), "done"),
            (0, format!("*\t{ours}\t[new reference]"), "done"),
            (0, format!("=\t{ours}\t[up to date]"), "done"),
            (1, format!("!\t{ours}\t[rejected] (stale info)"), "lost"),
            (1, format!("!\t{ours}\t[remote rejected] (failed to update ref)"), "lost"),
            (1, format!("!\t{ours}\t[remote rejected] (cannot lock ref 'x': is at a but expected b)"), "lost"),
            (1, format!("!\t{ours}\t[remote rejected] (pre-receive hook declined)"), "refused"),
            (1, format!("!\t{ours}\t[remote rejected] (protected branch hook declined)"), "refused"),
            (1, format!("!\t{ours}\t[remote failure] (remote failed to report status)"), "failed"),
            (0, " \tabc:refs/heads/other\tabc..def".to_owned(), "failed"),
            (128, String::new(), "failed"),
        ] {
            assert_eq!(said(status, &line), expected, "{line}");
        }
    }
}
