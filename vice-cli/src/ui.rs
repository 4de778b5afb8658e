//! The terminal: the only place that prints. Results go to standard output or a file, everything else to standard
//! error. Colour, progress and prompts are decided here, once.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use anstream::adapter::strip_str;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio::time::Instant;
use vice_core::port::notifier::Severity;
use vice_core::secret::Known;
use vice_core::text::{Tone, paint, sanitize};
use vice_core::ui::{Area, Format, Outcome, Progress, ProgressState, Ui};
use vice_core::{Class, Code, Context, Fault, Result, Secret};
use zeroize::Zeroizing;

use crate::echo::{Hidden, NoEcho};
use crate::output_file;
use crate::pulse::Pulse;

/// How output is meant to look; decided from flags, environment and what the streams are.
#[derive(Debug, Clone)]
pub(crate) struct UiOptions {
    pub(crate) format: Format,
    pub(crate) output: Option<PathBuf>,
    pub(crate) quiet: bool,
    pub(crate) color: Color,
    pub(crate) progress: bool,
    pub(crate) input: bool,
    pub(crate) ci: bool,
    pub(crate) no_color: bool,
    pub(crate) columns: Option<usize>,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The terminal of this process.
pub(crate) struct Terminal {
    options: UiOptions,
    color_out: bool,
    color_err: bool,
    live: Option<MultiProgress>,
    bars: Mutex<BTreeMap<String, ProgressBar>>,
    no_echo: Mutex<Option<NoEcho>>,
    pulse: Mutex<Pulse>,
    known: Known,
    /// Why something could not be written to standard output, until it is said.
    unwritten: Mutex<Option<io::Error>>,
}

impl Terminal {
    pub(crate) fn new(options: UiOptions) -> Self {
        let wants = |is_terminal: bool| match options.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => is_terminal && !options.no_color && !options.ci,
        };
        let out_terminal = io::stdout().is_terminal();
        let err_terminal = io::stderr().is_terminal();
        let live = err_terminal && !options.ci && options.progress && !options.quiet;
        Self {
            color_out: wants(out_terminal),
            color_err: wants(err_terminal),
            live: live.then(MultiProgress::new),
            bars: Mutex::default(),
            no_echo: Mutex::default(),
            pulse: Mutex::new(Pulse::new(Instant::now())),
            known: Known::default(),
            unwritten: Mutex::default(),
            options,
        }
    }

    /// Whether errors may be drawn with colour.
    pub(crate) const fn color_err(&self) -> bool {
        self.color_err
    }

    /// The secrets that are masked in everything that is printed. Whoever opens some adds them.
    pub(crate) const fn known(&self) -> &Known {
        &self.known
    }

    /// A result without the secrets that are known, unless a person asked for them.
    fn masked_json(&self, value: Value) -> Value {
        if self.known.lifted() { value } else { self.known.masker().mask_json(value) }
    }

    fn masked_text(&self, text: &str) -> String {
        if self.known.lifted() { text.to_owned() } else { self.known.masker().mask(text) }
    }

    /// Prints the result of a command, to standard output or to the file that was asked for.
    pub(crate) fn finish(&self, outcome: &Outcome) -> Result<()> {
        self.clear();
        let document = match self.options.format {
            Format::Json => format!("{:#}\n", self.masked_json(marked(outcome))),
            Format::Ndjson => {
                let ok = outcome.class == Class::Done;
                let result = self.masked_json(outcome.json.clone());
                format!("{}\n", json!({ "type": "result", "ok": ok, "result": result }))
            }
            _ => self.masked_text(&with_newline(&outcome.text)),
        };
        self.deliver(&document)
    }

    /// Prints a fault as the one document of a machine-readable format.
    pub(crate) fn finish_fault(&self, fault: &Fault) -> Result<()> {
        self.clear();
        let error = || self.known.masker().mask_json(fault_json(fault));
        let document = match self.options.format {
            Format::Json => format!("{:#}\n", json!({ "ok": false, "error": error() })),
            Format::Ndjson => format!("{}\n", json!({ "type": "result", "ok": false, "error": error() })),
            _ => return Ok(()),
        };
        self.deliver(&document)
    }

    fn deliver(&self, document: &str) -> Result<()> {
        match &self.options.output {
            Some(path) => {
                output_file::write(path, &self.plain(document))?;
                self.say(Severity::Success, &format!("Wrote {}.", path.display()));
                Ok(())
            }
            None => {
                self.out(document);
                self.written()
            }
        }
    }

