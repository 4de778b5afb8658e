//! The process of a plug-in: started when it is first asked, asked line by line, killed when it does not answer in time.
//! After that the next question starts a new one, so that what a hung process did can be asked for.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process_group};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{Mutex, oneshot};
use tokio::time::{Duration, timeout};
use vice_core::app::ProcessEnv;
use vice_core::secret::Masker;
use vice_core::{Code, Fault, Result};

use crate::pipe::{Answers, End, LastWords, listen, overhear};
use crate::wire::{Described, LINE_MAX, Request, Response, shown};
use crate::{PROTOCOL, Port};

/// How long a plug-in may take to say what it is.
const DESCRIBE_WITHIN: Duration = Duration::from_secs(10);

/// What is needed to start a plug-in.
pub struct Start {
    /// The name behind `vice-backend-`.
    pub name: String,
    /// The file.
    pub program: PathBuf,
    /// Its environment.
    pub env: Arc<ProcessEnv>,
    /// Its working folder.
    pub dir: PathBuf,
    /// The port that it has to stand behind.
    pub port: Port,
    /// What it is told first, so that it knows what it is to change: an object.
    pub open: Value,
    /// What is replaced in everything that it says.
    pub masker: Masker,
}

/// A plug-in that can be asked.
pub struct Plugin {
    start: Start,
    running: Mutex<Option<Running>>,
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin").field("program", &self.start.program).finish_non_exhaustive()
    }
}

struct Running {
    stdin: ChildStdin,
    answers: Arc<Answers>,
    words: Arc<LastWords>,
    described: Described,
    /// A request was written in part, so that nothing can follow it.
    torn: bool,
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

impl Plugin {
    /// A plug-in; starts nothing.
    #[must_use]
    pub fn new(start: Start) -> Self {
        Self { start, running: Mutex::new(None) }
    }

    /// The name behind `vice-backend-`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.start.name
    }

    /// The file.
    #[must_use]
    pub const fn program(&self) -> &PathBuf {
        &self.start.program
    }

    /// What a plug-in says of itself, asked of a process that ends right after. Opens nothing.
    ///
    /// # Errors
    /// `BackendMissing` when it can't be started, `Unreachable` without an answer, `Unsupported` for another protocol or a
    /// port that does not exist.
    pub async fn port_of(name: &str, program: PathBuf, env: Arc<ProcessEnv>) -> Result<Port> {
        let dir = env.dir.clone();
        let (open, masker) = (Value::Null, Masker::default());
        // Which port is expected makes no difference here.
        let plugin = Self::new(Start { name: name.to_owned(), program, env, dir, port: Port::Target, open, masker });
        let mut running = plugin.spawn()?;
        let described = plugin.introduce(&mut running).await?;
        Port::named(&described.port).ok_or_else(|| {
            let port = shown(&described.port, &Masker::default());
            Fault::new(Code::Unsupported, format!("The plug-in {name} is for the port {port:?}, which does not exist."))
                .hint(format!("\"port\" in the answer to describe is one of {}.", Port::words()))
        })
    }

    /// What the plug-in says of itself. Starts it, unless it runs.
    ///
    /// # Errors
    /// `BackendMissing` when it can't be started, `Unreachable` without an answer, `Unsupported` for another protocol or
    /// port; what it says to `open`.
    pub async fn describe(&self) -> Result<Described> {
        let mut running = self.running.lock().await;
        Ok(self.ensure(&mut running).await?.described.clone())
    }

    /// How many answers came from the process that runs now which nobody had asked for.
    pub async fn strays(&self) -> u64 {
        self.running.lock().await.as_ref().map_or(0, |running| running.answers.strays())
    }

    /// Ends the process, if one runs. The next question starts another one.
    pub async fn end(&self) {
        *self.running.lock().await = None;
    }

    /// Asks something and waits for the answer.
    ///
    /// # Errors
    /// What the plug-in says; `TimedOut` after the deadline, when it is killed; `Unreachable` when it ends before it answers;
    /// as [`Plugin::describe`] when it has to be started.
    pub async fn call(&self, call: &str, body: &Value, within: Duration) -> Result<Value> {
        let (answer, answers, words) = {
            let mut slot = self.running.lock().await;
            let running = self.ensure(&mut slot).await?;
            let (answers, words) = (Arc::clone(&running.answers), Arc::clone(&running.words));
            // One that does not read would hold up the writing as well.
            match timeout(within, running.send(call, body)).await {
                Ok(Ok(answer)) => (answer, answers, words),
                Ok(Err(_)) => {
                    *slot = None;
                    return Err(self.ended(&answers, &words).await);
                }
                Err(_) => {
                    *slot = None;
                    return Err(self.late(call, within));
                }
            }
        };
        match timeout(within, answer).await {
            Ok(Ok(response)) => self.take(response),
            Ok(Err(_)) => {
                self.forget(&answers).await;
                Err(self.ended(&answers, &words).await)
            }
            Err(_) => {
                self.forget(&answers).await;
                Err(self.late(call, within))
            }
        }
    }

    /// As [`Plugin::call`], with the answer as a value of a type.
    ///
    /// # Errors
    /// As [`Plugin::call`]; `Backend` for an answer of another form.
    pub async fn ask<T: DeserializeOwned>(&self, call: &str, body: &Value, within: Duration) -> Result<T> {
        let said = self.call(call, body, within).await?;
        serde_json::from_value(said).map_err(|error| {
            Fault::new(Code::Backend, format!("The plug-in {} gave no answer to {call} that makes sense.", self.name()))
                .because(error)
        })
    }

