//! The conditions of rules: CEL, the language of Kubernetes' admission policies, over one event.
//!
//! Reading and evaluating are our own, because a condition has to be stopped by what it costs and not by a clock: the same
//! event then gets the same answer on every machine and in every replay. What is read is limited in bytes, nesting and
//! nodes, what is evaluated in steps ([`eval::COST_MAX`]). The tests compare the answers with those of another implementation.
//!
//! Not there: bytes, unsigned literals, `type()`, messages. More than the language: numbers of different kinds may be
//! added, because JSON does not tell 1 from 1.0. It must not read the clock, the log or anything but its arguments.

mod calls;
mod doc;
mod eval;
mod parse;
#[cfg(test)]
mod tests;
mod token;
mod value;

pub(crate) use doc::Doc;
pub(crate) use eval::Stop;
pub(crate) use parse::{Func, Node, Op};
pub(crate) use value::Val;

/// The longest expression, in bytes.
pub(crate) const BYTES_MAX: usize = 4096;

/// The deepest nesting of brackets, calls and signs.
pub(crate) const NESTING_MAX: usize = 24;

/// The most parts of one expression: so many frames an evaluation needs at most.
pub(crate) const NODES_MAX: usize = 256;

/// What is wrong with an expression, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slip {
    /// The byte in the expression.
    pub(crate) at: usize,
    /// A whole sentence.
    pub(crate) why: String,
}

impl Slip {
    pub(crate) fn new(at: usize, why: impl Into<String>) -> Self {
        Self { at, why: why.into() }
    }
}

/// Where an expression gets its names from.
pub(crate) trait Roots {
    /// The value of the name with this index among those that the expression was read with.
    fn root(&self, index: usize) -> Result<Val<'_>, Stop<'_>>;
}

/// An expression that was read.
#[derive(Debug, Clone)]
pub(crate) struct Cel {
    node: Node,
}

impl Cel {
    /// Reads an expression that may use these names.
    pub(crate) fn read(text: &str, names: &[&str]) -> Result<Self, Slip> {
        parse::parse(text, names).map(|node| Self { node })
    }

    /// The value for these roots.
    pub(crate) fn value<'a>(&'a self, roots: &'a dyn Roots) -> Result<Val<'a>, Stop<'a>> {
        eval::value(&self.node, roots)
    }

    /// Whether it holds; anything but a boolean is an error.
    pub(crate) fn holds<'a>(&'a self, roots: &'a dyn Roots) -> Result<bool, Stop<'a>> {
        match self.value(roots)? {
            Val::Bool(is) => Ok(is),
            _ => Err(Stop::Wrong("a condition has to be true or false")),
        }
    }

    /// The tree.
    pub(crate) fn node(&self) -> &Node {
        &self.node
    }
}
