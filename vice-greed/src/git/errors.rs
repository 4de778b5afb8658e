//! What git's words mean for whoever keeps a history on a ref. Texts of others are cut and made harmless before they are
//! shown.

use vice_core::text::sanitize;
use vice_core::{Code, Fault};

use super::process::Output;

/// The most of a text of git or its server that is shown.
const SHOWN_MAX: usize = 300;

/// Whether git said this.
pub(crate) fn says(output: &Output, part: &str) -> bool {
    output.stderr.contains(part)
}

/// The first line that says what is wrong, else the last one.
fn told(output: &Output) -> String {
    let lines: Vec<&str> = output.stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let wrong = lines.iter().find(|line| line.starts_with("fatal:") || line.starts_with("error:"));
    shown(wrong.or(lines.last()).copied().unwrap_or("it gave no reason"))
}

fn shown(text: &str) -> String {
    sanitize(text).chars().take(SHOWN_MAX).collect()
}

/// A command that asks nobody else failed.
pub(crate) fn local(output: &Output, arguments: &[&str]) -> Fault {
    let what = arguments.iter().find(|argument| !argument.starts_with('-')).copied().unwrap_or("git");
    Fault::new(Code::Backend, format!("git {what} failed.")).because(told(output))
}

const DENIED: [&str; 10] = [
    "Permission denied (",
    "could not read Username",
    "could not read Password",
    "Authentication failed",
    "terminal prompts disabled",
    "error: 403",
    "error: 401",
    "denied to",
    "not allowed",
    "insufficient permission",
];

const MISSING: [&str; 4] =
    ["does not appear to be a git repository", "epository not found", "not found", "does not exist"];

/// The other repository did not do as it was asked.
pub(crate) fn remote(output: &Output, place: &str) -> Fault {
    let any = |signs: &[&str]| signs.iter().any(|sign| says(output, sign));
    let fault = if any(&DENIED) {
        Fault::new(Code::Backend, format!("{place} refuses access.")).hint(
            "Check the ssh key or the credential helper, and that you may push there: `git push` with the same remote.",
        )
    } else if any(&["mismatched algorithms"]) {
        Fault::new(Code::Unsupported, format!("{place} is a repository with SHA-256 names, which is not supported."))
            .hint("Use a repository with the usual SHA-1 names for the history.")
    } else if any(&MISSING) {
        Fault::new(Code::Backend, format!("There is no git repository at {place}."))
            .hint("Make an empty one there (`git init --bare` on a server of your own), or correct [history] store.")
    } else {
        Fault::new(Code::Unreachable, format!("{place} can't be reached."))
            .hint("Check the network and the server: `git ls-remote` with the same remote.")
    };
    fault.because(told(output))
}

/// The server took the commit and does not let it become the ref.
pub(crate) fn refused(reason: &str, output: &Output, place: &str, name: &str) -> Fault {
    let inner = reason.split_once('(').map_or(reason, |(_, inner)| inner.trim_end_matches(')'));
    let remote: Vec<&str> = output.stderr.lines().filter_map(|line| line.strip_prefix("remote:")).collect();
    let said = remote.iter().map(|line| line.trim()).find(|line| !line.is_empty());
    let fault = Fault::new(Code::Backend, format!("{place} does not take events: {}.", shown(inner)));
    let fault = match said {
        Some(said) => fault.because(shown(said)),
        None => fault,
    };
    fault
        .hint(format!(
            "Let the server accept pushes to {name} from whoever deploys: no protection, no hook that declines."
        ))
        .hint("Or name another ref, such as git:origin#refs/heads/vice-history.")
}
