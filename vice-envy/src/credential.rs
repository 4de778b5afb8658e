//! Layers from programs: `credential:NAME/PATH` asks `vice-credential-NAME` on PATH, which may ask a password manager.
//! One JSON document in on standard input, one out on standard output; nothing secret is an argument. See docs/secrets.md
//! for the protocol. Everything that comes back is secret.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use vice_core::app::ProcessEnv;
use vice_core::id::EnvName;
use vice_core::manifest::Project;
use vice_core::text::sanitize;
use vice_core::{Code, Context, Fault, Result};
use zeroize::Zeroizing;

use crate::key::{Flaw, Sheet, join};

/// How long a program may take: password managers ask their servers, and sometimes a person.
const DEADLINE: Duration = Duration::from_secs(60);
/// The largest answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;
/// How much of what it says on standard error is kept, in bytes.
const COMPLAINT_BYTES_MAX: u64 = 8 * 1024;

/// What a layer names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    name: String,
    path: String,
}

/// What a program answers.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    values: Option<Map<String, Value>>,
    #[serde(default)]
    error: Option<String>,
}

impl Reference {
    /// Reads `NAME/PATH`, what follows `credential:`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let (name, path) = text.split_once('/').unwrap_or((text, ""));
        let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        // The name becomes part of a file's name that is looked for on PATH.
        if name.is_empty() || name.len() > 40 || !name.chars().all(fine) {
            return Err(Fault::new(Code::ConfigInvalid, "A credential layer has no usable name.")
                .hint("Write credential:NAME/PATH, NAME in a-z, 0-9 and -, for the program vice-credential-NAME."));
        }
        if path.chars().any(char::is_control) {
            return Err(Fault::new(
                Code::ConfigInvalid,
                format!("The path of credential:{name} has control characters."),
            ));
        }
        Ok(Self { name: name.to_owned(), path: path.to_owned() })
    }

    /// Asks the program.
    pub(crate) fn read(&self, project: &Project, env: &EnvName, process: &ProcessEnv) -> Result<Sheet> {
        let program = self.find(process)?;
        let asked = json!({
            "version": 1, "operation": "get", "path": self.path, "project": project.name(), "env": env,
        });
        let said = run(&program, process, &asked.to_string()).map_err(|fault| self.named(fault))?;
        let answer: Answer = serde_json::from_slice(&said.answer).map_err(|error| {
            // The text is not quoted: it may be half of an answer.
            self.refused(&format!("answered no JSON of the protocol (line {})", error.line()), &said)
        })?;
        if let Some(error) = answer.error {
            return Err(self.refused(&format!("says: {}", short(&error)), &said));
        }
        let Some(values) = answer.values.filter(|_| said.status.success()) else {
            return Err(self.refused(&format!("gave no values ({})", said.status), &said));
        };
        let layer = format!("credential:{}/{}", self.name, self.path);
        let mut sheet = Sheet::default();
        let refuse = |flaw: Flaw| flaw.in_layer(&layer);
        add(&mut sheet, "", Value::Object(values)).map_err(refuse)?;
        sheet.finish().map_err(refuse)
    }

    fn find(&self, process: &ProcessEnv) -> Result<PathBuf> {
        let file = format!("vice-credential-{}", self.name);
        let path = process.get("PATH").unwrap_or_default();
        // A relative folder would be whatever project is worked on.
        let found = std::env::split_paths(path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(&file));
        let Some(program) = found.into_iter().find(|path| path.is_file()) else {
            return Err(Fault::new(Code::ConfigInvalid, format!("There is no {file} on PATH."))
                .hint("Install it, or take the layer out; docs/secrets.md tells where examples are."));
        };
        let mode = std::fs::metadata(&program).map_or(0, |meta| meta.permissions().mode());
        if mode & 0o002 != 0 {
            return Err(Fault::new(Code::ConfigInvalid, format!("{} can be written by everybody.", program.display()))
                .hint("It would be given secrets: chmod o-w."));
        }
        Ok(program)
    }

    fn named(&self, fault: Fault) -> Fault {
        let message = format!("vice-credential-{} gave nothing for {:?}.", self.name, self.path);
        Fault::new(fault.code(), message).because(fault)
    }

    fn refused(&self, why: &str, said: &Said) -> Fault {
        let complaint = String::from_utf8_lossy(&said.complaint);
        let last = complaint.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(short);
        let fault = Fault::new(Code::ConfigInvalid, format!("vice-credential-{} {why}.", self.name));
        match last {
            Some(last) => fault.because(last),
            None => fault,
        }
    }
}

fn short(text: &str) -> String {
    sanitize(&text.chars().take(300).collect::<String>())
}

fn add(sheet: &mut Sheet, key: &str, value: Value) -> std::result::Result<(), Flaw> {
    match value {
        Value::Object(fields) => fields.into_iter().try_for_each(|(name, field)| add(sheet, &join(key, &name), field)),
        value => sheet.add(key.to_owned(), value, None),
    }
}

struct Said {
    answer: Zeroizing<Vec<u8>>,
    complaint: Vec<u8>,
    status: ExitStatus,
}

#[expect(
    clippy::disallowed_methods,
    reason = "layers are read without a runtime; argv only, bounded, ended at a deadline"
)]
fn run(program: &PathBuf, process: &ProcessEnv, asked: &str) -> Result<Said> {
    // Its own login is in variables; our keys are nothing to it.
    let vars = process.vars.iter().filter(|(name, _)| !name.starts_with("VICE_") && !name.starts_with("SOPS_"));
    let mut command = std::process::Command::new(program);
    command.env_clear().envs(vars).current_dir(&process.dir).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().context(Code::ConfigInvalid, || format!("{} can't be started.", program.display()))?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let (send, receive) = mpsc::channel();
    let asked = asked.to_owned();
    std::thread::spawn(move || drop(send.send(converse(child, &asked))));
    match receive.recv_timeout(DEADLINE) {
        Ok(said) => said.context(Code::ConfigInvalid, || "It can't be talked to.".to_owned()),
        Err(_) => {
            // One that is gone already needs no end.
            let _gone = group.map(|group| kill_process_group(group, Signal::KILL));
            Err(Fault::new(Code::ConfigInvalid, format!("It took longer than {} s.", DEADLINE.as_secs())))
        }
    }
}

fn converse(mut child: Child, asked: &str) -> std::io::Result<Said> {
    let complaints = child.stderr.take().map(|pipe| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            drop(pipe.take(COMPLAINT_BYTES_MAX).read_to_end(&mut bytes));
            bytes
        })
    });
    if let Some(mut pipe) = child.stdin.take() {
        // One that does not read knows what it needs.
        drop(pipe.write_all(asked.as_bytes()));
    }
    let mut answer = Zeroizing::new(Vec::new());
    if let Some(pipe) = child.stdout.take() {
        pipe.take(ANSWER_BYTES_MAX + 1).read_to_end(&mut answer)?;
    }
    if answer.len() as u64 > ANSWER_BYTES_MAX {
        child.kill()?;
        return Err(std::io::Error::other(format!("the answer has more than {ANSWER_BYTES_MAX} bytes")));
    }
    let status = child.wait()?;
    let complaint = complaints.and_then(|thread| thread.join().ok()).unwrap_or_default();
    Ok(Said { answer, complaint, status })
}