    /// Prints the help or the version that clap has made.
    pub(crate) fn finish_help(&self, help: &clap::Error) -> Result<()> {
        self.note_written(help.print().and_then(|()| io::stdout().flush()));
        self.written()
    }

    /// Fails when something, now or in the middle of the command, did not reach standard output. A reader who has gone
    /// away has seen enough.
    fn written(&self) -> Result<()> {
        match self.unwritten.lock().ok().and_then(|mut unwritten| unwritten.take()) {
            None => Ok(()),
            Some(error) => Err(Fault::new(Code::Io, "The output could not be written.")
                .because(error)
                .hint("Only the output is missing: what the command does is done. `-o FILE` writes it elsewhere.")),
        }
    }

    /// Keeps the first error that is one; false when nothing more can be written.
    fn note_written(&self, written: io::Result<()>) -> bool {
        let Err(error) = written else { return true };
        if let (false, Ok(mut unwritten)) = (error.kind() == io::ErrorKind::BrokenPipe, self.unwritten.lock()) {
            unwritten.get_or_insert(error);
        }
        false
    }

    /// Without styles, which only text for people has: in a document, a value may well contain an escape sequence.
    fn plain<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.options.format {
            Format::Text => Cow::Owned(strip_str(text).to_string()),
            _ => Cow::Borrowed(text),
        }
    }

    /// Writes to standard output; false when nobody reads any more, or nothing can be written.
    fn out(&self, text: &str) -> bool {
        let mut stdout = io::stdout().lock();
        let written = if self.color_out {
            stdout.write_all(text.as_bytes())
        } else {
            stdout.write_all(self.plain(text).as_bytes())
        };
        let written = written.and_then(|()| stdout.flush());
        drop(stdout);
        self.note_written(written)
    }

    /// Writes whole lines to standard error, above whatever progress is drawn.
    pub(crate) fn err(&self, text: &str) {
        if let Ok(mut pulse) = self.pulse.lock() {
            pulse.said(Instant::now());
        }
        let text = self.known.masker().mask(&with_newline(text));
        let text = if self.color_err { text } else { strip_str(&text).to_string() };
        let write = || {
            // When standard error is closed there is nobody left to tell.
            drop(io::stderr().lock().write_all(text.as_bytes()));
        };
        match &self.live {
            Some(live) => live.suspend(write),
            None => write(),
        }
    }

    fn clear(&self) {
        if let Ok(mut bars) = self.bars.lock() {
            for bar in std::mem::take(&mut *bars).into_values() {
                bar.finish_and_clear();
            }
        }
        if let Ok(mut no_echo) = self.no_echo.lock() {
            drop(no_echo.take());
        }
    }

    fn draw(&self, live: &MultiProgress, progress: &Progress) {
        let Ok(mut bars) = self.bars.lock() else { return };
        match progress.state {
            ProgressState::Running | ProgressState::Waiting => {
                if let (true, Ok(mut no_echo)) = (bars.is_empty(), self.no_echo.lock()) {
                    *no_echo = no_echo.take().or_else(NoEcho::begin);
                }
                let bar = bars.entry(progress.key.clone()).or_insert_with(|| {
                    let bar = live.add(ProgressBar::new_spinner().with_style(spinner()));
                    bar.enable_steady_tick(Duration::from_millis(120));
                    bar
                });
                bar.set_message(self.known.masker().mask(&progress.text));
            }
            ProgressState::Done | ProgressState::Failed => {
                if let Some(bar) = bars.remove(&progress.key) {
                    bar.finish_and_clear();
                }
                drop(bars);
                self.err(&line_of(progress));
            }
        }
    }

    /// Without a live terminal: one line when the state or the text of something changes. A check is over before
    /// anybody could read that it began.
    fn log(&self, progress: &Progress) {
        if progress.state == ProgressState::Running && progress.key.starts_with("check/") {
            return;
        }
        let new = self.pulse.lock().is_ok_and(|mut pulse| pulse.take(progress));
        if new {
            self.err(&line_of(progress));
        }
    }

    /// Waits until nothing was said for too long, and gives a sign of life. A live terminal moves by itself.
    pub(crate) async fn keep_alive(&self) {
        let due = self.pulse.lock().ok().map(|pulse| pulse.due());
        let (Some(due), None, false) = (due, &self.live, self.options.quiet) else {
            return std::future::pending().await;
        };
        tokio::time::sleep_until(due).await;
        let sign = self.pulse.lock().ok().and_then(|mut pulse| pulse.sign(Instant::now()));
        if let Some(sign) = sign {
            self.err(&sign);
        }
    }
}

impl Ui for Terminal {
    fn format(&self) -> Format {
        self.options.format
    }

