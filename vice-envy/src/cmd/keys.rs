//! `vice envy keys`: who can read secrets.

use std::sync::Arc;

use serde_json::{Value, json};
use vice_core::Result;
use vice_core::id::EnvName;
use vice_core::manifest::Project;
use vice_core::text::{Table, Tone, paint, sanitize};
use vice_core::ui::Outcome;

use super::Desk;
use crate::backend::{Keyring, Recipients, parse_value};
use crate::file;
use crate::layer::{Place, specs};
use crate::locked::Lock;
use crate::recipients::of_env;
use crate::stack::Stack;

/// A layer with what is encrypted in it.
struct Sealed {
    layer: String,
    parts: Vec<Vec<u8>>,
}

pub(super) async fn run(desk: &Desk, project: Arc<Project>, env: EnvName) -> Result<Outcome> {
    desk.ui.format().among(&[])?;
    desk.envy
        .off_thread(move |envy| {
            let lock = Lock::new(&envy.process);
            let (path, text) = of_env(&project, &env)?;
            let recipients = match text {
                Some(text) => Recipients::parse(&text)?.public_keys().to_vec(),
                None => Vec::new(),
            };
            let (stack, _) = Stack::load_what_can_be(&project, &env, &envy.process, &lock)?;
            let sealed = all_sealed(&project, &env, &stack)?;
            Ok(report(&path, &recipients, &sealed, lock.ring()))
        })
        .await
}

fn all_sealed(project: &Project, env: &EnvName, stack: &Stack) -> Result<Vec<Sealed>> {
    let mut found = Vec::new();
    for spec in specs(project, env)? {
        if let Place::File { path, sealed: true, .. } = &spec.place
            && let Some(bytes) = file::read(&project.root, path)?
        {
            found.push(Sealed { layer: spec.name.clone(), parts: vec![bytes] });
        }
    }
    for layer in stack.layers().iter().filter(|layer| !layer.sealed) {
        let texts = layer.sheet.iter().filter_map(|(_, entry)| entry.value.as_str());
        let parts: Vec<_> = texts.filter_map(|text| parse_value(text)?.ok().map(|value| value.bytes)).collect();
        if !parts.is_empty() {
            found.push(Sealed { layer: layer.name.clone(), parts });
        }
    }
    Ok(found)
}

fn report(path: &str, recipients: &[String], sealed: &[Sealed], ring: &Keyring) -> Outcome {
    let own = ring.public_keys();
    let is_own = |public: &str| own.iter().any(|key| key.public == public);
    let mut text = format!("{}\n", paint(Tone::Strong, format!("Recipients ({})", sanitize(path))));
    let mut table = Table::default();
    for public in recipients {
        table.row([
            (Tone::Plain, public.clone()),
            (Tone::Good, if is_own(public) { "yours".into() } else { String::new() }),
        ]);
    }
    text.push_str(&if recipients.is_empty() {
        "none; `vice envy init` makes the first\n".to_owned()
    } else {
        table.render()
    });
    text.push_str(&format!("\n{}\n", paint(Tone::Strong, "Your keys")));
    let mut keys = Vec::new();
    for (index, key) in own.iter().enumerate() {
        let mut opens = Vec::new();
        text.push_str(&format!("{}  {}\n", sanitize(&key.public), paint(Tone::Faint, sanitize(&key.source))));
        for layer in sealed {
            let opened = layer.parts.iter().filter(|part| ring.open_with(part, index).is_ok()).count();
            let (tone, all) = (if opened == layer.parts.len() { Tone::Good } else { Tone::Warn }, layer.parts.len());
            let line = format!("  {}: opens {opened} of {all} encrypted parts", sanitize(&layer.layer));
            text.push_str(&format!("{}\n", paint(tone, line)));
            opens.push(json!({ "layer": layer.layer, "opened": opened, "encrypted": all }));
        }
        keys.push(json!({ "public": key.public, "source": key.source, "layers": opens }));
    }
    if own.is_empty() {
        text.push_str("none; `vice envy init` makes one\n");
    }
    for note in ring.notes() {
        text.push_str(&format!("{}\n", paint(Tone::Warn, format!("{}.", sanitize(note)))));
    }
    let listed: Vec<Value> =
        recipients.iter().map(|public| json!({ "public": public, "own": is_own(public) })).collect();
    Outcome::done(text, json!({ "recipients": listed, "own": keys, "notes": ring.notes() }))
}
