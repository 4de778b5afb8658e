//! Hosts that a command of the project lists. It is asked once in a process, so that everything that one command does
//! goes by one list.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use vice_core::manifest::{Command, Project};
use vice_core::{Code, Context, Fault, Result};

use super::address::Host;

/// How long the command may take.
const TAKES_AT_MOST: Duration = Duration::from_secs(30);

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The most that is read of it: more than ten thousand hosts with some variables take.
const BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What was asked, and the answer.
type Answers = Mutex<BTreeMap<(PathBuf, Vec<String>), String>>;

/// The hosts that the command prints.
pub(super) fn hosts(project: &Project, command: &Command) -> Result<Vec<Host>> {
    let mut answers = answers();
    let asked = (project.root.clone(), command.0.clone());
    let text = match answers.get(&asked) {
        Some(text) => text.clone(),
        None => {
            let text = run(&asked.0, &asked.1)?;
            answers.insert(asked, text.clone());
            text
        }
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| Host::parse(line).map_err(|why| super::wrong("hosts_from", &why))).collect()
}

/// What `ansible-inventory` makes of an inventory that only Ansible can read: a program, a plug-in, a folder.
pub(super) fn inventory(project: &Project, name: &str) -> Result<String> {
    let path = project.root.join(name).display().to_string();
    let argv = ["ansible-inventory", "-i", &path, "--list"].map(str::to_owned);
    let asked = (project.root.clone(), argv.to_vec());
    if let Some(text) = answers().get(&asked) {
        return Ok(text.clone());
    }
    let text = run(&asked.0, &asked.1).map_err(|fault| {
        fault.detail("key", "inventory").hint("apt-get install -y ansible-core, or pipx install ansible-core.")
    })?;
    answers().insert(asked, text.clone());
    Ok(text)
}

/// What was asked in this process.
fn answers() -> MutexGuard<'static, BTreeMap<(PathBuf, Vec<String>), String>> {
    static ANSWERS: OnceLock<Answers> = OnceLock::new();
    ANSWERS.get_or_init(Answers::default).lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(argv: &[String], why: &str) -> Fault {
    let program = argv.first().map_or("", String::as_str);
    Fault::new(Code::ManifestInvalid, format!("The command {program:?} lists no hosts: {why}."))
        .detail("key", "hosts_from")
}

/// Runs it to its end; nothing is left of it when that takes too long.
fn run(dir: &std::path::Path, argv: &[String]) -> Result<String> {
    let mut child = start(dir, argv)?;
    let unread = || failed(argv, "its output can't be read");
    let mut pipe = child.stdout.take().ok_or_else(unread)?;
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        pipe.by_ref().take(BYTES_MAX + 1).read_to_string(&mut text).map(|_| text)
    });
    let mut waited = Duration::ZERO;
    let status = loop {
        if let Some(status) = child.try_wait().context(Code::Io, || "A command can't be waited for.".to_owned())? {
            break status;
        }
        if waited >= TAKES_AT_MOST || (reader.is_finished() && waited >= Duration::from_secs(2)) {
            end(&mut child);
            return Err(failed(argv, &format!("it did not end within {} s", TAKES_AT_MOST.as_secs())));
        }
        std::thread::sleep(LOOK_EVERY);
        waited += LOOK_EVERY;
    };
    let text = reader.join().map_err(|_| unread())?.map_err(|_| failed(argv, "what it prints is no text"))?;
    // First, because whoever prints more than is read ends badly.
    if text.len() as u64 > BYTES_MAX {
        return Err(failed(argv, "it prints more than 16 MB"));
    }
    if !status.success() {
        return Err(
            failed(argv, &format!("it ended with {status}")).hint("Run it yourself in the folder of vice.toml.")
        );
    }
    Ok(text)
}

fn end(child: &mut Child) {
    if let Err(error) = child.kill().and_then(|()| child.wait()) {
        tracing::debug!(%error, "the command is gone already");
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "hosts are needed where nothing is wired yet; output and time are bounded here"
)]
fn start(dir: &std::path::Path, argv: &[String]) -> Result<Child> {
    let (program, arguments) = argv.split_first().ok_or_else(|| failed(argv, "it is empty"))?;
    // A relative path is meant from the folder of vice.toml, as everywhere in it.
    let program = if program.contains('/') { dir.join(program) } else { PathBuf::from(program) };
    let mut command = std::process::Command::new(program);
    command.args(arguments).current_dir(dir).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().map_err(|error| failed(argv, "it can't be started").because(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Result<String> {
        run(std::path::Path::new("/"), &["sh", "-c", script].map(str::to_owned))
    }

    #[test]
    fn a_command_lists_hosts_or_says_why_not() {
        assert_eq!(sh("echo web1; echo web2").unwrap(), "web1\nweb2\n");
        assert!(sh("exit 3").unwrap_err().to_string().contains("status: 3"));
        assert!(sh("head -c 17000000 /dev/zero | tr '\\0' a").unwrap_err().to_string().contains("more than 16 MB"));
        let gone = run(std::path::Path::new("/"), &["no-such-program".to_owned()]).unwrap_err();
        assert!(gone.to_string().contains("can't be started"), "{gone}");
    }
}