    fn say(&self, severity: Severity, text: &str) {
        if self.options.quiet && severity < Severity::Warning {
            return;
        }
        let text = match severity {
            Severity::Info | Severity::Success => text.to_owned(),
            Severity::Warning => format!("{} {text}", paint(Tone::Warn, "warning:")),
            Severity::Error => format!("{} {text}", paint(Tone::Bad, "error:")),
        };
        self.err(&text);
    }

    fn progress(&self, progress: Progress) {
        if self.options.quiet {
            return;
        }
        match &self.live {
            Some(live) => self.draw(live, &progress),
            None => self.log(&progress),
        }
    }

    fn area(&self) -> Option<Area> {
        self.live.as_ref()?;
        // Asked each time: a window is made larger and smaller.
        let size = rustix::termios::tcgetwinsize(io::stderr()).ok().filter(|size| size.ws_row > 0 && size.ws_col > 0);
        let (rows, columns) = size.map_or((24, 80), |size| (size.ws_row.into(), size.ws_col.into()));
        Some(Area { rows, columns })
    }

    fn emit(&self, text: &str, value: &Value) -> bool {
        match self.options.format {
            Format::Text if self.options.output.is_none() => self.out(&self.masked_text(&with_newline(text))),
            Format::Ndjson if self.options.output.is_none() => {
                self.out(&format!("{}\n", self.masked_json(value.clone())))
            }
            _ => true,
        }
    }

    fn ask(&self, question: &str, flag: &str) -> Result<String> {
        if !self.options.input || self.options.ci || !io::stdin().is_terminal() {
            return Err(Fault::new(Code::NoInput, format!("{question} Nobody can be asked here."))
                .hint(format!("Pass {flag}.")));
        }
        self.err(&format!("{} ", paint(Tone::Strong, question)));
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).context(Code::Io, || "The answer can't be read.".to_owned())?;
        Ok(answer.trim().to_owned())
    }

    fn ask_secret(&self, question: &str, flag: &str) -> Result<Secret> {
        if !self.options.input || self.options.ci || !io::stdin().is_terminal() {
            return Err(Fault::new(Code::NoInput, format!("{question} Nobody can be asked here."))
                .hint(format!("Pass {flag}.")));
        }
        // Before the question is seen, so that no answer comes too early to be hidden.
        let _hidden = Hidden::begin().context(Code::Io, || "The terminal can't hide what is typed.".to_owned())?;
        self.err(&format!("{} ", paint(Tone::Strong, question)));
        let mut answer = Zeroizing::new(String::new());
        io::stdin().read_line(&mut answer).context(Code::Io, || "The answer can't be read.".to_owned())?;
        Ok(Secret::new(answer.trim_end_matches(['\r', '\n'])))
    }

    fn width(&self) -> usize {
        self.options.columns.filter(|columns| *columns >= 20).unwrap_or(100)
    }
}

fn spinner() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn line_of(progress: &Progress) -> String {
    let mark = match progress.state {
        ProgressState::Running => paint(Tone::Faint, "·"),
        ProgressState::Done => paint(Tone::Good, "✓"),
        ProgressState::Failed => paint(Tone::Bad, "✗"),
        ProgressState::Waiting => paint(Tone::Warn, "…"),
    };
    format!("{mark} {}", progress.text)
}

fn with_newline(text: &str) -> String {
    if text.is_empty() || text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") }
}

/// The result, which says itself when it is not a good one, so that a reader need not know the exit status.
fn marked(outcome: &Outcome) -> Value {
    let mut json = outcome.json.clone();
    if let (Some(object), true) = (json.as_object_mut(), outcome.class != Class::Done) {
        object.entry("ok").or_insert(Value::Bool(false));
        object.entry("exit_status").or_insert(outcome.class.exit_status().into());
    }
    json
}

/// The JSON form of a fault.
pub(crate) fn fault_json(fault: &Fault) -> Value {
    let chain = fault.chain();
    let mut error = json!({
        "code": fault.code().as_str(),
        "message": sanitize(&fault.to_string()),
        "help": fault.hints(),
        "exit_status": fault.class().exit_status(),
    });
    if chain.len() > 1 {
        error["causes"] = json!(chain[1..].iter().map(|line| sanitize(line)).collect::<Vec<_>>());
    }
    if let Some(place) = fault.place() {
        let (line, column) = place.line_column();
        error["place"] = json!({ "file": place.file, "line": line, "column": column });
    }
    if !fault.details().is_empty() {
        error["details"] = Value::Object(fault.details().clone());
    }
    error
}