    /// Ends the process that gave, or did not give, these answers; not one that was started since.
    async fn forget(&self, answers: &Arc<Answers>) {
        let mut slot = self.running.lock().await;
        if slot.as_ref().is_some_and(|running| Arc::ptr_eq(&running.answers, answers)) {
            *slot = None;
        }
    }

    fn take(&self, response: Response) -> Result<Value> {
        match (response.ok, response.error) {
            (_, Some(trouble)) => Err(trouble.fault(self.name(), &self.start.masker)),
            (ok, None) => Ok(ok.unwrap_or(Value::Null)),
        }
    }

    fn late(&self, call: &str, within: Duration) -> Fault {
        let message = format!("The plug-in {} did not answer {call} within {} s.", self.name(), within.as_secs());
        Fault::new(Code::TimedOut, message).hint("It was ended. Its standard error is in the log: VICE_LOG=debug.")
    }

    /// Why there is no answer.
    async fn ended(&self, answers: &Answers, words: &LastWords) -> Fault {
        let name = self.name();
        let what = match answers.end() {
            Some(End::Garbage) => format!("The plug-in {name} wrote a line that is no answer."),
            Some(End::TooLong) => {
                format!("The plug-in {name} wrote a line of more than {} MiB.", LINE_MAX / (1024 * 1024))
            }
            _ => {
                let fault = Fault::new(Code::Unreachable, format!("The plug-in {name} ended in the middle."))
                    .hint(format!("Try it alone: vice plugin test {name}."));
                return match words.heard().await.as_str() {
                    "" => fault,
                    line => fault.because(shown(line, &self.start.masker)),
                };
            }
        };
        Fault::new(Code::Unreachable, what)
            .hint("It was ended. Only answers belong on its standard output, a line of JSON each; a log goes to standard error.")
    }

    async fn ensure<'a>(&self, slot: &'a mut Option<Running>) -> Result<&'a mut Running> {
        if slot.as_ref().is_none_or(|running| running.torn || running.answers.end().is_some()) {
            *slot = None;
            *slot = Some(self.begin().await?);
        }
        slot.as_mut().ok_or_else(|| Fault::internal("The plug-in does not run."))
    }

    async fn begin(&self) -> Result<Running> {
        let mut running = self.spawn()?;
        let described = self.introduce(&mut running).await?;
        self.check(&described)?;
        running.described = described;
        self.first(&mut running, "open", &self.start.open).await?;
        Ok(running)
    }

    /// Asks a fresh process what it is.
    async fn introduce(&self, running: &mut Running) -> Result<Described> {
        let said = self.first(running, "describe", &json!({ "protocol": PROTOCOL })).await?;
        let name = self.name();
        let described: Described = serde_json::from_value(said).map_err(|error| {
            Fault::new(Code::Backend, format!("The plug-in {name} does not say what it is.")).because(error)
        })?;
        if described.protocol != PROTOCOL {
            let message =
                format!("The plug-in {name} speaks protocol {}, and this vice speaks {PROTOCOL}.", described.protocol);
            return Err(Fault::new(Code::Unsupported, message).hint("Use a version of the plug-in for this vice."));
        }
        Ok(described)
    }

    async fn first(&self, running: &mut Running, call: &str, body: &Value) -> Result<Value> {
        let asked = async {
            match running.send(call, body).await {
                Ok(answer) => answer.await.ok(),
                Err(_) => None,
            }
        };
        let said = timeout(DESCRIBE_WITHIN, asked).await;
        match said {
            Ok(Some(response)) => self.take(response),
            Ok(None) => Err(self.ended(&running.answers, &running.words).await),
            Err(_) => {
                Err(Fault::new(Code::Unreachable, format!("The plug-in {} does not answer {call}.", self.name()))
                    .hint("It must answer each line on standard input with a line on standard output, and flush it."))
            }
        }
    }

    fn check(&self, described: &Described) -> Result<()> {
        let wanted = self.start.port;
        if described.port == wanted.word() {
            return Ok(());
        }
        let is = Port::named(&described.port).map_or_else(String::new, |port| format!(": it is {}", port.noun()));
        let message = format!("The plug-in {} is not {}{is}.", self.name(), wanted.noun());
        Err(Fault::new(Code::Unsupported, message).hint(format!("It has to say \"port\": \"{}\".", wanted.word())))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a plug-in is talked to while it runs, which the runner of commands does not do"
    )]
    fn spawn(&self) -> Result<Running> {
        let start = &self.start;
        let mut child = Command::new(&start.program)
            .current_dir(&start.dir)
            .env_clear()
            .envs(&start.env.vars)
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
                    .hint(format!("Look at {}: its first line names the interpreter.", start.program.display()))
            })?;
        let missing = || Fault::internal("A pipe of the plug-in is missing.");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let (stdout, stderr) = (child.stdout.take().ok_or_else(missing)?, child.stderr.take().ok_or_else(missing)?);
        let (answers, words) = (Arc::new(Answers::default()), Arc::new(LastWords::new()));
        tokio::spawn(listen(stdout, Arc::clone(&answers)));
        tokio::spawn(overhear(start.name.clone(), stderr, Arc::clone(&words), start.masker.clone()));
        let described = Described::default();
        Ok(Running { stdin, answers, words, described, torn: false, _group: Group(child) })
    }
}

impl Running {
    async fn send(&mut self, call: &str, body: &Value) -> std::io::Result<oneshot::Receiver<Response>> {
        let gone = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let (id, answer) = self.answers.expect().ok_or_else(gone)?;
        let mut line = serde_json::to_vec(&Request { id, call, body })?;
        line.push(b'\n');
        // Whoever waits may be dropped at any moment, and half a line with it.
        self.torn = true;
        self.stdin.write_all(&line).await?;
        self.stdin.flush().await?;
        self.torn = false;
        Ok(answer)
    }
}
