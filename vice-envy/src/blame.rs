//! Who changed a line last, by `git blame`. Everything is optional: without git, outside of a repository or for a file
//! that was never committed there is simply nothing to tell.

use serde::Serialize;

use crate::remote::Repository;

/// The last change of a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Change {
    /// The commit, abbreviated; none for what is not committed yet.
    pub(crate) commit: Option<String>,
    /// Who made it.
    pub(crate) author: String,
    /// The day, such as 2026-01-31, in UTC.
    pub(crate) date: String,
    /// The first line of its message.
    pub(crate) summary: String,
}

impl Change {
    /// For people.
    pub(crate) fn text(&self) -> String {
        match &self.commit {
            Some(commit) => format!("{commit} {} {}", self.date, self.author),
            None => "not committed yet".to_owned(),
        }
    }
}

/// The last change of a line of a file below the repository's folder.
pub(crate) async fn last(repository: &Repository, path: &str, line: u32) -> Option<Change> {
    let range = format!("{line},{line}");
    let output = repository.run(&["blame", "--porcelain", "-L", &range, "--", path]).await.ok()?;
    if output.ok() { parse(&output.stdout) } else { None }
}

fn parse(porcelain: &str) -> Option<Change> {
    let mut lines = porcelain.lines();
    let commit = lines.next()?.split(' ').next()?.to_owned();
    let (mut author, mut seconds, mut summary) = (String::new(), None, String::new());
    for line in lines {
        match line.split_once(' ') {
            Some(("author", text)) => author = text.to_owned(),
            Some(("author-time", text)) => seconds = text.parse().ok(),
            Some(("summary", text)) => summary = text.to_owned(),
            // The line itself follows a tab; it may hold a secret, and nothing after it is ours.
            _ if line.starts_with('\t') => break,
            _ => {}
        }
    }
    let date = jiff::Timestamp::from_second(seconds?).ok()?.strftime("%Y-%m-%d").to_string();
    let committed = commit.bytes().any(|byte| byte != b'0');
    let commit = committed.then(|| commit.chars().take(10).collect());
    Some(Change { commit, author, date, summary })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn porcelain_is_read_up_to_the_line_itself() {
        let text = "0123456789abcdef0123456789abcdef01234567 3 3 1\nauthor Ada L\nauthor-mail <a@x>\n\
                    author-time 1767225600\nauthor-tz +0100\nsummary Raise it\nfilename a\n\tauthor Eve\nauthor Eve\n";
        let change = parse(text).unwrap();
        assert_eq!(change.text(), "0123456789 2026-01-01 Ada L");
        assert_eq!(change.summary, "Raise it");
        let fresh = parse(&text.replace("0123456789abcdef0123456789abcdef01234567", &"0".repeat(40))).unwrap();
        assert_eq!(fresh.text(), "not committed yet");
        assert_eq!(parse(""), None);
    }
}
