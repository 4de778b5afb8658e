//! Reads the environment of the process: the only place that does.

use std::collections::BTreeMap;
use std::path::PathBuf;

use vice_core::app::ProcessEnv;
use vice_core::{Code, Context, Result};

/// The variables alone: they are needed to read the command line, which says the rest.
pub(crate) fn variables() -> ProcessEnv {
    let vars: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    ProcessEnv { vars, ..ProcessEnv::default() }
}

/// Adds the working folder (moved by `-C`), the binary, the machine and the user to the variables.
#[expect(clippy::disallowed_methods, reason = "the environment is read here once and is an argument everywhere else")]
pub(crate) fn read(variables: ProcessEnv, change_dir: Option<&PathBuf>) -> Result<ProcessEnv> {
    let vars = variables.vars;
    let here = std::env::current_dir().context(Code::Io, || "The working folder can't be read.".to_owned())?;
    let dir = match change_dir {
        Some(dir) => {
            here.join(dir).canonicalize().context(Code::Usage, || format!("There is no folder {}.", dir.display()))?
        }
        None => here,
    };
    let exe = std::env::current_exe().context(Code::Io, || "The path of this program can't be found.".to_owned())?;
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let user = ["USER", "LOGNAME"]
        .iter()
        .find_map(|key| vars.get(*key).filter(|user| !user.is_empty()).cloned())
        .unwrap_or_else(user_by_id);
    Ok(ProcessEnv { vars, dir, exe, host: name, user })
}

/// The login name of the effective user, from the password file; the number when it is not listed there.
fn user_by_id() -> String {
    let id = rustix::process::geteuid().as_raw().to_string();
    let listed = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = listed.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == id).then(|| name.to_owned())
    });
    found.unwrap_or(id)
}
