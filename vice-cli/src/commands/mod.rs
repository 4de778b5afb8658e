//! The commands that belong to none of the seven.

pub(crate) mod doctor;
pub(crate) mod external;
pub(crate) mod init;
pub(crate) mod offline;
pub(crate) mod plugin;
pub(crate) mod tick;
