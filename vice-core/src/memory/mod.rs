//! In-memory backends: for tests, for simulations, and as the reference that the conformance suites are written against.

mod event_store;
mod prober;
mod rules;
mod series_store;
pub mod target;

pub use event_store::MemoryEventStore;
pub use prober::NoProber;
pub use series_store::{MemorySeriesStore, POINTS_MAX};
