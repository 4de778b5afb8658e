//! What the URLs of brokers have in common: servers by host and port, and whether the connection is encrypted.

/// A host with its port; none where the text names no server.
pub(crate) fn server(text: &str, default_port: u16) -> Option<String> {
    // The colons of an address in brackets are its own.
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse::<u16>().ok()?),
        _ => (text, default_port),
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_[]:%".contains(&byte);
    let sound = !host.is_empty() && host.len() <= 255 && port != 0 && host.bytes().all(fits);
    sound.then(|| format!("{host}:{port}"))
}

/// Whether a host, with or without its port, is this machine: connections to it need no encryption.
pub(crate) fn is_local(server: &str) -> bool {
    let is = |host: &str| server.strip_prefix(host).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'));
    is("localhost") || is("[::1]") || server.starts_with("127.")
}

/// Whether the connection is encrypted, where a query such as `tls=off` may say so.
///
/// # Errors
/// The name of a parameter that means nothing, cut short.
pub(crate) fn tls(query: &str, otherwise: bool) -> Result<bool, String> {
    query.split('&').filter(|pair| !pair.is_empty()).try_fold(otherwise, |_, pair| match pair {
        "tls=off" => Ok(false),
        "tls=require" => Ok(true),
        _ => Err(pair.split('=').next().unwrap_or_default().chars().take(40).collect()),
    })
}
