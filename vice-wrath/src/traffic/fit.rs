//! How near generated traffic is to what was learnt: the same sessions as a load would send, counted.

use std::collections::BTreeMap;

use http::HeaderMap;
use vice_core::Result;

use super::learn::Learnt;
use super::model::{END, Model};
use super::statistics::{chi_square_survival, kolmogorov_smirnov};
use super::walk::Sessions;

/// Cells that are expected less often are put together, as the test asks for.
const EXPECTED_MIN: f64 = 5.0;

/// So many pauses after a kind are generated for the comparison.
const PAUSES_MAX: usize = 20_000;

/// The fit of one kind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KindFit {
    /// Its name.
    pub(crate) kind: String,
    /// How often it was generated.
    pub(crate) generated: u64,
    /// Chi-square of what followed, its degrees of freedom, and how likely chance makes it so large.
    pub(crate) chi_square: f64,
    pub(crate) freedom: usize,
    pub(crate) chi_chance: f64,
    /// The largest distance of the pauses after it, and how likely chance makes it so large.
    pub(crate) ks: f64,
    pub(crate) ks_chance: f64,
}

/// The fit of a model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fit {
    /// How many sessions were generated.
    pub(crate) sessions: u64,
    /// Kind by kind.
    pub(crate) kinds: Vec<KindFit>,
}

/// Generates sessions and compares them with what was learnt.
///
/// # Errors
/// As [`Sessions::new`].
pub(crate) fn fit(learnt: &Learnt, sessions: u64, seed: u64) -> Result<Fit> {
    let walked = Sessions::new(&learnt.model, "http://localhost", &HeaderMap::new(), seed)?;
    let names: Vec<&str> = learnt.model.kind.keys().map(String::as_str).collect();
    let (counts, mut pauses) = count(&walked, &names, sessions);
    let mut kinds = Vec::new();
    for name in &names {
        let empty = BTreeMap::new();
        let generated = counts.get(name).unwrap_or(&empty);
        let (chi_square, freedom) = chi_square(&learnt.model, name, generated);
        let found = pauses.entry(name).or_default();
        found.sort_by(f64::total_cmp);
        let none = Vec::new();
        let (ks, ks_chance) = kolmogorov_smirnov(learnt.pauses.get(*name).unwrap_or(&none), found);
        kinds.push(KindFit {
            kind: (*name).to_owned(),
            generated: generated.values().sum(),
            chi_square,
            freedom,
            chi_chance: chi_square_survival(chi_square, freedom),
            ks,
            ks_chance,
        });
    }
    Ok(Fit { sessions, kinds })
}

type Counts<'n> = BTreeMap<&'n str, BTreeMap<&'n str, u64>>;

/// What followed what, and after which pauses.
fn count<'n>(walked: &Sessions, names: &[&'n str], sessions: u64) -> (Counts<'n>, BTreeMap<&'n str, Vec<f64>>) {
    let mut counts: Counts<'n> = BTreeMap::new();
    let mut pauses: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for number in 0..sessions {
        let mut last: Option<&str> = None;
        for (pause, kind) in walked.walk(number) {
            if let Some(last) = last {
                *counts.entry(last).or_default().entry(names[kind]).or_default() += 1;
                let pauses = pauses.entry(last).or_default();
                if pauses.len() < PAUSES_MAX {
                    pauses.push(pause);
                }
            }
            last = Some(names[kind]);
        }
        if let Some(last) = last {
            *counts.entry(last).or_default().entry(END).or_default() += 1;
        }
    }
    (counts, pauses)
}

