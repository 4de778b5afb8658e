//! `vice envy init`: the first key, the recipients, and what to put into CI.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use vice_core::id::EnvName;
use vice_core::manifest::Project;
use vice_core::text::{Tone, paint, sanitize};
use vice_core::ui::Outcome;
use vice_core::{Code, Context, Fault, Result};
use zeroize::Zeroizing;

use super::Desk;
use crate::Envy;
use crate::backend::{Recipients, generate, public_of, settings_dir};
use crate::file;
use crate::recipients::{common_path, own_path};

const DEFAULT_LAYER: &str = "config/default.toml";
const DEFAULT_TEXT: &str = "# Values for every environment; stronger layers replace them key by key.\n";
const RECIPIENTS_HEAD: &str = "# Public keys that secrets are encrypted for, one in a line. Safe to commit.\n";

pub(super) async fn run(
    desk: &Desk,
    project: Arc<Project>,
    env: Option<EnvName>,
    recipient: Vec<String>,
    recipient_file: Vec<PathBuf>,
) -> Result<Outcome> {
    desk.ui.format().among(&[])?;
    let path = match &env {
        Some(env) => {
            project.env(env)?;
            own_path(&project, env)
        }
        None => common_path(&project).to_owned(),
    };
    let theirs = Arc::clone(&project);
    desk.alone(&project, "vice envy init", move |envy| init(envy, &theirs, &path, &recipient, &recipient_file)).await
}

fn init(
    envy: &Envy,
    project: &Project,
    path: &str,
    recipient: &[String],
    recipient_file: &[PathBuf],
) -> Result<Outcome> {
    // Everything that can be wrong with the arguments is found before anything is written.
    let mut wanted = Vec::new();
    for key in recipient {
        wanted.extend(public_keys(key, "--recipient")?);
    }
    for path in recipient_file {
        wanted.extend(public_keys(&given_file(envy, path)?, &path.display().to_string())?);
    }
    let identity = identity(envy, project)?;
    wanted.insert(0, Line { key: identity.public.clone(), line: identity.public.clone() });
    let added = add_recipients(project, path, &wanted)?;
    let default_made = file::read(&project.root, DEFAULT_LAYER)?.is_none();
    if default_made {
        file::write(&project.root, DEFAULT_LAYER, DEFAULT_TEXT.as_bytes())?;
    }
    Ok(told(project, path, &identity, &added, default_made))
}

/// A public key and the line for it, which may end in a comment that tells whose it is.
struct Line {
    key: String,
    line: String,
}

fn public_keys(text: &str, from: &str) -> Result<Vec<Line>> {
    let parsed = Recipients::parse(text).map_err(|fault| {
        let hint = "A file with keys is given by --recipient-file.";
        Fault::new(fault.code(), format!("{} does not give a public key.", sanitize(from))).because(fault).hint(hint)
    })?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let pairs = parsed.public_keys().iter().zip(lines);
    Ok(pairs.map(|(key, line)| Line { key: key.clone(), line: sanitize(line) }).collect())
}

fn given_file(envy: &Envy, path: &Path) -> Result<String> {
    let name = path.display().to_string();
    let file =
        std::fs::File::open(envy.process.dir.join(path)).context(Code::Io, || format!("{name} can't be opened."))?;
    file::text_of(file::read_bounded(file, &name)?, &name)
}

struct Identity {
    path: PathBuf,
    public: String,
    made: bool,
}

/// The user's key for this project; made when there is none, and never replaced.
fn identity(envy: &Envy, project: &Project) -> Result<Identity> {
    let settings = settings_dir(&envy.process).ok_or_else(|| {
        Fault::new(Code::Usage, "There is no folder for your key.").hint("Set HOME or XDG_CONFIG_HOME.")
    })?;
    let path = settings.join("keys").join(format!("{}.txt", project.name()));
    let made = if path.exists() {
        false
    } else {
        let key = generate()?;
        let now = envy.clock.now();
        let text = format!(
            "# The key of {} for vice, made {now}. Keep it to yourself.\n# public key: {}\n{}\n",
            project.name(),
            key.public,
            key.private.reveal()
        );
        file::create_private(&path, Zeroizing::new(text).as_bytes(), Code::Io)?
    };
    let name = path.display().to_string();
    let file = std::fs::File::open(&path).context(Code::Io, || format!("{name} can't be opened."))?;
    let text = Zeroizing::new(file::text_of(file::read_bounded(file, &name)?, &name)?);
    let public = public_of(&text).ok_or_else(|| {
        Fault::new(Code::ConfigInvalid, format!("{name} has no usable key."))
            .hint("Move it away, and `vice envy init` makes a new one.")
    })?;
    Ok(Identity { path, public, made })
}

/// Adds those keys that the file does not have yet.
fn add_recipients(project: &Project, path: &str, wanted: &[Line]) -> Result<Vec<String>> {
    let mut text = file::read_text(&project.root, path)?.unwrap_or_else(|| RECIPIENTS_HEAD.to_owned());
    let mut known = Recipients::parse(&text)
        .map_err(|fault| Fault::new(Code::ConfigInvalid, format!("{path} can't be used.")).because(fault))?
        .public_keys()
        .to_vec();
    let mut added = Vec::new();
    for Line { key, line } in wanted {
        if !known.contains(key) {
            if !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(&format!("{line}\n"));
            known.push(key.clone());
            added.push(key.clone());
        }
    }
    if !added.is_empty() {
        file::write(&project.root, path, text.as_bytes())?;
    }
    Ok(added)
}

fn told(project: &Project, recipients: &str, identity: &Identity, added: &[String], default_made: bool) -> Outcome {
    let key_path = sanitize(&identity.path.display().to_string());
    let verb = if identity.made { "Made" } else { "Kept" };
    let mut text = format!("{verb} your key {key_path}; its public part is {}.\n", identity.public);
    for key in added {
        text.push_str(&format!("Added {key} to {recipients}.\n"));
    }
    if !added.is_empty() {
        text.push_str("What was encrypted before stays closed to them until `vice envy rotate`.\n");
    }
    if default_made {
        text.push_str(&format!("Made {DEFAULT_LAYER}.\n"));
    }
    let layers = &project.manifest.config.layers;
    if layers.is_empty() {
        let line = format!("layers = [\"{DEFAULT_LAYER}\", \"config/{{{{env}}}}.toml?\"]");
        text.push_str(&format!(
            "\nAdd to {}:\n  {}\n  {}\n",
            project.file,
            paint(Tone::Code, "[config]"),
            paint(Tone::Code, line)
        ));
    }
    text.push_str(&format!(
        "\nIn CI, store the content of {key_path} as the protected variable {}; vice reads it from there.\n\
         Commit {recipients}; never commit the key.\n",
        paint(Tone::Code, "VICE_AGE_IDENTITY"),
    ));
    let json = json!({
        "identity": identity.path, "made": identity.made, "public": identity.public,
        "recipients": recipients, "added": added, "default_layer_made": default_made,
        "ci": { "variable": "VICE_AGE_IDENTITY", "from": identity.path },
    });
    Outcome::done(text, json)
}
