//! Fetching the ref and reading the batches of its commits.

use vice_core::{Code, Fault, Result};

use super::damaged;
use super::errors;
use super::process::{Git, Output};
use crate::shared::medium::Kept;

/// So many commits are read at once.
pub(crate) const PAGE: usize = 500;

/// Where refs are kept here as they were last seen.
const SEEN: &str = "refs/vice/seen";
const HEARD: &str = "refs/vice/heard";

/// How often, and how long after, a fetch is tried again that met another one.
const TRIES: u32 = 40;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// The most commits of one history; their names alone are 400 MB then.
const COMMITS_MAX: usize = 10_000_000;

/// Fetches the ref; gives the commit at its end, or none where there is no such ref.
pub(crate) async fn fetch(git: &Git, name: &str, place: &str) -> Result<Option<String>> {
    fetch_into(git, name, SEEN, place).await
}

async fn fetch_into(git: &Git, name: &str, into: &str, place: &str) -> Result<Option<String>> {
    let refspec = format!("+{name}:{into}");
    let arguments = [
        "fetch",
        "--quiet",
        "--no-tags",
        "--no-write-fetch-head",
        "--no-recurse-submodules",
        "--",
        git.url(),
        &refspec,
    ];
    let mut output = git.run(&arguments, None).await?;
    for _ in 0..TRIES {
        // Another process of this machine is just fetching into the same repository.
        if !errors::says(&output, "cannot lock ref") {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        output = git.run(&arguments, None).await?;
    }
    if output.ok() {
        return git.ok(&["rev-parse", "--verify", "--quiet", &format!("{into}^{{commit}}")]).await.map(Some);
    }
    if errors::says(&output, "couldn't find remote ref") {
        return Ok(None);
    }
    Err(errors::remote(&output, place))
}

/// What a sign of life says; none where nobody left one.
pub(crate) async fn beat(git: &Git, name: &str, place: &str) -> Result<Option<String>> {
    match fetch_into(git, name, HEARD, place).await? {
        Some(commit) => git.ok(&["cat-file", "blob", &format!("{commit}:{}", super::BEAT)]).await.map(Some),
        None => Ok(None),
    }
}

/// The commits behind `known` up to `end`, oldest first.
///
/// # Errors
/// `HistoryDamaged` when `end` does not come from `known`.
pub(crate) async fn between(git: &Git, known: &str, end: Option<&str>) -> Result<Vec<String>> {
    let Some(end) = end else {
        let gone = "The ref is not there any more.";
        return if known.is_empty() { Ok(Vec::new()) } else { Err(damaged(gone)) };
    };
    if known == end {
        return Ok(Vec::new());
    }
    let range = if known.is_empty() { end.to_owned() } else { format!("{known}..{end}") };
    if !known.is_empty() {
        // A status of 1 says no; any other failure is that the commit is not known here any more.
        let from = git.run(&["merge-base", "--is-ancestor", known, end], None).await?;
        match from.status {
            Some(0) => {}
            Some(1) => return Err(damaged("The ref was moved to commits that do not come from the last one seen.")),
            _ => return Ok(listed(&git.ok(&["rev-list", "--reverse", "--first-parent", end]).await?)),
        }
    }
    Ok(listed(&git.ok(&["rev-list", "--reverse", "--first-parent", &range]).await?))
}

fn listed(text: &str) -> Vec<String> {
    text.lines().take(COMMITS_MAX).map(str::to_owned).collect()
}

/// The batches of some commits, in order. Stops early rather than hold too much in memory.
pub(crate) async fn batches(git: &Git, commits: &[String]) -> Result<Vec<Kept>> {
    if commits.is_empty() {
        return Ok(Vec::new());
    }
    let files = names(git, commits).await?;
    let asked: String = files.iter().map(|blob| format!("{blob}\n")).collect();
    let output = git.run(&["cat-file", "--batch"], Some(asked.into_bytes())).await?;
    if !output.ok() {
        return Err(errors::local(&output, &["cat-file"]));
    }
    contents(&output, commits)
}

/// The one file of each commit's tree.
async fn names(git: &Git, commits: &[String]) -> Result<Vec<String>> {
    let asked: String = commits.iter().map(|commit| format!("{commit}^{{tree}}\n")).collect();
    let output = git.run(&["cat-file", "--batch"], Some(asked.into_bytes())).await?;
    if !output.ok() {
        return Err(errors::local(&output, &["cat-file"]));
    }
    let mut rest = output.stdout.as_slice();
    let mut files = Vec::with_capacity(commits.len());
    for commit in commits {
        let tree = next(&mut rest).ok_or_else(|| strange(commit))?;
        files.push(only_file(tree, commit.len() / 2).ok_or_else(|| strange(commit))?);
    }
    Ok(files)
}

/// The name of the blob in a tree of one entry: mode, space, name, NUL, raw name of the object.
fn only_file(tree: &[u8], length: usize) -> Option<String> {
    let rest = tree.strip_prefix(b"100644 ")?;
    let nul = rest.iter().position(|byte| *byte == 0)?;
    let raw = &rest[nul + 1..];
    (raw.len() == length).then(|| raw.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The next object of what `cat-file --batch` printed.
fn next<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let size: usize = std::str::from_utf8(&rest[..end]).ok()?.rsplit_once(' ')?.1.parse().ok()?;
    let object = rest.get(end + 1..(end + 1).checked_add(size)?)?;
    *rest = rest.get(end + 1 + size + 1..)?;
    Some(object)
}

fn contents(output: &Output, commits: &[String]) -> Result<Vec<Kept>> {
    let mut rest = output.stdout.as_slice();
    let mut batches = Vec::with_capacity(commits.len());
    for commit in commits {
        match next(&mut rest) {
            Some(bytes) => batches.push(Kept { tip: commit.clone(), bytes: bytes.to_vec() }),
            // What did not fit into one answer comes with the next page.
            None if !batches.is_empty() => return Ok(batches),
            None => return Err(strange(commit)),
        }
    }
    Ok(batches)
}

fn strange(commit: &str) -> Fault {
    Fault::new(Code::HistoryDamaged, format!("The commit {commit} holds no batch of a history."))
        .hint("Does the ref belong to something else? Name another one behind `#`.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_cut_by_their_sizes_and_not_by_their_content() {
        let printed = b"aaaa blob 5\na\nb c\nbbbb blob 0\n\ncccc missing\n";
        let mut rest = printed.as_slice();
        assert_eq!(next(&mut rest), Some(&b"a\nb c"[..]));
        assert_eq!(next(&mut rest), Some(&b""[..]));
        assert_eq!(next(&mut rest), None);
        assert_eq!(next(&mut b"aaaa blob 99999999999999999999\nx".as_slice()), None);
        assert_eq!(next(&mut b"aaaa blob 7\nshort\n".as_slice()), None);
    }

    #[test]
    fn a_tree_has_one_file_or_is_none_of_ours() {
        let mut tree = b"100644 00000000000000000001.jsonl\0".to_vec();
        tree.extend_from_slice(&[0xab; 20]);
        assert_eq!(only_file(&tree, 20), Some("ab".repeat(20)));
        assert_eq!(only_file(&tree, 32), None);
        assert_eq!(only_file(&[tree.clone(), tree.clone()].concat(), 20), None);
        assert_eq!(only_file(b"40000 dir\0", 20), None);
        assert_eq!(only_file(b"", 20), None);
    }
}
