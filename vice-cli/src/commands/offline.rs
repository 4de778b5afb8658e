//! What works without a project, a history and a network.

use std::path::Path;

use clap::CommandFactory;
use serde_json::json;
use vice_core::manifest::Manifest;
use vice_core::text::{Table, Tone};
use vice_core::ui::Outcome;
use vice_core::{Class, Code, Context, Fault, Result};

use crate::args::Cli;

/// A completion script.
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "vice", &mut script);
    let script = String::from_utf8(script).context(Code::Internal, || "The script is not text.".to_owned())?;
    Ok(Outcome::done(script.clone(), json!({ "shell": shell.to_string(), "script": script })))
}

/// One manual page for each command.
pub(crate) fn man(out: &Path) -> Result<Outcome> {
    let fail = || format!("Manual pages can't be written to {}.", out.display());
    std::fs::create_dir_all(out).context(Code::Io, fail)?;
    clap_mangen::generate_to(Cli::command(), out).context(Code::Io, fail)?;
    Ok(Outcome::done(format!("Wrote manual pages to {}.\n", out.display()), json!({ "folder": out })))
}

/// The JSON Schema of `vice.toml`.
pub(crate) fn schema() -> Result<Outcome> {
    let mut schema = serde_json::to_value(schemars::schema_for!(Manifest))
        .context(Code::Internal, || "The schema does not serialise.".to_owned())?;
    schema["title"] = json!("vice.toml");
    Ok(Outcome::done(format!("{schema:#}\n"), schema))
}

/// What this binary is.
pub(crate) fn version() -> Outcome {
    let features: Vec<&str> = [
        ("s3", cfg!(feature = "s3")),
        ("email", cfg!(feature = "email")),
        ("secrets", cfg!(feature = "secrets")),
        ("jsonl", cfg!(feature = "jsonl")),
        ("remote", cfg!(feature = "remote")),
        ("postgres", cfg!(feature = "postgres")),
        ("kafka", cfg!(feature = "kafka")),
        ("nats", cfg!(feature = "nats")),
        ("ssh", cfg!(feature = "ssh")),
        ("kubernetes", cfg!(feature = "kubernetes")),
    ]
    .into_iter()
    .filter_map(|(name, on)| on.then_some(name))
    .collect();
    let sqlite = rusqlite::version();
    let value = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "commit": option_env!("VICE_BUILD_COMMIT"),
        "target": format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        "features": features,
        "tls": "rustls with ring",
        "sqlite": sqlite,
        "cloudevents": "1.0",
        "cdevents": vice_core::event::CDEVENTS_VERSION,
        "planner": vice_pride::PLANNER_VERSION,
    });
    let text = format!("vice {} (SQLite {sqlite}; {})\n", env!("CARGO_PKG_VERSION"), features.join(", "));
    Outcome::done(text, value)
}

/// What `vice help` explains besides the commands.
const TOPICS: &[(&str, &str)] = &[
    ("exit-codes", "what the exit statuses mean, and the codes of errors"),
    ("variables", "the variables that vice reads"),
    ("topics", "this list"),
];

/// Help for a command or a topic.
pub(crate) fn help(topic: &[String]) -> Result<Outcome> {
    match topic {
        [topic] if topic == "exit-codes" => return Ok(exit_codes()),
        [topic] if topic == "variables" => return Ok(described("variable", crate::dispatch::VARIABLES)),
        [topic] if topic == "topics" => return Ok(described("topic", TOPICS)),
        _ => {}
    }
    let mut command = Cli::command();
    command.build();
    for word in topic {
        let found = command.find_subcommand(word).cloned();
        command = found.ok_or_else(|| {
            Fault::new(Code::Usage, format!("There is no help on {word:?}."))
                .hint("`vice help topics` lists the topics, `vice --help` the commands.")
        })?;
    }
    let text = command.render_long_help().ansi().to_string();
    Ok(Outcome::done(text.clone(), json!({ "help": anstream::adapter::strip_str(&text).to_string() })))
}

fn described(what: &str, rows: &[(&str, &str)]) -> Outcome {
    let mut table = Table::with_heading(&[what, "meaning"]);
    for (name, meaning) in rows {
        table.row([(Tone::Strong, (*name).to_owned()), (Tone::Plain, (*meaning).to_owned())]);
    }
    let listed: Vec<_> = rows.iter().map(|(name, meaning)| json!({ what: name, "meaning": meaning })).collect();
    Outcome::done(table.render(), json!(listed))
}

fn exit_codes() -> Outcome {
    let mut table = Table::with_heading(&["status", "meaning"]);
    for class in Class::ALL {
        table.row([(Tone::Strong, class.exit_status().to_string()), (Tone::Plain, class.meaning().to_owned())]);
    }
    let mut text = table.render();
    text.push_str("\nEvery error has a stable code, and every code one status:\n\n");
    let mut codes: Vec<&Code> = Code::ALL.iter().collect();
    codes.sort_by_key(|code| (code.class().exit_status(), code.as_str()));
    for code in &codes {
        text.push_str(&format!("  {:>3}  {}\n", code.class().exit_status(), code.as_str()));
    }
    let value =
        codes.iter().map(|code| json!({ "code": code.as_str(), "status": code.class().exit_status() })).collect();
    Outcome::done(text, value)
}
