//! git itself, in a repository of the test's own.
#![expect(clippy::disallowed_methods, reason = "the test has no other runner of commands than the real one")]

use std::io::Write;
use std::process::{Command, Stdio};

use async_trait::async_trait;
use vice_core::port::command::{CommandOutput, CommandSpec, Ended};
use vice_core::{Millis, Secret};

use super::*;

/// Runs commands for real, with an environment from scratch.
pub(crate) struct Real;

#[async_trait]
impl CommandRunner for Real {
    async fn run(&self, spec: CommandSpec) -> Result<CommandOutput> {
        let mut command = Command::new(&spec.argv[0]);
        command.args(&spec.argv[1..]).current_dir(&spec.dir).env_clear().env("PATH", "/usr/bin:/bin");
        command.envs(spec.env.iter().map(|(name, value)| (name, value.reveal())));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn();
        let mut child = child.map_err(|_| Fault::new(Code::Usage, "The program can't be started."))?;
        let mut pipe = child.stdin.take().unwrap();
        // One that does not read knows what it needs.
        pipe.write_all(spec.stdin.as_ref().map_or("", Secret::reveal).as_bytes()).ok();
        drop(pipe);
        let output = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let max = vice_core::port::command::OUTPUT_BYTES_MAX;
        let truncated = output.stdout.len() > max;
        let kept = &output.stdout[output.stdout.len().saturating_sub(max)..];
        let ended = Ended::Exited(output.status.code().unwrap_or(-1));
        Ok(CommandOutput { ended, stdout: text(kept), stderr: text(&output.stderr), truncated, took: Millis(1) })
    }
}

/// Runs git in a folder as a fixed author.
pub(crate) fn git(dir: &std::path::Path, arguments: &[&str]) {
    let mut command = Command::new("git");
    command.current_dir(dir).args(["-c", "user.name=Ada", "-c", "user.email=a@x", "-c", "init.defaultBranch=main"]);
    command.env("GIT_AUTHOR_DATE", "2026-01-02T00:00:00Z").env("GIT_COMMITTER_DATE", "2026-01-02T00:00:00Z");
    let output = command.args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

#[tokio::test]
async fn layers_of_a_revision() {
    let dir = tempfile::tempdir().unwrap();
    let project = dir.path().join("below");
    std::fs::create_dir(&project).unwrap();
    let write = |name: &str, text: &str| std::fs::write(project.join(name), text).unwrap();
    git(dir.path(), &["init", "-q"]);
    write("prod.toml", "a = 1\n");
    write("large.toml", &format!("a = \"{}\"\n", "x".repeat(300 * 1024)));
    write("x.toml.age", "binary");
    git(dir.path(), &["add", "."]);
    git(dir.path(), &["commit", "-q", "-m", "one"]);
    git(dir.path(), &["tag", "v1"]);
    write("prod.toml", "a = 2\n");
    git(dir.path(), &["commit", "-q", "-a", "-m", "two"]);
    let root = project.clone();
    let ask = |layer: &str| {
        let (layer, root) = (layer.to_owned(), root.clone());
        async move {
            let address = Address::parse(&layer)?.expect("an address");
            let runner: Arc<dyn CommandRunner> = Arc::new(Real);
            let tools = Tools { process: Arc::default(), root, runner: Some(runner) };
            connect(&layer, &address, &tools)?.fetch().await
        }
    };
    let value = |found: Result<Option<Fetched>>| flat(found.unwrap().unwrap())[0].1.clone();
    assert_eq!(value(ask("git:v1:prod.toml").await), json!(1));
    assert_eq!(value(ask("git:HEAD:prod.toml").await), json!(2));
    assert_eq!(value(ask("git:main~1:prod.toml").await), json!(1));
    assert!(ask("git:v1:gone.toml").await.unwrap().is_none());
    for (layer, said) in [
        ("git:v2:prod.toml", "no revision"),
        ("git:v1:large.toml", "larger than"),
        ("git:v1:x.toml.age", "binary form"),
    ] {
        let fault = ask(layer).await.err().unwrap_or_else(|| panic!("{layer} was read"));
        assert!(fault.to_string().contains(said), "{layer}: {fault:?}");
    }
    let outside = tempfile::tempdir().unwrap();
    let repository = Repository::new(Arc::new(Real), outside.path());
    let fault = repository.show("HEAD", "prod.toml").await.unwrap_err();
    assert!(fault.to_string().contains("not lie in a git repository"), "{fault:?}");
}
