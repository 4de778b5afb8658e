//! greed stores and processes events: the one history on SQLite, observations beside it, backups, and the commands to
//! look at all of it.

mod backup;
pub mod cmd;
mod series;
mod sqlite;

pub use series::SqliteSeries;
pub use sqlite::{FORMAT, SqliteStore};
