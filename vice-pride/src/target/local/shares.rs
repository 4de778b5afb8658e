//! How traffic is split: from units and weights to a share for each unit.

use std::collections::BTreeMap;

use vice_core::payload::version_in;
use vice_core::port::target::{Weight, WeightTable};
use vice_core::{Code, Fault, Result};

/// All shares together, in basis points.
const WHOLE: u32 = 10_000;

/// Divisible by every number of units up to ten, so that their shares come out even.
const FINENESS: u32 = 2_520;

/// A unit that could get traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    /// The full name of its release.
    pub(super) release: String,
    pub(super) healthy: bool,
    pub(super) drained: bool,
}

/// The entry of a table that is about a release: its own, or that of its version.
fn entry<'t>(table: &'t WeightTable, release: &str) -> Option<&'t Weight> {
    let named = |name: &str| table.weights.iter().find(|weight| weight.version == name);
    named(release).or_else(|| named(version_in(release)))
}

/// The weight of each unit, in the same order. A version's share is split among its healthy units; without a table,
/// or when it gives nothing to what is there, all units are equal.
pub(super) fn weights(units: &[Candidate], table: Option<&WeightTable>) -> Vec<u32> {
    let in_rotation = |unit: &Candidate| !unit.drained;
    let of = |unit: &Candidate| table.and_then(|table| entry(table, &unit.release));
    let mut counts: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    for unit in units.iter().filter(|unit| in_rotation(unit)) {
        let Some(weight) = of(unit) else { continue };
        let count = counts.entry(&weight.version).or_default();
        count.0 += 1;
        count.1 += u32::from(unit.healthy);
    }
    let share = |unit: &Candidate| {
        let weight = of(unit)?;
        let (all, healthy) = counts.get(weight.version.as_str())?;
        let among = if *healthy > 0 { *healthy } else { *all };
        Some(weight.basis_points.min(WHOLE) * FINENESS / among.max(1))
    };
    let shares: Vec<u32> =
        units.iter().map(|unit| if in_rotation(unit) { share(unit).unwrap_or(0) } else { 0 }).collect();
    if shares.iter().any(|share| *share > 0) {
        return shares;
    }
    units.iter().map(|unit| u32::from(in_rotation(unit))).collect()
}

/// The table that says what happens without one: each version gets what its units make up.
pub(super) fn implied(versions: &[String]) -> Vec<Weight> {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for version in versions {
        *counts.entry(version).or_default() += 1;
    }
    let all = u32::try_from(versions.len()).unwrap_or(u32::MAX).max(1);
    let mut left = if versions.is_empty() { 0 } else { WHOLE };
    let mut weights: Vec<Weight> = Vec::new();
    for (version, count) in counts {
        let basis_points = WHOLE / all * count;
        left -= basis_points;
        weights.push(Weight { version: version.to_owned(), basis_points });
    }
    if let Some(first) = weights.first_mut() {
        first.basis_points += left;
    }
    weights
}

/// Refuses a table that does not add up or names a version that is not there. An empty one ends the split.
pub(super) fn check(table: &WeightTable, versions: &std::collections::BTreeSet<String>) -> Result<()> {
    if table.weights.is_empty() {
        return Ok(());
    }
    let sum: u64 = table.weights.iter().map(|weight| u64::from(weight.basis_points)).sum();
    if sum != u64::from(WHOLE) {
        return Err(Fault::new(Code::Usage, format!("The weights add up to {sum} basis points."))
            .hint(format!("All together must be {WHOLE}.")));
    }
    let mut seen = std::collections::BTreeSet::new();
    for weight in &table.weights {
        let shown: String = weight.version.chars().take(80).collect();
        if !versions.contains(weight.version.as_str()) {
            let known = versions.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(Fault::new(Code::Usage, format!("No unit runs version {shown:?}, so it can't get traffic."))
                .hint(format!("Running: {known}.")));
        }
        if !seen.insert(&weight.version) {
            return Err(Fault::new(Code::Usage, format!("Version {shown:?} has two weights.")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(version: &str) -> Candidate {
        Candidate { release: version.to_owned(), healthy: true, drained: false }
    }

    fn table(weights: &[(&str, u32)]) -> WeightTable {
        let weight = |(version, basis_points): &(&str, u32)| Weight {
            version: (*version).to_owned(),
            basis_points: *basis_points,
        };
        WeightTable { epoch: 1, weights: weights.iter().map(weight).collect() }
    }

    #[test]
    fn a_share_is_split_among_the_healthy_units_of_a_version() {
        let mut units = vec![unit("1"), unit("1"), unit("1"), unit("2")];
        let split = weights(&units, Some(&table(&[("1", 9000), ("2", 1000)])));
        assert_eq!(split[0] * 3, split[3] * 9);
        units[0].healthy = false;
        let split = weights(&units, Some(&table(&[("1", 9000), ("2", 1000)])));
        assert_eq!(split[1] * 2, split[3] * 9);
        units[3].drained = true;
        assert_eq!(weights(&units, None), [1, 1, 1, 0]);
    }

    #[test]
    fn a_table_that_gives_nothing_to_what_is_there_is_not_followed() {
        assert_eq!(weights(&[unit("3"), unit("3")], Some(&table(&[("1", 10_000)]))), [1, 1]);
        assert_eq!(weights(&[unit("1"), unit("3")], Some(&table(&[("1", 10_000)]))), [25_200_000, 0]);
        assert!(weights(&[], None).is_empty());
    }

    #[test]
    fn two_releases_of_one_version_have_shares_of_their_own() {
        let units = [unit("1~aa"), unit("1~aa"), unit("1~bb")];
        let split = weights(&units, Some(&table(&[("1~aa", 9000), ("1~bb", 1000)])));
        assert_eq!(split[0] * 2, split[2] * 9);
        let all = weights(&units, Some(&table(&[("1", 10_000)])));
        assert!(all[0] > 0 && all[0] == all[2], "what is said of a version is said of all its releases: {all:?}");
        assert_eq!(weights(&[unit("1~aa"), unit("2~cc")], Some(&table(&[("1", 9_000), ("2", 1_000)])))[1], 2_520_000);
    }

    #[test]
    fn implied_weights_always_add_up() {
        for versions in [vec!["1"; 3], vec!["1", "2", "3"], vec!["1", "1", "1", "2", "2", "3", "3"]] {
            let versions: Vec<String> = versions.into_iter().map(str::to_owned).collect();
            assert_eq!(implied(&versions).iter().map(|weight| weight.basis_points).sum::<u32>(), WHOLE);
        }
        assert!(implied(&[]).is_empty());
    }

    #[test]
    fn tables_that_make_no_sense_are_refused() {
        let running = ["1".to_owned(), "2".to_owned()].into();
        for bad in [vec![("1", 9999)], vec![("1", 5000), ("3", 5000)], vec![("1", 5000), ("1", 5000)]] {
            assert_eq!(check(&table(&bad), &running).unwrap_err().code(), Code::Usage, "{bad:?}");
        }
        check(&table(&[("1", 0), ("2", 10_000)]), &running).unwrap();
        check(&table(&[]), &running).unwrap();
    }
}
