//! How near generated traffic is to what was learnt: the same sessions as a load would send, counted.

use std::collections::BTreeMap;

use http::HeaderMap;
use vice_core::Result;

use super::learn::Pauses;
use super::model::{END, Model};
use super::statistics::{chi_square_survival, kolmogorov_smirnov};
use super::walk::Sessions;

/// Cells that are expected less often are put together, as the test asks for.
const EXPECTED_MIN: f64 = 5.0;

/// So many pauses after a kind are generated for the comparison.
const PAUSES_MAX: usize = 20_000;

/// How far counts are from what was expected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ChiSquare {
    pub(crate) statistic: f64,
    pub(crate) freedom: usize,
    /// How likely chance makes it so large.
    pub(crate) chance: f64,
}

/// The fit of one kind of one persona; the kind is empty for what sessions begin with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KindFit {
    pub(crate) persona: String,
    /// Its name.
    pub(crate) kind: String,
    /// How often it was generated.
    pub(crate) generated: u64,
    /// Of what followed.
    pub(crate) chi: ChiSquare,
    /// The largest distance of the pauses after it, and how likely chance makes it so large.
    pub(crate) ks: f64,
    pub(crate) ks_chance: f64,
}

/// The fit of a model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fit {
    /// How many sessions were generated.
    pub(crate) sessions: u64,
    /// How many of each persona, by name, with its weight.
    pub(crate) personas: Vec<(String, f64, u64)>,
    /// Of the personas, against their weights.
    pub(crate) mix: ChiSquare,
    /// Persona by persona, kind by kind.
    pub(crate) kinds: Vec<KindFit>,
}

/// Generates sessions and compares them with a model, and with the pauses that it was learnt from, where there are any.
///
/// # Errors
/// As [`Sessions::new`].
pub(crate) fn fit(model: &Model, pauses: &Pauses, sessions: u64, seed: u64) -> Result<Fit> {
    let walked = Sessions::new(model, "http://localhost", &HeaderMap::new(), seed)?;
    let names: Vec<&str> = model.kind.keys().map(String::as_str).collect();
    let mut counted = count(&walked, &names, model.persona.len(), sessions);
    let weights: BTreeMap<String, f64> =
        model.persona.iter().map(|(name, persona)| (name.clone(), persona.weight)).collect();
    let generated = model.persona.keys().map(String::as_str).zip(counted.iter().map(|one| one.sessions)).collect();
    let mix = chi_square(&weights, &generated);
    let personas = weights.into_iter().zip(generated.values()).map(|((name, weight), times)| (name, weight, *times));
    let personas = personas.collect();
    let mut kinds = Vec::new();
    for ((name, persona), counted) in model.persona.iter().zip(&mut counted) {
        let end: BTreeMap<String, f64> = [(END.to_owned(), 1.0)].into();
        let begins = std::mem::take(&mut counted.starts);
        let of = |kind: &str, row: &BTreeMap<String, f64>, generated: &BTreeMap<&str, u64>, ks: (f64, f64)| KindFit {
            persona: name.clone(),
            kind: kind.to_owned(),
            generated: generated.values().sum(),
            chi: chi_square(row, generated),
            ks: ks.0,
            ks_chance: ks.1,
        };
        kinds.push(of("", &persona.start, &begins, (0.0, 1.0)));
        for kind in &names {
            let Some(generated) = counted.next.get(kind) else { continue };
            let found = counted.pauses.entry(kind).or_default();
            found.sort_by(f64::total_cmp);
            let learnt = pauses.get(&(name.clone(), (*kind).to_owned()));
            let ks = learnt.map_or((0.0, 1.0), |learnt| kolmogorov_smirnov(learnt, found));
            kinds.push(of(kind, persona.next.get(*kind).unwrap_or(&end), generated, ks));
        }
    }
    Ok(Fit { sessions, personas, mix, kinds })
}

/// What one persona did in generated sessions.
#[derive(Default)]
struct Counted<'n> {
    sessions: u64,
    starts: BTreeMap<&'n str, u64>,
    /// What followed what.
    next: BTreeMap<&'n str, BTreeMap<&'n str, u64>>,
    /// After which pauses.
    pauses: BTreeMap<&'n str, Vec<f64>>,
}

/// What each persona did.
fn count<'n>(walked: &Sessions, names: &[&'n str], personas: usize, sessions: u64) -> Vec<Counted<'n>> {
    let mut all: Vec<Counted<'n>> = std::iter::repeat_with(Counted::default).take(personas).collect();
    for number in 0..sessions {
        let steps = walked.walk(number);
        let counted = &mut all[steps.persona()];
        counted.sessions += 1;
        let mut last: Option<&str> = None;
        for (pause, kind) in steps {
            match last {
                None => *counted.starts.entry(names[kind]).or_default() += 1,
                Some(last) => {
                    *counted.next.entry(last).or_default().entry(names[kind]).or_default() += 1;
                    let pauses = counted.pauses.entry(last).or_default();
                    if pauses.len() < PAUSES_MAX {
                        pauses.push(pause);
                    }
                }
            }
            last = Some(names[kind]);
        }
        if let Some(last) = last {
            *counted.next.entry(last).or_default().entry(END).or_default() += 1;
        }
    }
    all
}