/// Against the weights of the model, all personas together where there is one.
fn chi_square(model: &Model, kind: &str, generated: &BTreeMap<&str, u64>) -> (f64, usize) {
    let Some(row) = model.persona.values().find_map(|persona| persona.next.get(kind)) else { return (0.0, 0) };
    let weight: f64 = row.values().sum();
    let all: u64 = generated.values().sum();
    let (mut statistic, mut cells) = (0.0, 0_usize);
    let (mut rare_expected, mut rare_found) = (0.0, 0.0);
    for (to, share) in row {
        let expected = all as f64 * share / weight;
        let found = generated.get(to.as_str()).copied().unwrap_or(0) as f64;
        if expected < EXPECTED_MIN {
            rare_expected += expected;
            rare_found += found;
            continue;
        }
        statistic += (found - expected).powi(2) / expected;
        cells += 1;
    }
    if rare_expected >= EXPECTED_MIN {
        statistic += (rare_found - rare_expected).powi(2) / rare_expected;
        cells += 1;
    }
    (statistic, cells.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::super::learn::learn;
    use super::super::log::Visit;
    use super::*;
    use rand::RngExt;
    use vice_core::rng::Streams;

    /// A generator of its own: from each of five pages to the others by these odds, the last column ends the session.
    const ODDS: [[f64; 6]; 5] = [
        [0.05, 0.40, 0.20, 0.10, 0.05, 0.20],
        [0.30, 0.10, 0.25, 0.15, 0.10, 0.10],
        [0.10, 0.10, 0.10, 0.50, 0.10, 0.10],
        [0.25, 0.25, 0.00, 0.00, 0.25, 0.25],
        [0.02, 0.03, 0.05, 0.10, 0.20, 0.60],
    ];

    fn visits(sessions: usize) -> Vec<Visit> {
        let mut chance = Streams::new(77).stream("known", 0);
        let mut all = Vec::new();
        for session in 0..sessions {
            let (mut page, mut at) = (0, session as f64 * 10.0);
            while page < 5 {
                let target = format!("/page-{page}");
                all.push(Visit {
                    who: session.to_string(),
                    kind: format!("GET {target}"),
                    method: "GET".into(),
                    target,
                    at,
                    took: 0.0,
                    body: None,
                });
                // Uniform pauses, as unlike the exponential ones as can be.
                at += chance.random_range(0.5..2.5);
                let mut place: f64 = chance.random();
                page = ODDS[page]
                    .iter()
                    .position(|odds| {
                        place -= odds;
                        place < 0.0
                    })
                    .unwrap_or(5);
            }
        }
        all.sort_by(|one, other| one.at.total_cmp(&other.at));
        all
    }

    /// Seeds 77 (the known generator) and 5 (the model that learnt from it).
    #[test]
    fn a_learnt_model_makes_the_transitions_that_it_learnt_from() {
        let visits = visits(20_000);
        let learnt = learn(&visits, 1800.0);
        assert_eq!(learnt.sessions, 20_000);
        let walked = Sessions::new(&learnt.model, "http://localhost", &HeaderMap::new(), 5).unwrap();
        let names: Vec<&str> = learnt.model.kind.keys().map(String::as_str).collect();
        let (counts, _) = count(&walked, &names, 20_000);
        for (from, odds) in ODDS.iter().enumerate() {
            let row = &counts[names[from]];
            let generated: u64 = row.values().sum();
            let learnt_from = visits.iter().filter(|visit| visit.kind == names[from]).count() as f64;
            for (to, odds) in odds.iter().enumerate() {
                let name = names.get(to).copied().unwrap_or(END);
                let found = row.get(name).copied().unwrap_or(0) as f64 / generated as f64;
                let error = (odds * (1.0 - odds) * (1.0 / generated as f64 + 1.0 / learnt_from)).sqrt();
                assert!((found - odds).abs() <= 3.0 * error, "{from} to {to}: {found} instead of {odds} ± {error}");
            }
        }
        let fit = fit(&learnt, 20_000, 5).unwrap();
        for kind in &fit.kinds {
            assert!(kind.chi_chance > 0.001 && kind.ks_chance > 0.001, "{kind:?}");
        }
    }

    #[test]
    fn a_wrong_model_is_found_out() {
        let mut learnt = learn(&visits(5_000), 1800.0);
        let right = fit(&learnt, 5_000, 5).unwrap();
        assert!(right.kinds.iter().all(|kind| kind.chi_chance > 0.001));
        // Pauses of another kind.
        for pauses in learnt.pauses.values_mut() {
            pauses.iter_mut().for_each(|pause| *pause *= 1.2);
        }
        let wrong = fit(&learnt, 5_000, 5).unwrap();
        assert!(wrong.kinds.iter().all(|kind| kind.ks_chance < 0.001), "{wrong:?}");
    }

    #[test]
    fn the_same_seed_gives_the_same_sessions() {
        let learnt = learn(&visits(200), 1800.0);
        let walk = |seed: u64| -> Vec<(f64, usize)> {
            let walked = Sessions::new(&learnt.model, "http://localhost", &HeaderMap::new(), seed).unwrap();
            (0..50).flat_map(|number| walked.walk(number).collect::<Vec<_>>()).collect()
        };
        assert_eq!(walk(1), walk(1));
        assert_ne!(walk(1), walk(2));
    }
}
