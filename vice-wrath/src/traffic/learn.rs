//! A model from what was seen: how often what followed what, and after which pauses.

use std::collections::BTreeMap;

use super::log::{Visit, sessions};
use super::model::{END, KINDS_MAX, Kind, Model, Persona, Think};
use super::persona::Sorting;

/// So many different targets of a kind are kept.
const TARGETS_MAX: usize = 100;

/// So many distances lie between the quantiles of a pause.
const QUANTILES: usize = 100;

/// So many pauses after a kind are kept for the quantiles.
const PAUSES_MAX: usize = 100_000;

/// What is not followed: one kind of all that are too many.
const OTHERS: &str = "GET /{others}";

/// What was learnt, with the counts behind it.
pub(crate) struct Learnt {
    /// The model.
    pub(crate) model: Model,
    /// How many sessions there were.
    pub(crate) sessions: usize,
    /// The pauses of each persona after each kind, in seconds, in order of length.
    pub(crate) pauses: Pauses,
}

/// Pauses by persona and kind.
pub(crate) type Pauses = BTreeMap<(String, String), Vec<f64>>;

/// Learns from visits. Pauses longer than `gap` seconds end a session. The weight of a persona is how many sessions it had.
pub(crate) fn learn(visits: &[Visit], gap: f64, sorting: &Sorting) -> Learnt {
    let kinds = kinds(visits);
    let name = |visit: &Visit| if kinds.contains_key(&visit.kind) { visit.kind.clone() } else { OTHERS.to_owned() };
    let mut personas: BTreeMap<String, Persona> = BTreeMap::new();
    let mut pauses = Pauses::new();
    let all = sessions(visits, gap);
    let who = sorting.all(&all);
    for (session, who) in all.iter().zip(&who) {
        let persona = personas.entry(who.clone()).or_default();
        persona.weight += 1.0;
        let mut last: Option<&Visit> = None;
        for visit in session {
            let row = match last {
                None => &mut persona.start,
                Some(last) => {
                    let pauses = pauses.entry((who.clone(), name(last))).or_default();
                    if pauses.len() < PAUSES_MAX {
                        pauses.push((visit.at - last.at - last.took).max(0.0));
                    }
                    persona.next.entry(name(last)).or_default()
                }
            };
            *row.entry(name(visit)).or_default() += 1.0;
            last = Some(visit);
        }
        if let Some(last) = last {
            *persona.next.entry(name(last)).or_default().entry(END.to_owned()).or_default() += 1.0;
        }
    }
    for ((who, kind), pauses) in &mut pauses {
        pauses.sort_by(f64::total_cmp);
        let think = Think::Quantiles(quantiles(pauses));
        if let Some(persona) = personas.get_mut(who) {
            persona.think.insert(kind.clone(), think);
        }
    }
    let model = Model { kind: kinds, persona: personas };
    Learnt { model, sessions: all.len(), pauses }
}

fn kinds(visits: &[Visit]) -> BTreeMap<String, Kind> {
    let mut kinds: BTreeMap<String, Kind> = BTreeMap::new();
    for visit in visits {
        let full = kinds.len() >= KINDS_MAX - 1 && !kinds.contains_key(&visit.kind);
        let name = if full { OTHERS } else { visit.kind.as_str() };
        let method = if full { "GET" } else { visit.method.as_str() };
        let kind = kinds.entry(name.to_owned()).or_insert_with(|| Kind {
            method: method.to_owned(),
            targets: Vec::new(),
            headers: BTreeMap::new(),
            body: None,
        });
        if kind.targets.len() < TARGETS_MAX && !kind.targets.contains(&visit.target) {
            kind.targets.push(visit.target.clone());
        }
        if let (Some((content_type, text)), None) = (&visit.body, &kind.body) {
            kind.body = Some(text.clone());
            if !content_type.is_empty() {
                kind.headers.insert("content-type".to_owned(), content_type.clone());
            }
        }
    }
    kinds
}

fn quantiles(sorted: &[f64]) -> Vec<f64> {
    let last = sorted.len() - 1;
    let steps = QUANTILES.min(last.max(1));
    let at = |step: usize| {
        let place = last as f64 * step as f64 / steps as f64;
        let (below, part) = (place.floor() as usize, place.fract());
        let above = sorted[(below + 1).min(last)];
        let value = sorted[below] + (above - sorted[below]) * part;
        // Microseconds are enough, and make a file that can be read.
        (value * 1e6).round() / 1e6
    };
    (0..=steps).map(at).collect()
}
