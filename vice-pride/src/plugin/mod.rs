//! Targets that are programs of somebody else. How such a program is found, asked and ended is `vice-plugin`'s; what the
//! calls of a target mean is in `wire`.

mod target;
mod wire;

#[cfg(test)]
mod tests;

pub use target::PluginTarget;
