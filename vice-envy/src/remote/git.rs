//! `git:REVISION:PATH`: a file as a revision of the project's repository has it, by `git show`. Nothing is fetched from
//! elsewhere and nothing is checked out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use vice_core::port::command::{CommandOutput, CommandRunner, CommandSpec, EnvValue};
use vice_core::{Code, Fault, Millis, Result};

use super::{Ability, Address, Fetched, Remote, Tools, document};
use crate::file::check_relative;
use crate::layer::kind_of;

/// How long git may take.
const TIMEOUT: Millis = Millis::from_secs(20);

pub(super) fn parse(rest: &str) -> Result<Address, String> {
    let (revision, path) = rest.rsplit_once(':').ok_or("names no revision or no path")?;
    check_revision(revision)?;
    check_relative(path).map_err(|_| "has a path that leads out of the repository".to_owned())?;
    kind_of(path).map_err(|_| "ends in no known format".to_owned())?;
    Ok(Address::Git { revision: revision.to_owned(), path: path.to_owned() })
}

/// Refuses what git would take as an option or as something else than one revision.
pub(crate) fn check_revision(revision: &str) -> Result<(), String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "_./-~^@{}+".contains(c);
    if revision.is_empty() || revision.starts_with('-') || revision.len() > 200 || !revision.chars().all(fine) {
        return Err("names a revision that is none, such as main, v1.2, origin/config or HEAD~1".to_owned());
    }
    if revision.contains("..") {
        return Err("names a range of revisions in place of one".to_owned());
    }
    Ok(())
}

/// Runs git in a folder.
#[derive(Clone)]
pub(crate) struct Repository {
    runner: Arc<dyn CommandRunner>,
    root: PathBuf,
}

impl Repository {
    pub(crate) fn new(runner: Arc<dyn CommandRunner>, root: &Path) -> Self {
        Self { runner, root: root.to_owned() }
    }

    /// Runs one git command; it asks nothing, takes no lock and reads no configuration of the system's pager or editor.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Result<CommandOutput> {
        let argv = ["git", "--no-pager", "--no-optional-locks", "--literal-pathspecs"].iter().chain(arguments);
        let mut spec = CommandSpec::new(argv.map(|text| (*text).to_owned()).collect(), self.root.clone(), TIMEOUT);
        for (name, value) in [("GIT_TERMINAL_PROMPT", "0"), ("LC_ALL", "C"), ("GIT_NO_LAZY_FETCH", "1")] {
            spec.env.insert(name.to_owned(), EnvValue::Plain(value.to_owned()));
        }
        self.runner.run(spec).await
    }

    /// The content of a file at a revision, relative to the folder; none when that revision has no such file.
    pub(crate) async fn show(&self, revision: &str, path: &str) -> Result<Option<Vec<u8>>> {
        let output = self.run(&["show", "--no-textconv", &format!("{revision}:./{path}")]).await?;
        if output.ok() {
            if output.truncated {
                let message = format!("{path} at {revision} is larger than what is read from git.");
                return Err(Fault::new(Code::ConfigInvalid, message).hint("A file may have 256 KiB there."));
            }
            return Ok(Some(output.stdout.into_bytes()));
        }
        let said = output.stderr.to_lowercase();
        if said.contains("does not exist") || said.contains("exists on disk, but not in") {
            return Ok(None);
        }
        Err(failed(revision, &said, &output))
    }
}

fn failed(revision: &str, said: &str, output: &CommandOutput) -> Fault {
    if said.contains("not a git repository") {
        return Fault::new(Code::ConfigInvalid, "The project does not lie in a git repository.");
    }
    if ["invalid object name", "unknown revision", "bad revision", "bad object"].iter().any(|sign| said.contains(sign))
    {
        return Fault::new(Code::ConfigInvalid, format!("The repository has no revision {revision:?}."))
            .hint("Fetch it first; vice does not fetch by itself.");
    }
    Fault::new(Code::Backend, "git failed.").because(output.failure())
}

/// What a list of files was at a revision.
pub(crate) async fn past(
    repository: &Repository,
    revision: &str,
    paths: &[String],
) -> Result<BTreeMap<String, Option<Vec<u8>>>> {
    let mut found = BTreeMap::new();
    for path in paths {
        check_relative(path)?;
        found.insert(path.clone(), repository.show(revision, path).await?);
    }
    Ok(found)
}

/// A layer in git.
pub(super) struct Git {
    repository: Repository,
    name: String,
    revision: String,
    path: String,
}

impl Git {
    pub(super) fn new(name: &str, revision: &str, path: &str, tools: &Tools) -> Result<Self> {
        let runner = tools.runner.clone().ok_or_else(|| Fault::unsupported("git", "reading layers here"))?;
        let repository = Repository::new(runner, &tools.root);
        Ok(Self { repository, name: name.to_owned(), revision: revision.to_owned(), path: path.to_owned() })
    }
}

#[async_trait]
impl Remote for Git {
    fn ability(&self) -> Ability {
        Ability { kind: "git", secret: false, document: true }
    }

    async fn fetch(&self) -> Result<Option<Fetched>> {
        let found = self.repository.show(&self.revision, &self.path).await;
        let bytes = found.map_err(|fault| fault.detail("layer", self.name.as_str()))?;
        let (_, sealed) = kind_of(&self.path)?;
        if sealed && bytes.as_ref().is_some_and(|bytes| !bytes.starts_with(b"-----BEGIN")) {
            let message = format!("The layer {} is encrypted in binary form, which can't be read from git.", self.name);
            return Err(Fault::new(Code::ConfigInvalid, message).hint("Encrypt it as text: age --armor."));
        }
        bytes.map(|bytes| document(&self.name, &self.path, bytes)).transpose()
    }
}
