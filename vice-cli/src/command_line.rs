//! From words to [`Cli`], and what is said when the words don't fit. clap writes for people; a machine gets the same
//! as a fault.

use std::ffi::OsStr;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};
use vice_core::app::ProcessEnv;
use vice_core::ui::Format;
use vice_core::{Code, Fault};

use crate::args::Cli;

/// Parses the words after the program's name. A variable that is empty counts as unset.
pub(crate) fn parse<W: AsRef<OsStr>>(words: &[W], env: &ProcessEnv) -> Result<Cli, clap::Error> {
    let mut command = Cli::command();
    let is_empty = |arg: &clap::Arg| {
        let name = arg.get_env().and_then(OsStr::to_str);
        name.is_some_and(|name| env.vars.get(name).is_some_and(String::is_empty))
    };
    let empty: Vec<clap::Id> =
        command.get_arguments().filter(|arg| is_empty(arg)).map(|arg| arg.get_id().clone()).collect();
    for id in empty {
        command = command.mut_arg(id, |arg| arg.env(None));
    }
    let mut matches = command.try_get_matches_from_mut(words.iter().map(AsRef::as_ref))?;
    Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

/// The format for machines that a command line asks for, also where clap can't make sense of it.
pub(crate) fn machine_format(words: &[String], env: &ProcessEnv) -> Option<Format> {
    let joined = words.iter().find_map(|word| word.strip_prefix("--format="));
    let after = words.iter().position(|word| word == "--format").and_then(|at| words.get(at + 1).map(String::as_str));
    match joined.or(after).or_else(|| env.get("VICE_FORMAT"))? {
        "json" => Some(Format::Json),
        "ndjson" => Some(Format::Ndjson),
        _ => None,
    }
}

/// What clap says as a fault: its first paragraph is the message, the others are hints.
pub(crate) fn explain(error: &clap::Error, words: &[String]) -> Fault {
    if matches!(error.kind(), ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand) {
        return incomplete(words);
    }
    let text = error.render().to_string();
    let mut paragraphs = text.split("\n\n").map(joined).filter(|paragraph| !paragraph.is_empty());
    let first = paragraphs.next().unwrap_or_else(|| "The command line does not fit".to_owned());
    let first = first.trim_start_matches("error: ");
    let stop = if first.ends_with(['.', ']', '>']) { "" } else { "." };
    let hints = paragraphs.filter(|paragraph| !paragraph.starts_with("For more information"));
    hints.fold(Fault::new(Code::Usage, format!("{first}{stop}")), |fault, hint| {
        fault.hint(hint.strip_prefix("tip: ").unwrap_or(&hint))
    })
}

/// The lines of a paragraph as one.
fn joined(paragraph: &str) -> String {
    paragraph.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A command that needs another word.
fn incomplete(words: &[String]) -> Fault {
    let mut command = Cli::command();
    command.build();
    let mut path = "vice".to_owned();
    for word in words.iter().skip(1) {
        if let Some(found) = command.find_subcommand(word).cloned() {
            path = format!("{path} {}", found.get_name());
            command = found;
        }
    }
    let commands: Vec<String> = command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set())
        .map(|sub| sub.get_name().to_owned())
        .filter(|name| name != "help" || path == "vice")
        .collect();
    if commands.is_empty() {
        return Fault::new(Code::Usage, format!("`{path}` needs an argument."))
            .hint(format!("`{path} --help` says which."));
    }
    Fault::new(Code::Usage, "A command is needed.")
        .hint(format!("`{path} --help` lists the commands."))
        .detail("commands", commands)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    fn explained(line: &str) -> Fault {
        let words = words(line);
        explain(&parse(&words, &ProcessEnv::default()).unwrap_err(), &words)
    }

    #[test]
    fn a_missing_command_lists_those_that_are_offered() {
        for line in ["vice", "vice --quiet"] {
            let fault = explained(line);
            assert_eq!(fault.to_string(), "A command is needed.");
            let listed = fault.details()["commands"].as_array().unwrap().clone();
            assert!(listed.contains(&"deploy".into()) && !listed.contains(&"agent".into()), "{listed:?}");
        }
        let fault = explained("vice --format json pride hold");
        assert_eq!(fault.details()["commands"], serde_json::json!(["ls", "place", "release"]));
    }

    #[test]
    fn a_flag_that_is_unknown_has_message_and_hints_apart() {
        let fault = explained("vice deploy --confrm x");
        assert_eq!(fault.to_string(), "unexpected argument '--confrm' found.");
        assert_eq!(fault.hints().len(), 2, "{fault:?}");
        assert!(fault.hints()[0].contains("'--confirm'") && fault.hints()[1].starts_with("Usage: "), "{fault:?}");
    }

    #[test]
    fn the_format_may_stand_anywhere() {
        let env =
            ProcessEnv { vars: [("VICE_FORMAT".to_owned(), "ndjson".to_owned())].into(), ..ProcessEnv::default() };
        assert_eq!(machine_format(&words("vice --format json"), &env), Some(Format::Json));
        assert_eq!(machine_format(&words("vice --format=text"), &env), None);
        assert_eq!(machine_format(&words("vice"), &env), Some(Format::Ndjson));
    }
}
