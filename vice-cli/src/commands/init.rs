//! `vice init`: writes a commented `vice.toml` by looking at the folder. It never writes over one.

use std::fs;
use std::io::Write;
use std::path::Path;

use clap::Args;
use serde_json::json;
use vice_core::app::ProcessEnv;
use vice_core::id::ProjectName;
use vice_core::manifest::{Project, RESERVED_PROJECT_NAMES};
use vice_core::text::{Tone, paint};
use vice_core::ui::Outcome;
use vice_core::{Code, Context, Fault, Result};

use crate::workspace::FILE;

/// Arguments of `vice init`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vice init\n  vice init --name shop --print")]
pub(crate) struct InitArgs {
    /// The project's name; the folder's name when absent
    #[arg(long)]
    name: Option<ProjectName>,
    /// Print the file instead of writing it
    #[arg(long)]
    print: bool,
}

/// What was found in the folder.
struct Found {
    what: &'static str,
    artifact: String,
    command: Vec<String>,
    version: Option<String>,
}

/// Looks, writes, and says what to do next.
pub(crate) fn run(env: &ProcessEnv, args: &InitArgs) -> Result<Outcome> {
    let dir = &env.dir;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => name_of(dir)?,
    };
    let found = look(dir, name.as_str());
    let text = compose(name.as_str(), &found);
    // What init writes must be what deploy reads.
    Project::parse(dir.clone(), FILE.to_owned(), text.as_str())?;
    if args.print {
        return Ok(Outcome::done(text.clone(), json!({ "file": FILE, "text": text })));
    }
    let path = dir.join(FILE);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&path).map_err(|error| {
        let fault = Fault::new(Code::Usage, format!("{} is not written.", path.display()));
        match error.kind() {
            std::io::ErrorKind::AlreadyExists => fault.hint("There is one already; `vice init --print` shows another."),
            _ => fault.because(error),
        }
    })?;
    file.write_all(text.as_bytes()).context(Code::Io, || format!("{} can't be written.", path.display()))?;
    let mut said =
        format!("Wrote {} for {} ({}).\n", paint(Tone::Strong, FILE), paint(Tone::Strong, name.as_str()), found.what);
    said.push_str("Next:\n");
    said.push_str(&format!("  {}   see what would happen\n", paint(Tone::Code, "vice plan")));
    said.push_str(&format!("  {} do it\n", paint(Tone::Code, "vice deploy")));
    Ok(Outcome::done(said, json!({ "file": path, "project": name, "found": found.what })))
}

/// A project name from the folder's name: lower case, other characters become dashes.
fn name_of(dir: &Path) -> Result<ProjectName> {
    let folder = dir.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let dashed: String = folder.chars().map(|c| if fits(c) { c } else { '-' }).collect();
    let trimmed: String = dashed.trim_matches('-').chars().take(50).collect();
    let name = if RESERVED_PROJECT_NAMES.contains(&trimmed.as_str()) { format!("{trimmed}-service") } else { trimmed };
    ProjectName::new(name).map_err(|_| {
        Fault::new(Code::InvalidName, format!("The folder's name {folder:?} makes no project name."))
            .hint("Pass --name.")
    })
}

fn look(dir: &Path, name: &str) -> Found {
    let has = |file: &str| dir.join(file).is_file();
    let port = || "{{port}}".to_owned();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).chain([port()]).collect::<Vec<_>>();
    if let Some((package, version)) = cargo_package(dir) {
        let command = vec![format!("./{package}"), "--port".to_owned(), port()];
        return Found { what: "a Rust program", artifact: format!("target/release/{package}"), command, version };
    }
    if has("package.json") {
        let text = fs::read_to_string(dir.join("package.json")).unwrap_or_default();
        let package: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let main = package["main"].as_str().unwrap_or("server.js").to_owned();
        let version = package["version"].as_str().map(str::to_owned);
        return Found {
            what: "a Node.js program",
            artifact: ".".into(),
            command: words(&["node", &main, "--port"]),
            version,
        };
    }
    if has("pyproject.toml") || has("requirements.txt") {
        let main = ["main.py", "app.py", "server.py"].into_iter().find(|file| has(file)).unwrap_or("main.py");
        return Found {
            what: "a Python program",
            artifact: ".".into(),
            command: words(&["python3", main, "--port"]),
            version: None,
        };
    }
    if has("index.html") {
        let command = words(&["python3", "-m", "http.server", "--bind", "127.0.0.1"]);
        return Found { what: "a static site", artifact: ".".into(), command, version: None };
    }
    let command = vec![format!("./{name}"), "--port".to_owned(), port()];
    Found {
        what: "nothing that is known; the lines are an example",
        artifact: format!("dist/{name}-{{{{version}}}}.tar.gz"),
        command,
        version: None,
    }
}

/// Name and version of the package in `Cargo.toml`.
fn cargo_package(dir: &Path) -> Option<(String, Option<String>)> {
    let text = fs::read_to_string(dir.join("Cargo.toml")).ok()?;
    let value: toml::Value = toml::from_str(&text).ok()?;
    let package = value.get("package")?;
    let version = package.get("version").and_then(toml::Value::as_str).map(str::to_owned);
    Some((package.get("name")?.as_str()?.to_owned(), version))
}

fn compose(name: &str, found: &Found) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let command: Vec<String> = found.command.iter().map(|word| quoted(word)).collect();
    let version = match &found.version {
        Some(version) => format!("version  = {}", quoted(version)),
        None => "# version = \"1.0.0\"      # without it: git describe, or the newest artifact".to_owned(),
    };
    format!(
        r#"# What vice needs to know about this project. `vice schema` prints every key that there is.
name     = {name}
{version}
artifact = {artifact}
command  = [{command}]
health   = "/"                       # must answer 2xx before an instance gets traffic

[env.dev]                            # no target: this machine
instances = 1

# [config]
# layers = ["config/default.toml", "config/{{{{env}}}}.toml?"]   # the instances get it as environment variables

# [check.home]                       # checks gate every deploy: when one fails, the earlier version comes back
# http   = "{{{{env.url}}}}/"
# status = 200

# [task.migrate]
# command  = ["./migrate"]
# run      = "before"
# rollback = "forbid"                # going back over it pauses and asks

# [channel.team]
# kind = "slack"
# url  = "env:SLACK_WEBHOOK_URL"
# [[notify]]
# on = ["deployed", "rolled-back", "waiting"]
# to = "team"
"#,
        name = quoted(name),
        artifact = quoted(&found.artifact),
        command = command.join(", "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found_in(files: &[(&str, &str)]) -> (String, Found) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let found = look(dir.path(), "shop");
        (compose("shop", &found), found)
    }

    #[test]
    fn what_is_written_can_be_read() {
        let folders: [&[(&str, &str)]; 5] = [
            &[],
            &[("Cargo.toml", "[package]\nname = \"sh\\\"op\"\nversion = \"1.2.3\"\n")],
            &[("package.json", "{\"main\": \"x.js\", \"version\": \"2.0.0\"}")],
            &[("requirements.txt", ""), ("app.py", "")],
            &[("index.html", "")],
        ];
        for files in folders {
            let (text, found) = found_in(files);
            let project = Project::parse("/p".into(), FILE.into(), text.as_str());
            assert!(project.is_ok(), "{}: {project:?}\n{text}", found.what);
        }
    }
}
