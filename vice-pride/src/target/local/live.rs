//! The file in which a process finds its configuration while it runs: a JSON object of its variables, for services that
//! take up another configuration without being replaced. Readable by its owner only; it carries the values of secrets.

use std::collections::{BTreeMap, BTreeSet};

use vice_core::port::target::Workload;
use vice_core::{Code, Context, Result};

use super::layout::{Layout, write_durably};
use super::state::State;

/// The variable that names the file.
pub(super) const FILE_VARIABLE: &str = "VICE_CONFIG_FILE";
/// The variable with the full name of the release.
pub(super) const RELEASE_VARIABLE: &str = "VICE_RELEASE";

/// What stands in the file.
pub(super) fn document(workload: &Workload) -> Result<Vec<u8>> {
    let release = workload.release.full_name();
    let mut values: BTreeMap<&str, &str> =
        workload.environment.iter().map(|(name, value)| (name.as_str(), value.reveal())).collect();
    values.insert(RELEASE_VARIABLE, &release);
    let mut bytes = serde_json::to_vec_pretty(&values)
        .context(Code::Internal, || "A configuration can't be encoded.".to_owned())?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Replaces the configuration of a process in one step.
pub(super) fn write(layout: &Layout, generation: u64, workload: &Workload) -> Result<()> {
    write_durably(&layout.live(generation), &document(workload)?)
}

/// Whether the file has what the release says; what can't be read has not.
pub(super) fn is_current(layout: &Layout, generation: u64, workload: &Workload) -> bool {
    let wanted = document(workload).ok();
    wanted.is_some() && std::fs::read(layout.live(generation)).ok() == wanted
}

/// Removes the file of a process that is gone, if it had one.
pub(super) fn remove(layout: &Layout, generation: u64) {
    std::fs::remove_file(layout.live(generation)).ok();
}

/// Removes the files of processes that are none of the units' any more.
pub(super) fn prune(layout: &Layout, state: &State) {
    let current = state.units.values().filter_map(|unit| unit.current.as_ref());
    let kept: BTreeSet<u64> = current.chain(&state.loose).map(|record| record.generation).collect();
    let Ok(entries) = std::fs::read_dir(layout.lives()) else { return };
    let generations = entries.flatten().filter_map(|entry| entry.path().file_stem()?.to_str()?.parse::<u64>().ok());
    generations.filter(|generation| !kept.contains(generation)).for_each(|generation| remove(layout, generation));
}
