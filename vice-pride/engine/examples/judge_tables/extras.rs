//! x
use crate::Size;
pub(crate) fn table(_: Size) {}
