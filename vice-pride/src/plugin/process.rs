//! The process of a plug-in: started when it is first asked, asked line by line, killed when it does not answer in time.
//! After that the next question starts a new one, so that what a hung process did can be asked for.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{Mutex, oneshot};
use tokio::time::{Duration, timeout};
use vice_core::app::ProcessEnv;
use vice_core::{Code, Fault, Result};

use super::PROTOCOL;
use super::wire::{Described, LINE_MAX, Request, Response};

/// How long a plug-in may take to say what it is.
const DESCRIBE_WITHIN: Duration = Duration::from_secs(10);

/// The end of what it says on standard error that is kept for the error, in bytes.
const LAST_WORDS_MAX: u64 = 4096;

type Pending = Arc<StdMutex<HashMap<u64, oneshot::Sender<Response>>>>;
type LastWords = Arc<StdMutex<String>>;

/// What is needed to start it.
pub(super) struct Start {
    pub(super) name: String,
    pub(super) program: PathBuf,
    pub(super) env: Arc<ProcessEnv>,
    /// The working folder.
    pub(super) dir: PathBuf,
    /// What it is told first, so that it knows what it is to change.
    pub(super) open: Value,
}

/// A plug-in that can be asked.
pub(super) struct Process {
    start: Start,
    running: Mutex<Option<Running>>,
}

struct Running {
    stdin: ChildStdin,
    pending: Pending,
    last_words: LastWords,
    described: Described,
    next: u64,
    /// Killed with everything it started when this is dropped.
    _group: Group,
}

/// The group of processes that the child leads.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
            // One that has ended already is what is wanted.
            kill_process_group(leader, Signal::KILL).ok();
        }
    }
}

impl Process {
    pub(super) fn new(start: Start) -> Self {
        Self { start, running: Mutex::new(None) }
    }

    pub(super) fn name(&self) -> &str {
        &self.start.name
    }

    /// What the plug-in says of itself.
    pub(super) async fn describe(&self) -> Result<Described> {
        let mut running = self.running.lock().await;
        Ok(self.ensure(&mut running).await?.described.clone())
    }

    /// Asks something and waits for the answer.
    ///
    /// # Errors
    /// What the plug-in says; `TimedOut` after the deadline, when it is killed; `Unreachable` when it ends before it answers.
    pub(super) async fn call(&self, call: &str, body: &Value, within: Duration) -> Result<Value> {
        let (answer, last_words) = {
            let mut slot = self.running.lock().await;
            let running = self.ensure(&mut slot).await?;
            let last_words = Arc::clone(&running.last_words);
            match running.send(call, body).await {
                Ok(answer) => (answer, last_words),
                Err(error) => {
                    let fault = self.ended(&last_words).because(error);
                    *slot = None;
                    return Err(fault);
                }
            }
        };
        match timeout(within, answer).await {
            Ok(Ok(response)) => self.take(response),
            Ok(Err(_)) => {
                *self.running.lock().await = None;
                Err(self.ended(&last_words))
            }
            Err(_) => {
                *self.running.lock().await = None;
                let message =
                    format!("The plug-in {} did not answer {call} within {} s.", self.name(), within.as_secs());
                Err(Fault::new(Code::TimedOut, message)
                    .hint("It was ended. Its standard error is in the log: VICE_LOG=debug."))
            }
        }
    }

    fn take(&self, response: Response) -> Result<Value> {
        match (response.ok, response.error) {
            (_, Some(trouble)) => Err(trouble.fault(self.name())),
            (ok, None) => Ok(ok.unwrap_or(Value::Null)),
        }
    }

    fn ended(&self, last_words: &LastWords) -> Fault {
        let fault = Fault::new(Code::Unreachable, format!("The plug-in {} ended in the middle.", self.name()))
            .hint(format!("Try it alone: vice plugin test {}.", self.name()));
        let words = last_words.lock().unwrap_or_else(PoisonError::into_inner);
        match words.lines().rev().map(str::trim).find(|line| !line.is_empty()) {
            Some(line) => fault.because(vice_core::text::sanitize(line).chars().take(300).collect::<String>()),
            None => fault,
        }
    }

