//! greed stores and processes events: the one history on SQLite, as JSON lines or in PostgreSQL, observations beside it,
//! backups, and the commands to look at all of it.

mod aggregate;
mod archive;
mod audit;
mod backup;
mod binding;
mod bridge;
#[cfg(feature = "s3")]
mod bucket;
pub mod cmd;
mod copy;
mod decide;
mod desk;
mod disk;
mod emit;
mod endpoint;
mod gaps;
#[cfg(feature = "jsonl")]
mod git;
pub mod ingest;
#[cfg(feature = "jsonl")]
mod jsonl;
#[cfg(feature = "kafka")]
mod kafka;
pub mod listener;
#[cfg(feature = "nats")]
mod nats;
mod place;
#[cfg(feature = "jsonl")]
pub mod plugin;
#[cfg(feature = "postgres")]
mod postgres;
mod prepared;
mod refused;
#[cfg(feature = "remote")]
mod remote;
pub mod rules;
#[cfg(all(feature = "s3", feature = "jsonl"))]
mod s3;
mod secrets;
mod series;
pub mod service;
#[cfg(feature = "jsonl")]
mod shared;
mod sqlite;
mod strict;
#[cfg(any(feature = "postgres", feature = "kafka"))]
mod tls;
mod window;
mod witness;

#[cfg(test)]
mod tests;

#[cfg(feature = "jsonl")]
pub use git::GitPlace;
#[cfg(feature = "jsonl")]
pub use jsonl::JsonlStore;
#[cfg(feature = "nats")]
pub use nats::NatsPlace;
pub use place::{Notices, Opening, StorePlace};
#[cfg(feature = "postgres")]
pub use postgres::{PostgresSeries, PostgresStore};
pub use refused::configured;
#[cfg(feature = "remote")]
pub use remote::{RemotePlace, RemoteStore};
pub use series::SqliteSeries;
pub use sqlite::{FORMAT, SqliteStore};
