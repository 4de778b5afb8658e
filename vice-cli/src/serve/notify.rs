//! Telling systemd how the service is (`sd_notify`), where it asks for that.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

use vice_core::app::ProcessEnv;

/// Sends a state such as `READY=1`. Nobody waits for it where there is no systemd, and a service that can't say that it is
/// up is still up.
pub(crate) fn tell(env: &ProcessEnv, state: &str) {
    let Some(name) = env.get("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(name, state) {
        tracing::warn!(%error, "systemd could not be told {state}");
    }
}

fn send(name: &str, state: &str) -> std::io::Result<()> {
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name.as_bytes())?,
        None => SocketAddr::from_pathname(Path::new(std::ffi::OsStr::from_bytes(name.as_bytes())))?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_hears_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let vars = [("NOTIFY_SOCKET".to_owned(), path.display().to_string())].into_iter().collect();
        tell(&ProcessEnv { vars, ..ProcessEnv::default() }, "READY=1");
        let mut heard = [0; 32];
        let length = socket.recv(&mut heard).unwrap();
        assert_eq!(&heard[..length], b"READY=1");
        tell(&ProcessEnv::default(), "READY=1");
    }
}
