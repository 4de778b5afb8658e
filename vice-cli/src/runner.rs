//! The one place that starts commands of a project: argument lists only, an environment built from scratch, output
//! bounded and masked, the whole process group ended at the deadline.

use std::collections::VecDeque;
use std::process::Stdio;
use std::sync::Arc;

use async_trait::async_trait;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;
use tokio::time::{Instant, timeout};
use vice_core::app::ProcessEnv;
use vice_core::port::command::{CommandOutput, CommandRunner, CommandSpec, Ended, OUTPUT_BYTES_MAX, Stream};
use vice_core::secret::LineMasker;
use vice_core::{Code, Context, Fault, Millis, Result};

/// What every child gets from the caller's environment, where it is set.
const INHERITED: &[&str] =
    &["PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER", "TERM", "SSL_CERT_FILE", "TRACEPARENT"];

/// How long a killed process group may take to let go of its output.
const LINGER: Millis = Millis(2_000);

/// Runs commands as child processes.
pub(crate) struct ProcessRunner {
    env: Arc<ProcessEnv>,
}

impl ProcessRunner {
    pub(crate) const fn new(env: Arc<ProcessEnv>) -> Self {
        Self { env }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one command runner behind the CommandRunner port")]
    fn spawn(&self, spec: &CommandSpec) -> Result<Child> {
        let (program, arguments) =
            spec.argv.split_first().ok_or_else(|| Fault::internal("A command without a program was to be run."))?;
        let mut command = tokio::process::Command::new(program);
        command
            .args(arguments)
            .current_dir(&spec.dir)
            .env_clear()
            .envs(INHERITED.iter().filter_map(|name| self.env.get(name).map(|value| (*name, value))))
            .envs(spec.env.iter().map(|(name, value)| (name, value.reveal())))
            .stdin(if spec.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command.spawn().map_err(|error| not_started(program, spec, error))
    }
}

fn not_started(program: &str, spec: &CommandSpec, error: std::io::Error) -> Fault {
    let fault = Fault::new(Code::Usage, format!("The program {program:?} can't be started."));
    let fault = match error.kind() {
        std::io::ErrorKind::NotFound if !spec.dir.is_dir() => {
            fault.hint(format!("The folder {} does not exist.", spec.dir.display()))
        }
        std::io::ErrorKind::NotFound => {
            fault.hint(format!("It was looked for on PATH and from {}.", spec.dir.display()))
        }
        std::io::ErrorKind::PermissionDenied => fault.hint("Is the file executable?"),
        _ => fault,
    };
    fault.because(error)
}

#[async_trait]
impl CommandRunner for ProcessRunner {
    async fn run(&self, spec: CommandSpec) -> Result<CommandOutput> {
        let started = Instant::now();
        let mut child = self.spawn(&spec)?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let stdout = capture(child.stdout.take(), Stream::Out, &spec);
        let stderr = capture(child.stderr.take(), Stream::Err, &spec);
        let stdin = child.stdin.take();
        let feed = async {
            if let (Some(mut pipe), Some(input)) = (stdin, &spec.stdin) {
                // A child that does not read its input is its own business.
                drop(pipe.write_all(input.reveal().as_bytes()).await);
            }
        };
        let whole = async {
            let (status, out, err, ()) = futures::join!(child.wait(), stdout, stderr, feed);
            (status, out, err)
        };
        tokio::pin!(whole);
        let (ended, out, err) = match timeout(spec.timeout.as_duration(), &mut whole).await {
            Ok((status, out, err)) => {
                (ended(status.context(Code::Io, || "A child can't be waited for.".into())?), out, err)
            }
            Err(_) => {
                if let Some(Err(error)) = group.map(|group| kill_process_group(group, Signal::KILL)) {
                    tracing::debug!(%error, "the group is gone already");
                }
                let (out, err) = match timeout(LINGER.as_duration(), &mut whole).await {
                    Ok((_, out, err)) => (out, err),
                    Err(_) => (Kept::default(), Kept::default()),
                };
                (Ended::TimedOut, out, err)
            }
        };
        let took = Millis(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
        let truncated = out.dropped || err.dropped;
        Ok(CommandOutput { ended, stdout: out.text(), stderr: err.text(), truncated, took })
    }
}

fn ended(status: std::process::ExitStatus) -> Ended {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Exited(code),
        (None, Some(signal)) => Ended::Signalled(signal),
        (None, None) => Ended::Exited(-1),
    }
}

/// The end of a stream, at most [`OUTPUT_BYTES_MAX`].
#[derive(Default)]
struct Kept {
    bytes: VecDeque<u8>,
    dropped: bool,
}

impl Kept {
    fn push(&mut self, chunk: &[u8]) {
        self.bytes.extend(chunk);
        let excess = self.bytes.len().saturating_sub(OUTPUT_BYTES_MAX);
        if excess > 0 {
            self.bytes.drain(..excess);
            self.dropped = true;
        }
    }

    fn text(self) -> String {
        let bytes: Vec<u8> = self.bytes.into();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Reads a stream to its end. It is masked before it is cut or shortened, because a part of a secret is not found.
async fn capture(pipe: Option<impl AsyncRead + Unpin>, stream: Stream, spec: &CommandSpec) -> Kept {
    let mut kept = Kept::default();
    let Some(mut pipe) = pipe else { return kept };
    let mut lines = spec.on_line.as_ref().map(|on_line| (LineMasker::new(&spec.masker), on_line));
    let mut masked = spec.masker.stream();
    let (mut buffer, mut safe) = (vec![0_u8; 16 * 1024], Vec::new());
    loop {
        match pipe.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(read) => {
                masked.feed(&buffer[..read], &mut safe);
                kept.push(&safe);
                safe.clear();
                if let Some((lines, on_line)) = &mut lines {
                    lines.feed(&buffer[..read], |line| on_line(stream, line));
                }
            }
        }
    }
    masked.finish(false, &mut safe);
    kept.push(&safe);
    if let Some((lines, on_line)) = lines {
        lines.finish(|line| on_line(stream, line));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use vice_core::Secret;
    use vice_core::port::command::EnvValue;

    fn runner() -> ProcessRunner {
        let vars = [("PATH".to_owned(), "/usr/bin:/bin".to_owned()), ("LEAK".to_owned(), "outer".to_owned())];
        ProcessRunner::new(Arc::new(ProcessEnv { vars: vars.into(), ..ProcessEnv::default() }))
    }

    fn spec(argv: &[&str]) -> CommandSpec {
        CommandSpec::new(argv.iter().map(|a| (*a).to_owned()).collect(), PathBuf::from("/"), Millis(20_000))
    }

    #[tokio::test]
    async fn the_environment_is_built_from_scratch_and_output_is_masked() {
        let mut spec = spec(&["env"]);
        spec.env.insert("TOKEN".into(), EnvValue::Secret(Secret::new("s3cr3t-value")));
        spec.masker.add("token", &Secret::new("s3cr3t-value"));
        let output = runner().run(spec).await.unwrap();
        assert!(output.ok());
        assert!(output.stdout.contains("TOKEN=«secret:token»"), "{}", output.stdout);
        assert!(!output.stdout.contains("LEAK"), "{}", output.stdout);
    }

    #[tokio::test]
    async fn a_secret_in_several_writes_is_masked_in_lines_and_at_the_end() {
        let mut spec = spec(&["sh", "-c", "printf 's3cr'; sleep 0.05; printf '3t-va\\nlue then'; printf ' more\\n'"]);
        spec.masker.add("token", &Secret::new("s3cr3t-value"));
        let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
        let lines = Arc::clone(&seen);
        spec.on_line = Some(Arc::new(move |_, line| lines.lock().unwrap().push(line.to_owned())));
        let output = runner().run(spec).await.unwrap();
        assert_eq!(output.stdout, "«secret:token» then more\n");
        assert_eq!(*seen.lock().unwrap(), ["«secret:token» then more"]);
    }

    #[tokio::test]
    async fn the_whole_group_ends_at_the_deadline() {
        let mut spec = spec(&["sh", "-c", "sleep 300 & echo started; wait"]);
        spec.timeout = Millis(300);
        let output = runner().run(spec).await.unwrap();
        assert_eq!(output.ended, Ended::TimedOut);
        assert_eq!(output.stdout, "started\n");
    }

    #[tokio::test]
    async fn output_without_end_is_bounded() {
        let output = runner().run(spec(&["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x; exit 3"])).await.unwrap();
        assert_eq!(output.ended, Ended::Exited(3));
        assert!(output.truncated);
        assert_eq!(output.stdout.len(), OUTPUT_BYTES_MAX);
    }

    #[tokio::test]
    async fn a_missing_program_is_a_usage_fault() {
        let fault = runner().run(spec(&["no-such-program-here"])).await.unwrap_err();
        assert_eq!(fault.code(), Code::Usage);
    }

    #[tokio::test]
    async fn standard_input_is_given_and_closed() {
        let mut spec = spec(&["cat"]);
        spec.stdin = Some(Secret::new("hello"));
        assert_eq!(runner().run(spec).await.unwrap().stdout, "hello");
    }
}
