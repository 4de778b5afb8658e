//! Recordings: what passed between clients and a server, as a file.
//!
//! It owns the format, the proxy that makes recordings, what is masked in them, and HAR. It must not send anything on its
//! own: replaying is another module. A secret is masked before it reaches the disk.

mod body;
mod exchange;
mod file;
mod har;
mod mask;
mod proxy;
mod read;
mod tap;
mod write;

pub(crate) use body::Body;
#[cfg(test)]
pub(crate) use exchange::Answer;
pub(crate) use exchange::{Asked, Exchange, media_type, values};
pub(crate) use har::to_har;
pub(crate) use mask::{Mask, MaskRules, fits};
pub(crate) use proxy::{Proxy, ProxyOptions, Served};
pub(crate) use read::{Recording, read};
pub(crate) use write::save;
