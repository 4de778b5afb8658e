//! Keeps the terminal from writing `^C` into the drawing. The mark would move the cursor by a line, so that the next
//! drawing would leave the old one standing.

use std::io::{self, IsTerminal};

use rustix::process::getpgrp;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcgetpgrp, tcsetattr};

/// While this lives, control characters are not shown when they are typed.
#[derive(Debug)]
pub(crate) struct NoEcho(());

impl NoEcho {
    /// None when there is nothing to switch off: no terminal, one that belongs to somebody else, or off already.
    pub(crate) fn begin() -> Option<Self> {
        switch(false).then_some(Self(()))
    }
}

impl Drop for NoEcho {
    fn drop(&mut self) {
        switch(true);
    }
}

/// Switches the marks on or off; whether that changed anything.
fn switch(on: bool) -> bool {
    let terminal = io::stdin();
    // A process in the background would be stopped for touching the terminal.
    if !terminal.is_terminal() || tcgetpgrp(&terminal).ok() != Some(getpgrp()) {
        return false;
    }
    let Ok(mut state) = tcgetattr(&terminal) else { return false };
    if state.local_modes.contains(LocalModes::ECHOCTL) == on {
        return false;
    }
    state.local_modes.set(LocalModes::ECHOCTL, on);
    tcsetattr(&terminal, OptionalActions::Now, &state).is_ok()
}

/// While this lives, nothing that is typed is shown.
#[derive(Debug)]
pub(crate) struct Hidden(rustix::termios::Termios);

impl Hidden {
    /// # Errors
    /// When standard input is no terminal that can do so.
    pub(crate) fn begin() -> io::Result<Self> {
        let terminal = io::stdin();
        let before = tcgetattr(&terminal)?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        hidden.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(&terminal, OptionalActions::Flush, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(io::stdin(), OptionalActions::Now, &self.0) {
            tracing::debug!(%error, "the terminal is gone");
        }
    }
}