/// Counts against weights.
fn chi_square(row: &BTreeMap<String, f64>, generated: &BTreeMap<&str, u64>) -> ChiSquare {
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
    let freedom = cells.saturating_sub(1);
    ChiSquare { statistic, freedom, chance: chi_square_survival(statistic, freedom) }
}

#[cfg(test)]
mod tests {
    use super::super::learn::{Learnt, learn};
    use super::super::log::Visit;
    use super::super::persona::Sorting;
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
                    marks: Vec::new(),
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

    fn fitted(learnt: &Learnt, sessions: u64) -> Fit {
        fit(&learnt.model, &learnt.pauses, sessions, 5).unwrap()
    }

    /// Two sorts of people: readers go on and on, buyers buy at once. Which is which only a mark says.
    fn crowd() -> Vec<Visit> {
        let mut all = Vec::new();
        for session in 0..4_000_u32 {
            let reader = session % 4 != 0;
            let path: &[&str] = if reader { &["/", "/read", "/read"] } else { &["/", "/buy"] };
            for (step, target) in path.iter().enumerate() {
                all.push(Visit {
                    who: session.to_string(),
                    kind: format!("GET {target}"),
                    method: "GET".into(),
                    target: (*target).to_owned(),
                    at: f64::from(session) * 10.0 + step as f64,
                    took: 0.0,
                    body: None,
                    marks: vec![Some(if reader { "free" } else { "gold" }.to_owned())],
                });
            }
        }
        all
    }

    /// Seed 5.
    #[test]
    fn personas_are_learnt_apart_with_their_weights_and_come_back_in_the_mix() {
        let rules = ["field:plan".to_owned()];
        let learnt = learn(&crowd(), 1800.0, &Sorting::parse(&rules).unwrap());
        let (free, gold) = (&learnt.model.persona["free"], &learnt.model.persona["gold"]);
        assert_eq!((free.weight, gold.weight), (3_000.0, 1_000.0));
        assert!(free.next["GET /"].keys().eq(["GET /read"]) && gold.next["GET /"].keys().eq(["GET /buy"]));
        let found = fitted(&learnt, 4_000);
        assert!(found.mix.chance > 0.001 && found.mix.freedom == 1, "{found:?}");
        assert!(found.kinds.iter().all(|kind| kind.chi.chance > 0.001), "{found:?}");
        // A quarter of 4,000 sessions within three standard errors.
        let bought = found.personas.iter().find(|(name, ..)| name == "gold").unwrap().2 as f64;
        assert!((bought - 1_000.0).abs() < 3.0 * (4_000.0 * 0.25 * 0.75_f64).sqrt(), "{bought}");
        // As one person they would read what only others read, and the mix of sessions would be another one.
        let one = learn(&crowd(), 1800.0, &Sorting::default());
        assert_eq!(one.model.persona["visitor"].next["GET /"].len(), 2);
        // Weights that are none of those that were generated are found out.
        let mut wrong = learnt.model.clone();
        wrong.persona.get_mut("gold").unwrap().weight = 2_000.0;
        let generated = found.personas.iter().map(|(name, _, times)| (name.as_str(), *times)).collect();
        let weights = wrong.persona.iter().map(|(name, persona)| (name.clone(), persona.weight)).collect();
        assert!(chi_square(&weights, &generated).chance < 0.001);
    }

    /// Seeds 77 (the known generator) and 5 (the model that learnt from it).
    #[test]
    fn a_learnt_model_makes_the_transitions_that_it_learnt_from() {
        let visits = visits(20_000);
        let learnt = learn(&visits, 1800.0, &Sorting::default());
        assert_eq!(learnt.sessions, 20_000);
        let walked = Sessions::new(&learnt.model, "http://localhost", &HeaderMap::new(), 5).unwrap();
        let names: Vec<&str> = learnt.model.kind.keys().map(String::as_str).collect();
        let counts = &count(&walked, &names, 1, 20_000)[0].next;
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
        let fit = fitted(&learnt, 20_000);
        for kind in &fit.kinds {
            assert!(kind.chi.chance > 0.001 && kind.ks_chance > 0.001, "{kind:?}");
        }
    }

    #[test]
    fn a_wrong_model_is_found_out() {
        let mut learnt = learn(&visits(5_000), 1800.0, &Sorting::default());
        let right = fitted(&learnt, 5_000);
        assert!(right.kinds.iter().all(|kind| kind.chi.chance > 0.001));
        // Pauses of another kind.
        for pauses in learnt.pauses.values_mut() {
            pauses.iter_mut().for_each(|pause| *pause *= 1.2);
        }
        let wrong = fitted(&learnt, 5_000);
        assert!(
            wrong.kinds.iter().filter(|kind| !kind.kind.is_empty()).all(|kind| kind.ks_chance < 0.001),
            "{wrong:?}"
        );
    }

    #[test]
    fn the_same_seed_gives_the_same_sessions() {
        let learnt = learn(&visits(200), 1800.0, &Sorting::default());
        let walk = |seed: u64| -> Vec<(f64, usize)> {
            let walked = Sessions::new(&learnt.model, "http://localhost", &HeaderMap::new(), seed).unwrap();
            (0..50).flat_map(|number| walked.walk(number).collect::<Vec<_>>()).collect()
        };
        assert_eq!(walk(1), walk(1));
        assert_ne!(walk(1), walk(2));
    }
}
