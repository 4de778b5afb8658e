//! What a command gives: its standard output as text or JSON, or the newest file that matches a pattern.

use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value;
use vice_core::port::command::CommandOutput;
use vice_core::{Code, Context, Fault, Result};

/// The most files that one pattern is compared with.
const MATCHES_MAX: usize = 10_000;

/// An output of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Out {
    /// The standard output without the line ends at its end.
    Stdout,
    /// A part of the standard output, which is JSON; the whole for an empty pointer.
    Json(String),
    /// The path of a file relative to the project. When several match, the one changed last counts; of those changed
    /// at the same moment, the last by name.
    File(String),
}

impl Out {
    /// Reads a declaration.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        match text.strip_prefix("stdout") {
            Some("") => return Ok(Self::Stdout),
            Some(":json") => return Ok(Self::Json(String::new())),
            Some(rest) if rest.starts_with(":json:/") => return Ok(Self::Json(rest[":json:".len()..].to_owned())),
            Some(rest) if rest.starts_with(':') => return Err(invalid(text, "is not a known form")),
            _ => {}
        }
        let inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        if text.is_empty() || !Path::new(text).components().all(inside) {
            return Err(invalid(text, "does not stay inside the project"));
        }
        glob::Pattern::new(text).map_err(|error| invalid(text, "is not a pattern").because(error))?;
        Ok(Self::File(text.to_owned()))
    }

    /// The JSON type of the value, where it is known before.
    pub(crate) const fn json_type(&self) -> Option<&'static str> {
        match self {
            Self::Stdout | Self::File(_) => Some("string"),
            Self::Json(_) => None,
        }
    }

    /// Takes the value from what the command printed and left behind. Reads the disk.
    pub(crate) fn take(&self, root: &Path, printed: &CommandOutput) -> Result<Value> {
        match self {
            Self::File(pattern) => newest(root, pattern).map(Value::String),
            _ if printed.truncated => Err(Fault::new(Code::GraphFailed, "The command printed more than is kept.")
                .hint("Let it write a file, and declare the file as its output.")),
            Self::Stdout => Ok(Value::String(printed.stdout.trim_end_matches(['\n', '\r']).to_owned())),
            Self::Json(pointer) => {
                let whole: Value = serde_json::from_str(&printed.stdout)
                    .context(Code::GraphFailed, || "The command did not print one JSON document.".to_owned())?;
                let part = whole.pointer(pointer).cloned();
                part.ok_or_else(|| Fault::new(Code::GraphFailed, format!("What the command printed has no {pointer}.")))
            }
        }
    }
}

fn invalid(text: &str, why: &str) -> Fault {
    Fault::new(Code::GraphInvalid, format!("The output {text:?} {why}."))
        .hint("Write stdout, stdout:json, stdout:json:/pointer, or a file pattern such as dist/*.tar.gz.")
}

fn newest(root: &Path, pattern: &str) -> Result<String> {
    let unreadable = || format!("The files for {pattern:?} could not be listed.");
    let root = root.canonicalize().context(Code::Io, unreadable)?;
    let prefix = glob::Pattern::escape(&root.to_string_lossy());
    let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::default() };
    let found = glob::glob_with(&format!("{prefix}/{pattern}"), options).context(Code::Io, unreadable)?;
    let mut best: Option<(SystemTime, PathBuf)> = None;
    for path in found.take(MATCHES_MAX) {
        let path = path.context(Code::Io, unreadable)?;
        let changed = path.metadata().and_then(|data| data.modified()).context(Code::Io, unreadable)?;
        // A link may lead out of the project, and then what it leads to is not the project's to hand on.
        if path.canonicalize().is_ok_and(|real| real.starts_with(&root)) {
            best = best.max(Some((changed, path)));
        }
    }
    let Some((_, path)) = best else {
        return Err(Fault::new(Code::GraphFailed, format!("No file of the project matches {pattern:?}."))
            .hint("The command ended well and did not leave the file that it declares as its output."));
    };
    let relative = path.strip_prefix(&root).unwrap_or(&path);
    let text = relative.to_str().map(str::to_owned);
    text.ok_or_else(|| Fault::new(Code::GraphFailed, format!("The name of the file for {pattern:?} is not UTF-8.")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vice_core::Millis;
    use vice_core::port::command::Ended;

    use super::*;

    fn printed(stdout: &str) -> CommandOutput {
        let (stdout, stderr) = (stdout.to_owned(), String::new());
        CommandOutput { ended: Ended::Exited(0), stdout, stderr, truncated: false, took: Millis(1) }
    }

    #[test]
    fn declarations_are_checked() {
        assert_eq!(Out::parse("stdout:json:/a/b").unwrap(), Out::Json("/a/b".to_owned()));
        assert_eq!(Out::parse("stdout.txt").unwrap(), Out::File("stdout.txt".to_owned()));
        for bad in ["", "stdout:xml", "stdout:json:a", "../x", "/etc/passwd", "a/../../b", "a[", "a***"] {
            assert_eq!(Out::parse(bad).unwrap_err().code(), Code::GraphInvalid, "{bad}");
        }
    }

    #[test]
    fn standard_output_is_text_or_json() {
        let root = Path::new("/");
        assert_eq!(Out::Stdout.take(root, &printed("a\nb\r\n\n")).unwrap(), json!("a\nb"));
        assert_eq!(Out::Json("/n".into()).take(root, &printed(" {\"n\": 3}\n")).unwrap(), json!(3));
        assert!(Out::Json("/m".into()).take(root, &printed("{\"n\": 3}")).is_err());
        assert!(Out::Json(String::new()).take(root, &printed("no json")).is_err());
        let cut = CommandOutput { truncated: true, ..printed("rest") };
        assert_eq!(Out::Stdout.take(root, &cut).unwrap_err().code(), Code::GraphFailed);
    }

    #[test]
    fn the_newest_file_inside_the_project_counts() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("z.tar"), "").unwrap();
        // The folder's own name has signs of a pattern, which must not be read as such.
        let root = tempfile::Builder::new().prefix("a[b]*").tempdir().unwrap();
        std::fs::create_dir(root.path().join("dist")).unwrap();
        let changed = |name: &str, seconds: u64| {
            let file = std::fs::File::create(root.path().join("dist").join(name)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
        };
        changed("old-9.tar", 1_000);
        changed("new-1.tar", 2_000);
        changed("new-2.tar", 2_000);
        changed("other.zip", 3_000);
        std::os::unix::fs::symlink(outside.path().join("z.tar"), root.path().join("dist/z.tar")).unwrap();
        let take = |pattern: &str| Out::parse(pattern).unwrap().take(root.path(), &printed(""));
        assert_eq!(take("dist/*.tar").unwrap(), json!("dist/new-2.tar"));
        assert_eq!(take("**/old-*.tar").unwrap(), json!("dist/old-9.tar"));
        assert_eq!(take("*.tar").unwrap_err().code(), Code::GraphFailed);
        assert_eq!(take("dist/z.tar").unwrap_err().code(), Code::GraphFailed);
    }
}
