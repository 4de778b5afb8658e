//! `vice wrath import`: a scenario file made of what others recorded. It prints the file; `-o` says where it goes.

use std::path::Path;

use serde_json::json;
use vice_core::app::App;
use vice_core::port::notifier::Severity;
use vice_core::ui::Outcome;
use vice_core::{Code, Fault, Result};

use crate::import::{Import, blackbox, curl, document, har};
use crate::scenario::library;

/// Arguments of `vice wrath import`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  vice wrath import \"curl -d name=ada https://shop.example/users\" -o wrath/users.toml
  vice wrath import session.har --name \"A customer buys\" -o wrath/buy.toml
  vice wrath import blackbox.yml --module http_2xx --target https://shop.example")]
pub struct ImportArgs {
    /// A curl command, or a file: .har, .yml of the blackbox exporter, or of curl commands.
    #[arg(value_name = "SOURCE")]
    pub source: String,

    /// The name of the scenario.
    #[arg(long)]
    pub name: Option<String>,

    /// Of a HAR file also styles, scripts, pictures and fonts.
    #[arg(long)]
    pub all: bool,

    /// Which module of the blackbox exporter.
    #[arg(long)]
    pub module: Option<String>,

    /// What the module probes.
    #[arg(long)]
    pub target: Option<String>,
}

/// Makes the file.
///
/// # Errors
/// `Usage` for what is not understood; `Io` where the source can't be read.
pub(crate) fn run(app: &App, args: &ImportArgs) -> Result<Outcome> {
    app.ui.format().among(&[])?;
    let mut import = read(app, args)?;
    if let Some(name) = &args.name {
        import.name.clone_from(name);
    }
    for note in &import.notes {
        app.ui.say(Severity::Warning, note);
    }
    if let Some(url) = &import.url {
        app.ui.say(Severity::Info, &format!("{{{{env.url}}}} stands for {url}; play it with --url {url}."));
    }
    let text = document(&import);
    let json = json!({ "name": import.name, "steps": import.steps.len(), "url": import.url, "notes": import.notes, "toml": text });
    Ok(Outcome::done(text, json))
}

fn read(app: &App, args: &ImportArgs) -> Result<Import> {
    let wrong = |why: String| Fault::new(Code::Usage, why);
    let source = args.source.trim();
    if source.starts_with("curl ") {
        return curl::parse(source).map_err(wrong);
    }
    let shown: String = source.chars().take(80).collect();
    let file = library::read(&app.env.dir.join(source), &shown).map_err(|fault| {
        fault.hint("Give a curl command in quotes, a .har file, or the .yml file of a blackbox exporter.")
    })?;
    match Path::new(source).extension().and_then(|ending| ending.to_str()) {
        Some("har" | "json") => har::parse(&file.text, args.all).map_err(wrong),
        Some("yml" | "yaml") => {
            blackbox::parse(&file.text, args.module.as_deref(), args.target.as_deref()).map_err(wrong)
        }
        _ => curl::parse(&file.text).map_err(wrong),
    }
}
