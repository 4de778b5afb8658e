//! What a report reads: the streams of its own environments, and no others. The rest of a long history costs nothing.

mod board;
mod one;

pub use board::dashboard;
pub(crate) use one::latest;
pub use one::rollout;
