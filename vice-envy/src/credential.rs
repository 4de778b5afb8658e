//! Values from programs: the layer `credential:NAME/PATH` and the value `cred://NAME/PATH/KEY` ask `vice-credential-NAME` on
//! PATH, which may ask a password manager. One JSON document in on standard input, one out on standard output; nothing
//! secret is an argument. See docs/secrets.md for the protocol. Everything that comes back is secret.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use vice_core::app::ProcessEnv;
use vice_core::id::EnvName;
use vice_core::manifest::Project;
use vice_core::port::command::{CommandOutput, CommandSpec, Ended, EnvValue, OUTPUT_BYTES_MAX};
use vice_core::text::sanitize;
use vice_core::{Code, Fault, Millis, Result, Secret};
use vice_plugin::check_pin;
use zeroize::Zeroizing;

use crate::key::{Flaw, join};
use crate::remote::Tools;
use crate::sheet::Sheet;
use crate::stack::Stack;

/// How long a program may take: password managers ask their servers, and sometimes a person.
const DEADLINE: Millis = Millis(60_000);
/// What a value begins with that a program gives.
pub(crate) const VALUE_START: &str = "cred://";
/// How many different paths values may refer to.
const PATHS_MAX: usize = 64;

/// What a layer names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
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
    pub(crate) async fn ask(&self, scope: (&Project, &EnvName), tools: &Tools) -> Result<Sheet> {
        let runner = tools.runner.as_ref().ok_or_else(|| Fault::unsupported("a program", "giving values here"))?;
        let program = self.find(&tools.process)?;
        let asked = json!({
            "version": 1, "operation": "get", "path": self.path, "project": scope.0.name(), "env": scope.1,
        });
        let argv = vec![program.display().to_string()];
        let mut command = CommandSpec::new(argv, tools.process.dir.clone(), DEADLINE);
        command.env = their_variables(&tools.process);
        command.stdin = Some(Secret::new(asked.to_string()));
        let said = runner.run(command).await.map_err(|fault| self.named(fault))?;
        self.understood(&said)
    }

    fn understood(&self, said: &CommandOutput) -> Result<Sheet> {
        if said.ended == Ended::TimedOut {
            return Err(self.refused(&format!("took longer than {DEADLINE}"), said));
        }
        if said.truncated {
            return Err(self.refused(&format!("answered more than {OUTPUT_BYTES_MAX} bytes"), said));
        }
        let answer: Answer = serde_json::from_str(&said.stdout).map_err(|error| {
            // The text is not quoted: it may be half of an answer.
            self.refused(&format!("answered no JSON of the protocol (line {})", error.line()), said)
        })?;
        if let Some(error) = answer.error {
            return Err(self.refused(&format!("says: {}", short(&error)), said));
        }
        let Some(values) = answer.values.filter(|_| said.ok()) else {
            let how = match said.ended {
                Ended::Exited(status) => format!("exit status {status}"),
                Ended::Signalled(signal) => format!("signal {signal}"),
                Ended::TimedOut => "no end".to_owned(),
            };
            return Err(self.refused(&format!("gave no values ({how})"), said));
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
        check_pin(process, &program)?;
        Ok(program)
    }

    fn named(&self, fault: Fault) -> Fault {
        let message = format!("vice-credential-{} gave nothing for {:?}.", self.name, self.path);
        Fault::new(fault.code(), message).because(fault)
    }

    fn refused(&self, why: &str, said: &CommandOutput) -> Fault {
        let last = said.stderr.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(short);
        let fault = Fault::new(Code::ConfigInvalid, format!("vice-credential-{} {why}.", self.name));
        match last {
            Some(last) => fault.because(last),
            None => fault,
        }
    }
}

/// The variables for a program that logs in somewhere: its own login is in variables, and our keys are nothing to it.
pub(crate) fn their_variables(process: &ProcessEnv) -> BTreeMap<String, EnvValue> {
    let theirs = process.vars.iter().filter(|(name, _)| !name.starts_with("VICE_") && !name.starts_with("SOPS_"));
    theirs.map(|(name, value)| (name.clone(), EnvValue::Plain(value.clone()))).collect()
}

fn short(text: &str) -> String {
    sanitize(&text.chars().take(300).collect::<String>())
}

fn add(sheet: &mut Sheet, key: &str, value: Value) -> std::result::Result<(), Flaw> {
    match value {
        Value::Object(fields) => fields.into_iter().try_for_each(|(name, field)| add(sheet, &join(key, &name), field)),
        value => sheet.add(key, value, None),
    }
}

/// What a value refers to: the program with its path, and the key in its answer. None when it refers to nothing there.
pub(crate) fn referred(text: &str) -> Option<Result<(Reference, String)>> {
    let rest = text.strip_prefix(VALUE_START)?;
    let parsed =
        rest.rsplit_once('/').filter(|(program, key)| !program.is_empty() && crate::key::check_key(key).is_ok());
    Some(match parsed {
        Some((program, key)) => Reference::parse(program).map(|reference| (reference, key.to_owned())),
        None => Err(Fault::new(Code::ConfigInvalid, format!("A value that begins with {VALUE_START} names no key."))
            .hint("Write cred://NAME/PATH/KEY: what vice-credential-NAME gives as KEY for PATH.")),
    })
}

/// What programs gave for the values of a stack that refer to them, or why they did not, by text of the value.
pub(crate) type Given = BTreeMap<String, Result<Secret, String>>;

/// Asks for everything that effective values refer to, each program once for each path.
pub(crate) async fn give(stack: &Stack, scope: (&Project, &EnvName), tools: &Tools) -> Given {
    let mut wanted: BTreeMap<Reference, Vec<(&str, String)>> = BTreeMap::new();
    let mut given = Given::new();
    for text in stack.credentials() {
        match referred(text) {
            Some(Ok((program, _))) if wanted.len() >= PATHS_MAX && !wanted.contains_key(&program) => {
                let why = format!("Values refer to more than {PATHS_MAX} paths of programs.");
                given.insert(text.to_owned(), Err(why));
            }
            Some(Ok((program, name))) => wanted.entry(program).or_default().push((text, name)),
            Some(Err(fault)) => drop(given.insert(text.to_owned(), Err(fault.to_string()))),
            None => {}
        }
    }
    let answers = futures::future::join_all(wanted.keys().map(|program| program.ask(scope, tools))).await;
    for ((program, places), answer) in wanted.iter().zip(answers) {
        for (text, name) in places {
            let found = match &answer {
                Ok(sheet) => sheet
                    .get(name)
                    .map(|found| secret_of(&found.value))
                    .ok_or_else(|| format!("vice-credential-{} has no {name} there.", program.name)),
                Err(fault) => Err(fault.chain().join(" ")),
            };
            given.insert((*text).to_owned(), found);
        }
    }
    given
}

fn secret_of(value: &Value) -> Secret {
    let text = Zeroizing::new(value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    Secret::new(text.as_str())
}