    async fn ensure<'a>(&self, slot: &'a mut Option<Running>) -> Result<&'a mut Running> {
        // One that has ended has dropped its side of every answer.
        if slot.as_ref().is_none_or(|running| Arc::strong_count(&running.pending) < 2) {
            *slot = None;
            *slot = Some(self.begin().await?);
        }
        slot.as_mut().ok_or_else(|| Fault::internal("The plug-in does not run."))
    }

    async fn begin(&self) -> Result<Running> {
        let mut running = self.spawn()?;
        let hello = json!({ "protocol": PROTOCOL });
        let said = self.first(&mut running, "describe", &hello).await?;
        running.described = serde_json::from_value(said).map_err(|error| {
            Fault::new(Code::Backend, format!("The plug-in {} does not say what it is.", self.name())).because(error)
        })?;
        self.check(&running.described)?;
        self.first(&mut running, "open", &self.start.open).await?;
        Ok(running)
    }

    async fn first(&self, running: &mut Running, call: &str, body: &Value) -> Result<Value> {
        let answer = running.send(call, body).await.map_err(|error| self.ended(&running.last_words).because(error))?;
        match timeout(DESCRIBE_WITHIN, answer).await {
            Ok(Ok(response)) => self.take(response),
            Ok(Err(_)) => Err(self.ended(&running.last_words)),
            Err(_) => {
                Err(Fault::new(Code::Unreachable, format!("The plug-in {} does not answer {call}.", self.name()))
                    .hint("It must answer each line on standard input with a line on standard output, and flush it."))
            }
        }
    }

    fn check(&self, described: &Described) -> Result<()> {
        let name = self.name();
        if described.protocol != PROTOCOL {
            let message =
                format!("The plug-in {name} speaks protocol {}, and this vice speaks {PROTOCOL}.", described.protocol);
            return Err(Fault::new(Code::Unsupported, message).hint("Use a version of the plug-in for this vice."));
        }
        if described.port != "target" {
            let message = format!("The plug-in {name} is no target.");
            return Err(Fault::new(Code::Unsupported, message).hint("It has to say \"port\": \"target\"."));
        }
        Ok(())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a plug-in is talked to while it runs, which the runner of commands does not do"
    )]
    fn spawn(&self) -> Result<Running> {
        let mut child = Command::new(&self.start.program)
            .current_dir(&self.start.dir)
            .env_clear()
            .envs(&self.start.env.vars)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A Ctrl-C is heard by vice, which ends at a point of its own.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                Fault::new(Code::BackendMissing, format!("The plug-in {} can't be started.", self.name()))
                    .because(error)
                    .hint(format!("Look at {}: its first line names the interpreter.", self.start.program.display()))
            })?;
        let missing = || Fault::internal("A pipe of the plug-in is missing.");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let (stdout, stderr) = (child.stdout.take().ok_or_else(missing)?, child.stderr.take().ok_or_else(missing)?);
        let (pending, last_words) = (Pending::default(), LastWords::default());
        tokio::spawn(listen(stdout, Arc::clone(&pending)));
        tokio::spawn(overhear(self.start.name.clone(), stderr, Arc::clone(&last_words)));
        Ok(Running { stdin, pending, last_words, described: Described::default(), next: 1, _group: Group(child) })
    }
}

impl Running {
    async fn send(&mut self, call: &str, body: &Value) -> std::io::Result<oneshot::Receiver<Response>> {
        let (sender, answer) = oneshot::channel();
        let id = self.next;
        self.next += 1;
        let mut line = serde_json::to_vec(&Request { id, call, body })?;
        line.push(b'\n');
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).insert(id, sender);
        self.stdin.write_all(&line).await?;
        self.stdin.flush().await?;
        Ok(answer)
    }
}

/// Hands answers to whoever waits for them. When the plug-in ends, or writes what is no answer, everybody is let go.
async fn listen(stdout: impl tokio::io::AsyncRead + Unpin, pending: Pending) {
    let mut reader = BufReader::new(stdout);
    let mut line = Vec::new();
    loop {
        line.clear();
        let most = u64::try_from(LINE_MAX).unwrap_or(u64::MAX);
        let read = (&mut reader).take(most).read_until(b'\n', &mut line).await;
        if !matches!(read, Ok(1..)) || line.last() != Some(&b'\n') {
            break;
        }
        let Ok(response) = serde_json::from_slice::<Response>(&line) else {
            tracing::warn!("a plug-in wrote a line that is no answer");
            break;
        };
        let waiting = pending.lock().unwrap_or_else(PoisonError::into_inner).remove(&response.id);
        if let Some(waiting) = waiting {
            // Whoever waited may have given up.
            drop(waiting.send(response));
        }
    }
    pending.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

/// What it says on standard error is a log.
async fn overhear(name: String, stderr: impl tokio::io::AsyncRead + Unpin, last_words: LastWords) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut reader).take(LAST_WORDS_MAX).read_until(b'\n', &mut line).await;
        if !matches!(read, Ok(1..)) {
            break;
        }
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        tracing::debug!(plugin = name, "{text}");
        *last_words.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }
}
