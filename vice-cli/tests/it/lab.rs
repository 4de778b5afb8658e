//! The built binary in a hermetic environment: its own folders, a cleared environment, no terminal, and everything
//! that it started ended when the test ends.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// A folder of its own with a home of its own.
pub(crate) struct Lab {
    dir: tempfile::TempDir,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Fails the test with everything that was said when the status is another one.
    #[track_caller]
    pub(crate) fn expect(self, status: i32) -> Self {
        assert_eq!(self.status, status, "\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    /// Standard output as one JSON document.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", self.stdout, self.stderr))
    }
}

impl Lab {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("vice-test-").tempdir().expect("a temporary folder");
        fs::create_dir_all(dir.path().join("home")).expect("a home");
        fs::create_dir_all(dir.path().join("p")).expect("a project folder");
        Self { dir }
    }

    /// The project folder.
    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("p")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> &Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("the folder");
        fs::write(path, text).expect("the file");
        self
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// The command in the project folder, ready to be changed further.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vice"));
        command
            .args(args)
            .current_dir(self.root())
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.dir.path().join("home"))
            .env("XDG_CONFIG_HOME", self.dir.path().join("home/.config"))
            .env("TMPDIR", self.dir.path())
            .env("USER", "ada")
            .env("LANG", "C.UTF-8")
            .env("VICE_CEILING", self.root())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn vice(&self, args: &[&str]) -> Ran {
        ran(&self.command(args).output().expect("vice runs"))
    }

    pub(crate) fn vice_with(&self, vars: &[(&str, &str)], args: &[&str]) -> Ran {
        ran(&self.command(args).envs(vars.iter().copied()).output().expect("vice runs"))
    }

    /// How many processes of the example service run in this lab.
    pub(crate) fn instances(&self) -> usize {
        let pids = marked(&self.dir.path().display().to_string());
        let is_service = |pid: &&String| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).next().is_some_and(|program| program.ends_with(b"/hello"))
        };
        pids.iter().filter(is_service).count()
    }
}

pub(crate) fn ran(output: &Output) -> Ran {
    let status = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
    Ran {
        status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Drop for Lab {
    /// Ends agents and instances whose command line, environment or folder names this lab.
    fn drop(&mut self) {
        let mark = self.dir.path().display().to_string();
        for _ in 0..3 {
            let pids = marked(&mark);
            if pids.is_empty() {
                return;
            }
            for pid in pids {
                drop(Command::new("kill").args(["-9", &pid]).stderr(Stdio::null()).status());
            }
        }
    }
}

/// Processes that have the mark in their command line or working folder.
fn marked(mark: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| name.parse::<u32>().is_ok());
    let has_mark = |pid: &String| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let folder = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(mark) || folder.starts_with(mark)
    };
    pids.filter(has_mark).collect()
}

/// The example service in two versions, compiled once for all tests of a run.
pub(crate) fn hello(version: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let dist = BUILT.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf();
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hello");
        let built =
            Command::new(root.join("examples/hello/build")).arg("--out").arg(&out).output().expect("build runs");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        out
    });
    let binary = dist.join(format!("hello-{version}/hello"));
    assert!(binary.is_file(), "{} was not built", binary.display());
    binary
}

/// A project with the example service in both versions and checks that tell them apart.
pub(crate) fn hello_project(lab: &Lab, instances: u32) {
    for version in ["1", "2"] {
        let dir = lab.path(&format!("dist/hello-{version}"));
        fs::create_dir_all(&dir).expect("dist");
        fs::copy(hello(version), dir.join("hello")).expect("the service");
    }
    lab.write(
        "vice.toml",
        &format!(
            r#"name     = "hello"
version  = "1"
artifact = "dist/hello-{{{{version}}}}"
command  = ["./hello", "--port", "{{{{port}}}}"]
health   = "/healthz"
[env.dev]
instances = {instances}
[check.health]
http = "{{{{env.url}}}}/healthz"
[check.greets]
http = "{{{{env.url}}}}/greet?name=Ada"
json = {{ "/greeting" = "Hello, Ada!" }}
[channel.log]
kind = "file"
path = "notices.jsonl"
[[notify]]
on = ["deployed", "rolled-back"]
to = "log"
"#
        ),
    );
}
