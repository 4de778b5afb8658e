//! `vice envy rotate` and `vice envy seal`: layers encrypted again, and confirmed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};
use vice_core::Result;
use vice_core::manifest::Project;
use vice_core::text::{Tone, paint, sanitize};
use vice_core::ui::Outcome;

use super::Desk;
use crate::locked::Lock;
use crate::rotate::{Rotated, Wish, chosen, layer};

pub(super) async fn run(desk: &Desk, project: Arc<Project>, named: Option<String>, wish: Wish) -> Result<Outcome> {
    desk.ui.format().among(&[])?;
    let command = if wish.seal { "vice envy seal" } else { "vice envy rotate" };
    let theirs = Arc::clone(&project);
    let work = move |envy: &crate::Envy| {
        let project = theirs;
        let lock = Lock::new(&envy.process);
        lock.about(project.name().as_str());
        let mut done = Vec::new();
        for spec in chosen(&project, named.as_deref())? {
            done.extend(layer(&project, &spec, &lock, wish)?);
        }
        Ok(done)
    };
    Ok(told(&desk.alone(&project, command, work).await?))
}

fn told(done: &[Rotated]) -> Outcome {
    let mut text = String::new();
    let mut lost: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for layer in done {
        let sealed = if layer.sealed { ", sealed" } else { "" };
        let count = layer.rewritten.len();
        text.push_str(&format!(
            "{}: {count} encrypted again, {} were right already{sealed}.\n",
            sanitize(&layer.layer),
            layer.current
        ));
        for (reader, keys) in &layer.lost {
            let named = keys.iter().map(|key| format!("{key} ({})", layer.layer));
            lost.entry(reader).or_default().extend(named);
        }
    }
    if done.is_empty() {
        text.push_str("No layer holds anything that is encrypted.\n");
    }
    for (reader, keys) in &lost {
        let head = format!("{reader} can still read the earlier form of these, in the history of the repository:");
        text.push_str(&format!("\n{}\n", paint(Tone::Warn, sanitize(&head))));
        keys.iter().for_each(|key| text.push_str(&format!("  {}\n", sanitize(key))));
        text.push_str("Change them where they are made, then `vice envy set KEY --secret`.\n");
    }
    let layers: Vec<Value> = done.iter().map(json_of).collect();
    Outcome::done(text, json!({ "layers": layers, "still_readable": lost }))
}

fn json_of(layer: &Rotated) -> Value {
    json!({
        "layer": layer.layer, "rewritten": layer.rewritten, "current": layer.current, "sealed": layer.sealed,
    })
}
