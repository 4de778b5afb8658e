//! The port to the terminal. Commands return an [`Outcome`]; while they work they tell the [`Ui`] what happens.
//! Nothing else prints.

use serde_json::Value;

use crate::fault::{Class, Fault, Result};
use crate::port::notifier::Severity;
use crate::secret::Secret;

/// The shape of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON document.
    Json,
    /// JSON lines; the last one is the result.
    Ndjson,
    /// A self-contained page.
    Html,
    /// Markdown.
    Markdown,
    /// JUnit XML.
    Junit,
    /// TOML.
    Toml,
    /// YAML.
    Yaml,
    /// `NAME=value` lines.
    Env,
    /// A mermaid diagram.
    Mermaid,
    /// An SVG picture.
    Svg,
    /// Java properties.
    Properties,
    /// INI.
    Ini,
    /// An `EnvironmentFile` of systemd.
    Systemd,
    /// The manifest of a Kubernetes ConfigMap.
    ConfigMap,
    /// The manifest of a Kubernetes Secret.
    Secret,
    /// Test Anything Protocol.
    Tap,
    /// Annotations of GitHub Actions.
    Github,
    /// A code quality report of GitLab.
    Gitlab,
}

impl Format {
    /// All formats with their names.
    pub const ALL: [(Self, &'static str); 19] = [
        (Self::Text, "text"),
        (Self::Json, "json"),
        (Self::Ndjson, "ndjson"),
        (Self::Html, "html"),
        (Self::Markdown, "markdown"),
        (Self::Junit, "junit"),
        (Self::Toml, "toml"),
        (Self::Yaml, "yaml"),
        (Self::Env, "env"),
        (Self::Mermaid, "mermaid"),
        (Self::Svg, "svg"),
        (Self::Properties, "properties"),
        (Self::Ini, "ini"),
        (Self::Systemd, "systemd"),
        (Self::ConfigMap, "k8s-configmap"),
        (Self::Secret, "k8s-secret"),
        (Self::Tap, "tap"),
        (Self::Github, "github"),
        (Self::Gitlab, "gitlab"),
    ];

    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(format, _)| *format == self).map_or("text", |(_, name)| name)
    }

    /// Refuses formats that a command does not offer. Text, JSON and NDJSON are always offered.
    ///
    /// # Errors
    /// `Usage` with the list of those that are.
    pub fn among(self, offered: &[Self]) -> Result<Self> {
        let always = [Self::Text, Self::Json, Self::Ndjson];
        if always.contains(&self) || offered.contains(&self) {
            return Ok(self);
        }
        let names: Vec<&str> = always.iter().chain(offered).map(|format| format.name()).collect();
        Err(Fault::new(crate::Code::Usage, format!("This command has no {} format.", self.name()))
            .hint(format!("It has: {}.", names.join(", "))))
    }
}

/// What a command has to say at its end.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What it means; fixes the exit status.
    pub class: Class,
    /// For people, with styles, whole lines. Also used for any format that is one document of text (HTML, JUnit, …).
    pub text: String,
    /// The same value for machines.
    pub json: Value,
}

impl Outcome {
    /// Done, with a text and a value.
    #[must_use]
    pub fn done(text: impl Into<String>, json: Value) -> Self {
        Self { class: Class::Done, text: text.into(), json }
    }

    /// The same result with another meaning.
    #[must_use]
    pub fn with_class(mut self, class: Class) -> Self {
        self.class = class;
        self
    }
}

/// Something that happens while a command works.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// A stable name for what is under way, such as `unit/1`; a later progress of the same name replaces it.
    pub key: String,
    /// One line for people, without styles that carry meaning alone.
    pub text: String,
    /// How it stands.
    pub state: ProgressState,
    /// What has to change before it is said again where lines are kept, such as in CI; `text` when absent. Figures that
    /// move all the time belong into the text alone.
    pub gist: Option<String>,
}

/// How something under way stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressState {
    /// It goes on.
    Running,
    /// It ended well.
    Done,
    /// It ended badly.
    Failed,
    /// It waits.
    Waiting,
}

/// A terminal in which progress is drawn in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area {
    /// How many lines it shows.
    pub rows: usize,
    /// How many columns a line has.
    pub columns: usize,
}

/// What commands tell while they work.
pub trait Ui: Send + Sync + 'static {
    /// The shape of the result.
    fn format(&self) -> Format;

    /// One status line on standard error; not shown with `--quiet` unless it is a warning or worse.
    fn say(&self, severity: Severity, text: &str);

    /// Progress on standard error.
    fn progress(&self, progress: Progress);

    /// The terminal in which progress is drawn in place; none where lines are kept, as in a log. Where there is one, the
    /// text of what is under way may have several lines.
    fn area(&self) -> Option<Area> {
        None
    }

    /// One record of a running result on standard output: `text` for people, `value` as a line of NDJSON. Ignored for
    /// formats that are one document. Returns false when nobody reads any more.
    fn emit(&self, text: &str, value: &Value) -> bool;

    /// Asks a person to type something.
    ///
    /// # Errors
    /// `NoInput`, naming `flag`, when nobody can be asked.
    fn ask(&self, question: &str, flag: &str) -> Result<String>;

    /// Asks a person to type a secret, which is not shown. Nobody can be asked where there is no terminal of our own.
    ///
    /// # Errors
    /// `NoInput`, naming `flag`, when nobody can be asked.
    fn ask_secret(&self, question: &str, flag: &str) -> Result<Secret> {
        Err(Fault::new(crate::Code::NoInput, format!("{question} Nobody can be asked here."))
            .hint(format!("Pass {flag}.")))
    }

    /// The width of the terminal in columns; 100 when there is none.
    fn width(&self) -> usize;
}
