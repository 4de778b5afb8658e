//! Trees of real git repositories.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use vice_core::fault::{Code, Context, Result};
use vice_core::port::command::{CommandOutput, CommandRunner, CommandSpec, Ended};
use vice_core::time::Millis;

use super::{Bench, at};
use crate::artifact::{Artifact, Reference, Resolver, resolve};

/// Runs commands for real, with only what the specification gives, and keeps their argument lists.
#[derive(Default)]
struct Recorder(Mutex<Vec<CommandSpec>>);

#[async_trait]
impl CommandRunner for Recorder {
    async fn run(&self, spec: CommandSpec) -> Result<CommandOutput> {
        self.0.lock().unwrap().push(spec.clone());
        let output = command(&spec.argv[0])
            .args(&spec.argv[1..])
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .envs(spec.env.iter().map(|(name, value)| (name, value.reveal())))
            .current_dir(&spec.dir)
            .output()
            .context(Code::Usage, || "git can't be started.".to_owned())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(CommandOutput {
            ended: Ended::Exited(output.status.code().unwrap_or(-1)),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
            truncated: false,
            took: Millis::ZERO,
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "the tests bring their own runner and make real repositories")]
fn command(program: &str) -> Command {
    Command::new(program)
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = command("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "init.defaultBranch=main"])
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .current_dir(folder)
        .output()
        .expect("these tests need git: apt-get install git");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A repository with tag `v1` (hello) and a later commit on `main` (world), hooks that leave a trace, and its bench.
fn repository() -> (Bench, String, String) {
    let bench = Bench::new();
    let folder = bench.path("repo");
    std::fs::create_dir_all(folder.join("app/bin")).unwrap();
    git(&folder, &["init", "--quiet"]);
    std::fs::write(folder.join("app/bin/run"), b"hello").unwrap();
    git(&folder, &["add", "-A"]);
    git(&folder, &["commit", "--quiet", "-m", "one"]);
    git(&folder, &["tag", "-a", "v1", "-m", "v1"]);
    let first = git(&folder, &["rev-parse", "HEAD"]);
    std::fs::write(folder.join("app/bin/run"), b"world").unwrap();
    git(&folder, &["commit", "--quiet", "-a", "-m", "two"]);
    let second = git(&folder, &["rev-parse", "HEAD"]);
    (bench, first, second)
}

async fn get(bench: &Bench, runner: &Arc<Recorder>, tail: &str) -> Result<Artifact> {
    let commands: Arc<dyn CommandRunner> = Arc::<Recorder>::clone(runner);
    let resolver = Resolver {
        commands: Some(commands),
        git_env: BTreeMap::from([("GIT_CONFIG_GLOBAL".to_owned(), "/hostile".to_owned())]),
        ..Resolver::new(bench.store.clone(), bench.folder.path())
    };
    let text = format!("git+file://{}{tail}", bench.path("repo").display());
    resolve(&Reference::parse(&text)?, &resolver, at(1)).await
}

#[tokio::test]
async fn tags_branches_commits_and_folders_resolve() {
    let (bench, first, second) = repository();
    let runner = Arc::new(Recorder::default());
    let cases = [
        ("@v1".to_owned(), &first, "app/bin/run", "hello"),
        ("@main".to_owned(), &second, "app/bin/run", "world"),
        (String::new(), &second, "app/bin/run", "world"),
        (format!("@{first}"), &first, "app/bin/run", "hello"),
        (format!("@{}", &first[..10]), &first, "app/bin/run", "hello"),
        ("@v1#app".to_owned(), &first, "bin/run", "hello"),
    ];
    for (tail, commit, file, content) in cases {
        let artifact = get(&bench, &runner, &tail).await.unwrap_or_else(|fault| panic!("{tail}: {fault:?}"));
        assert_eq!(artifact.origin.commit.as_ref(), Some(commit), "{tail}");
        assert_eq!(std::fs::read_to_string(artifact.path.join(file)).unwrap(), content, "{tail}");
        bench.store.verify(artifact.digest).unwrap();
    }
    for spec in runner.0.lock().unwrap().iter() {
        assert_eq!(spec.env["GIT_CONFIG_GLOBAL"].reveal(), "/dev/null", "the fixed settings win");
        assert_eq!(spec.env["GIT_TERMINAL_PROMPT"].reveal(), "0");
        assert!(Path::new(spec.env["HOME"].reveal()).starts_with(bench.path("store")));
        assert!(spec.argv.windows(2).any(|pair| pair == ["-c", "core.hooksPath=/dev/null"]), "{:?}", spec.argv);
    }
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let (bench, first, _) = repository();
    let runner = Arc::new(Recorder::default());
    let fault = get(&bench, &runner, "@v9").await.unwrap_err();
    assert_eq!(fault.code(), Code::ArtifactMissing);
    assert!(fault.to_string().contains("no branch, tag or commit v9"), "{fault}");
    let fault = get(&bench, &runner, &format!("@{first}#nowhere")).await.unwrap_err();
    assert_eq!(fault.code(), Code::ArtifactMissing, "{fault:?}");
    std::fs::rename(bench.path("repo"), bench.path("gone")).unwrap();
    let fault = get(&bench, &runner, "@v1").await.unwrap_err();
    assert_eq!(fault.code(), Code::Backend, "{fault:?}");
    assert!(bench.store.list().unwrap().is_empty());
}

#[tokio::test]
async fn hostile_trees_are_refused_and_hooks_do_not_run() {
    let (bench, _, _) = repository();
    let folder = bench.path("repo");
    let trace = bench.path("trace");
    for hook in ["pre-receive", "post-checkout", "reference-transaction"] {
        let path = folder.join(".git/hooks").join(hook);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("#!/bin/sh\ntouch '{}'\n", trace.display())).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let runner = Arc::new(Recorder::default());
    get(&bench, &runner, "@main").await.unwrap();
    assert!(!trace.exists());
    std::os::unix::fs::symlink("/etc/passwd", folder.join("app/out")).unwrap();
    git(&folder, &["-c", "core.hooksPath=/dev/null", "add", "-A"]);
    git(&folder, &["-c", "core.hooksPath=/dev/null", "commit", "--quiet", "-m", "link"]);
    let fault = get(&bench, &runner, "@main").await.unwrap_err();
    assert_eq!(fault.code(), Code::ArtifactRejected);
    assert!(fault.to_string().contains("app/out"), "{fault}");
}
