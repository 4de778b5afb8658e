//! The tree of a git revision, by way of the `git` program: fetched into a fresh bare repository, exported with
//! `git archive`, unpacked like every other tar file. Nothing is ever checked out, so no hook or filter runs.

use std::collections::BTreeMap;
use std::path::Path;

use url::Url;
use vice_core::fault::{Code, Context, Fault, Result};
use vice_core::port::command::{CommandRunner, CommandSpec, EnvValue};
use vice_core::time::Millis;

use super::reference::shown;
use super::staging::Staging;

/// The name of the exported tar file inside its temporary folder.
pub(super) const FILE: &str = "export.tar";
const TIMEOUT: Millis = Millis::from_secs(15 * 60);

/// A fetched revision.
pub(super) struct Checkout<'a> {
    runner: &'a dyn CommandRunner,
    staging: &'a Staging,
    env: BTreeMap<String, EnvValue>,
    place: String,
    /// The full id of the commit.
    pub(super) commit: String,
}

/// Fetches `rev` and resolves it to a commit. `env` is what the user's git needs beside the built-in settings, such as
/// `SSH_AUTH_SOCK`.
pub(super) async fn fetch<'a>(
    runner: &'a dyn CommandRunner,
    staging: &'a Staging,
    url: &Url,
    rev: &str,
    env: &BTreeMap<String, String>,
) -> Result<Checkout<'a>> {
    let home = staging.beside("home");
    std::fs::create_dir(&home).context(Code::StateUnwritable, || "A private home for git can't be made.".to_owned())?;
    let env = environment(&home, env);
    let mut checkout = Checkout { runner, staging, env, place: shown(url), commit: String::new() };
    checkout.git(&["init", "--quiet", "--bare", "--template=", "--", "repository"]).await?;
    checkout.fetch_revision(url, rev).await?;
    Ok(checkout)
}

impl Checkout<'_> {
    /// Writes the tree, or the part below `subdir`, as a tar file beside the release.
    pub(super) async fn export(&self, subdir: Option<&str>) -> Result<()> {
        let tree = match subdir {
            Some(subdir) => format!("{}:{subdir}", self.commit),
            None => self.commit.clone(),
        };
        let output = format!("--output=../{FILE}");
        let argv = ["-C", "repository", "archive", "--format=tar", &output, &tree, "--"];
        self.git(&argv).await.map(drop).map_err(|fault| match subdir {
            Some(subdir) => {
                missing(format!("The commit {} of {} has no folder {subdir}.", self.commit, self.place)).because(fault)
            }
            None => fault,
        })
    }

    async fn fetch_revision(&mut self, url: &Url, rev: &str) -> Result<()> {
        let shallow = [
            "-C",
            "repository",
            "fetch",
            "--quiet",
            "--depth=1",
            "--no-tags",
            "--no-recurse-submodules",
            "--",
            url.as_str(),
            rev,
        ];
        if self.git(&shallow).await.is_ok() {
            return self.resolve("FETCH_HEAD", rev).await;
        }
        // Abbreviated ids, and commits that a server does not hand out by id, need the whole history.
        let heads = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];
        let whole =
            ["-C", "repository", "fetch", "--quiet", "--no-recurse-submodules", "--", url.as_str(), heads[0], heads[1]];
        self.git(&whole).await?;
        self.resolve(rev, rev).await
    }

    async fn resolve(&mut self, name: &str, rev: &str) -> Result<()> {
        let commit = format!("{name}^{{commit}}");
        let argv = ["-C", "repository", "rev-parse", "--verify", "--quiet", "--end-of-options", &commit];
        let gone = |fault: Fault| {
            missing(format!("{} has no branch, tag or commit {rev}.", self.place))
                .hint("Push it first, or correct the revision in the manifest.")
                .because(fault)
        };
        let id = self.git(&argv).await.map_err(gone)?.trim().to_owned();
        if !matches!(id.len(), 40 | 64) || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Fault::new(Code::Backend, "git gave an answer that is no commit id."));
        }
        self.commit = id;
        Ok(())
    }

    async fn git(&self, arguments: &[&str]) -> Result<String> {
        const SETTINGS: [&str; 10] = [
            "-c",
            "core.hooksPath=/dev/null",
            "-c",
            "core.fsmonitor=false",
            "-c",
            "protocol.ext.allow=never",
            "-c",
            "credential.interactive=false",
            "-c",
            "gc.auto=0",
        ];
        let argv = ["git"].iter().chain(&SETTINGS).chain(arguments).map(|part| (*part).to_owned()).collect();
        let mut spec = CommandSpec::new(argv, self.staging.path().to_owned(), TIMEOUT);
        spec.env.clone_from(&self.env);
        let output = self.runner.run(spec).await?;
        if output.ok() {
            return Ok(output.stdout);
        }
        let failure = super::names::quoted(output.failure().as_bytes());
        Err(Fault::new(Code::Backend, format!("git failed for {}: {failure}.", self.place)))
    }
}

fn missing(message: String) -> Fault {
    Fault::new(Code::ArtifactMissing, message)
}

/// Nothing of the machine's or the user's git settings, nor of those that a repository could bring along.
fn environment(home: &Path, extra: &BTreeMap<String, String>) -> BTreeMap<String, EnvValue> {
    let home = home.to_string_lossy().into_owned();
    let fixed = [
        ("HOME", home.as_str()),
        ("XDG_CONFIG_HOME", home.as_str()),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_ALLOW_PROTOCOL", "ssh:https:file"),
        ("GIT_PROTOCOL_FROM_USER", "0"),
        ("GIT_SSH_COMMAND", "ssh -oBatchMode=yes"),
        ("LC_ALL", "C"),
    ];
    let fixed = fixed.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let all = extra.clone().into_iter().chain(fixed);
    all.map(|(name, value)| (name, EnvValue::Plain(value))).collect()
}
