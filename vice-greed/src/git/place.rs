//! How a ref of a repository is written: `git:REMOTE`, `git:REMOTE#REF`. A remote is a URL, a path, or the name of one of
//! the project's own remotes, such as `git:origin`.

use std::path::{Path, PathBuf};

use vice_core::{Code, Fault, Result};

use super::REF;
use super::process::Git;

const FORMS: &str =
    "Write git:origin, git:PATH, git:ssh://HOST/REPOSITORY or git:https://HOST/REPOSITORY, and #REF for another ref.";

/// What git speaks that is allowed here. `ext::` would start any command.
const SCHEMES: [&str; 6] = ["ssh", "https", "http", "git", "file", "git+ssh"];

/// A ref of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitPlace {
    remote: Remote,
    name: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Remote {
    /// A remote of the repository around a folder.
    Named(String, PathBuf),
    /// A repository on this machine.
    Path(PathBuf),
    /// A repository elsewhere.
    Url(String),
}

impl std::fmt::Display for GitPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.remote {
            Remote::Named(name, _) => write!(f, "git:{name}")?,
            Remote::Path(path) => write!(f, "git:{}", path.display())?,
            Remote::Url(url) => write!(f, "git:{url}")?,
        }
        if self.name == REF { Ok(()) } else { write!(f, "#{}", self.name) }
    }
}

impl GitPlace {
    /// Reads what stands behind `git:`; paths are relative to `base`.
    pub(crate) fn parse(text: &str, base: &Path) -> Result<Self> {
        let (remote, name) = text.split_once('#').unwrap_or((text, REF));
        Ok(Self { remote: remote_of(remote, base)?, name: ref_of(name)? })
    }

    /// The whole name of the ref.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What git is to talk to.
    pub(crate) async fn url(&self, git: &Git) -> Result<String> {
        match &self.remote {
            Remote::Path(path) => Ok(path.display().to_string()),
            Remote::Url(url) => Ok(url.clone()),
            Remote::Named(name, dir) => {
                let dir = dir.display().to_string();
                let found = git.run(&["-C", &dir, "remote", "get-url", "--push", "--", name], None).await?;
                let url = found.text();
                if !found.ok() || url.is_empty() {
                    return Err(Fault::new(Code::UnknownName, format!("There is no git remote {name:?} in {dir}."))
                        .hint("`git remote -v` lists those there are.")
                        .hint(FORMS));
                }
                // A path in the settings of a repository is relative to that repository.
                let relative = url.starts_with("./") || url.starts_with("../");
                Ok(if relative { Path::new(&dir).join(&url).display().to_string() } else { url })
            }
        }
    }
}

fn usage(message: impl Into<String>) -> Fault {
    Fault::new(Code::Usage, message).hint(FORMS)
}

fn remote_of(text: &str, base: &Path) -> Result<Remote> {
    if text.is_empty() || text.starts_with('-') || text.chars().any(char::is_control) {
        return Err(usage("The history on git names no repository."));
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        if !SCHEMES.contains(&scheme) {
            return Err(usage("The URL of the git repository has a scheme that is not allowed."));
        }
        let authority = rest.split('/').next().unwrap_or_default();
        let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
        if user.contains(':') || authority.starts_with('-') {
            return Err(usage("The URL of a history must not hold a password.")
                .hint("Leave it out; git asks its credential helper."));
        }
        return Ok(Remote::Url(text.to_owned()));
    }
    if text.contains("::") {
        return Err(usage("The remote of the history would start a helper program, which is not allowed."));
    }
    let is_path = text.starts_with(['/', '.']) || text.starts_with("~/");
    match text.split_once(':') {
        Some((host, _)) if !is_path && !host.contains('/') => Ok(Remote::Url(text.to_owned())),
        _ if is_path || text.contains('/') => Ok(Remote::Path(base.join(text))),
        _ => Ok(Remote::Named(text.to_owned(), base.to_owned())),
    }
}

/// The whole name of a ref; a short one is a branch.
fn ref_of(text: &str) -> Result<String> {
    let name = if text.starts_with("refs/") { text.to_owned() } else { format!("refs/heads/{text}") };
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let odd = name.len() > 200
        || !name.chars().all(plain)
        || ["..", "//", "/.", "./", "/-"].iter().any(|part| name.contains(part))
        || name.ends_with(['/', '.'])
        || name.ends_with(".lock")
        || name == "refs/heads";
    if odd {
        return Err(usage("The ref of the history is no name of a ref."));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<GitPlace> {
        GitPlace::parse(text, Path::new("/project"))
    }

    #[test]
    fn remotes_paths_and_urls_are_told_apart() {
        for (text, shown) in [
            ("origin", "git:origin"),
            ("../history.git", "git:/project/../history.git"),
            ("team/history", "git:/project/team/history"),
            ("/srv/h.git#audit", "git:/srv/h.git#refs/heads/audit"),
            ("git@example.com:team/h.git", "git:git@example.com:team/h.git"),
            ("https://example.com/h.git#refs/meta/vice", "git:https://example.com/h.git#refs/meta/vice"),
            ("ssh://git@example.com:2222/h.git", "git:ssh://git@example.com:2222/h.git"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), shown, "{text}");
        }
        assert_eq!(parse("origin").unwrap().name(), REF);
    }

    #[test]
    fn what_could_run_something_or_hold_a_secret_is_refused() {
        for text in [
            "",
            "--upload-pack=touch x",
            "ext::sh -c touch%20x",
            "fd::3",
            "ftp://host/x",
            "https://user:canary@host/x",
            "ssh://-oProxyCommand=x/y",
            "origin#../x",
            "origin#a b",
            "origin#x.lock",
            "origin#",
            "origin#a:b",
            "a\nb",
        ] {
            let fault = parse(text).unwrap_err();
            assert_eq!(fault.code(), Code::Usage, "{text}");
            assert!(!format!("{fault:?}").contains("canary"), "{fault:?}");
        }
    }
}
