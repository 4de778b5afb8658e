//! The name of an image, as container runtimes read it. Pure.

use vice_core::host::{is_loopback, without_port};

/// The registry of names that have none.
const DEFAULT_HOST: &str = "docker.io";
/// Where that one answers.
const DEFAULT_API: &str = "registry-1.docker.io";
/// The longest name, beyond any that a registry takes.
const NAME_MAX: usize = 512;

/// A name in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ImageName {
    /// The registry, such as `docker.io` or `localhost:5000`.
    pub(super) host: String,
    /// What it has there, such as `library/nginx`.
    pub(super) path: String,
    /// `latest` where none is written.
    pub(super) tag: String,
    /// Such as `sha256:…`, where it is written.
    pub(super) digest: Option<String>,
}

impl ImageName {
    /// Reads a name; none for what is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() > NAME_MAX {
            return None;
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) if is_digest(digest) => (name, Some(digest.to_owned())),
            Some(_) => return None,
            None => (text, None),
        };
        let (name, tag) = match name.rsplit_once(':') {
            // A colon before a slash is that of a port.
            Some((name, tag)) if !tag.contains('/') => (name, tag),
            _ => (name, "latest"),
        };
        let (host, path) = match name.split_once('/') {
            Some((host, path)) if is_host(host) => (host, path.to_owned()),
            Some(_) => (DEFAULT_HOST, name.to_owned()),
            None => (DEFAULT_HOST, format!("library/{name}")),
        };
        let host = if host == "index.docker.io" { DEFAULT_HOST } else { host };
        let sound = path.split('/').all(is_component) && is_tag(tag) && host_is_sound(host);
        sound.then(|| Self { host: host.to_owned(), path, tag: tag.to_owned(), digest })
    }

    /// Where the registry answers, as `https://registry.example`.
    pub(super) fn api(&self) -> String {
        let host = if self.host == DEFAULT_HOST { DEFAULT_API } else { self.host.as_str() };
        // A registry on this machine has no certificate, and nobody is in between.
        let scheme = if is_loopback(without_port(host)) { "http" } else { "https" };
        format!("{scheme}://{host}")
    }
}

/// A digest as registries give it.
pub(super) fn is_digest(text: &str) -> bool {
    let hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
    };
    text.strip_prefix("sha256:").is_some_and(|rest| hex(rest, 64))
        || text.strip_prefix("sha512:").is_some_and(|rest| hex(rest, 128))
}

/// Whether the first part of a name is a host, and not the first part of a path.
fn is_host(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':'])
}

fn host_is_sound(host: &str) -> bool {
    let (name, port) = (without_port(host), &host[without_port(host).len()..]);
    let port_is_sound = port.is_empty() || port[1..].parse::<u16>().is_ok_and(|port| port > 0);
    let name_is_sound = match name.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok()),
        None => {
            let label = |label: &str| {
                let plain = label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
                plain && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
            };
            name.split('.').all(label)
        }
    };
    port_is_sound && name_is_sound
}

/// Lower case letters and digits, with `.`, `_`, `__` or dashes in between.
fn is_component(part: &str) -> bool {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = part.as_bytes();
    let ends = bytes.first().copied().is_some_and(plain) && bytes.last().copied().is_some_and(plain);
    let between = |run: &[u8]| run.iter().all(|c| *c == b'-') || matches!(run, b"." | b"_" | b"__");
    ends && bytes.split(|c| plain(*c)).filter(|run| !run.is_empty()).all(between)
}

fn is_tag(tag: &str) -> bool {
    let word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    let bytes = tag.as_bytes();
    bytes.len() <= 128
        && bytes.first().copied().is_some_and(word)
        && bytes.iter().all(|c| word(*c) || matches!(c, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_runtimes_read_them() {
        let digest = format!("sha256:{}", "0f".repeat(32));
        let whole = format!("registry.example:5000/team/shop_web:1.4.2-rc.1@{digest}");
        for (text, host, path, tag, api) in [
            ("nginx", "docker.io", "library/nginx", "latest", "https://registry-1.docker.io"),
            ("team/shop:2", "docker.io", "team/shop", "2", "https://registry-1.docker.io"),
            ("index.docker.io/team/shop:2", "docker.io", "team/shop", "2", "https://registry-1.docker.io"),
            ("ghcr.io/a/b/c", "ghcr.io", "a/b/c", "latest", "https://ghcr.io"),
            ("localhost:5000/shop:1", "localhost:5000", "shop", "1", "http://localhost:5000"),
            ("127.0.0.1:5000/shop:1", "127.0.0.1:5000", "shop", "1", "http://127.0.0.1:5000"),
            ("[::1]:5000/shop:1", "[::1]:5000", "shop", "1", "http://[::1]:5000"),
            (&whole, "registry.example:5000", "team/shop_web", "1.4.2-rc.1", "https://registry.example:5000"),
        ] {
            let name = ImageName::parse(text).unwrap_or_else(|| panic!("{text}"));
            let parts = (name.host.as_str(), name.path.as_str(), name.tag.as_str(), name.api());
            assert_eq!(parts, (host, path, tag, api.to_owned()), "{text}");
            assert_eq!(name.digest.is_some(), text.contains('@'));
        }
    }

    #[test]
    fn what_leads_elsewhere_is_no_name() {
        for text in [
            "",
            "-shop",
            "shop/../../v2",
            "shop:",
            ":1",
            "shop:1:2",
            "shop?x",
            "shop#x",
            "shop%2f",
            "user@host/shop",
            "a.b:x/shop",
            "a.b:99999/shop",
            "-a.b/shop",
            "a..b/shop",
            "[::zz]:1/shop",
            "shop@sha256:abc",
            "shop:tag/",
            "Shop",
            "shop___x",
            "https://a.b/shop",
            "ä.b/shop",
        ] {
            assert_eq!(ImageName::parse(text), None, "{text}");
        }
        assert_eq!(ImageName::parse(&"a".repeat(NAME_MAX + 1)), None);
    }
}
