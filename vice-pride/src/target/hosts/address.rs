//! One host as people write it: `web1`, `deploy@10.0.0.5:2222`, `[fe80::1]:22`, or with a name of its own in front,
//! `web1=deploy@10.0.0.5`. What comes out of here is safe to be an argument of ssh and a part of a unit's name.

use std::fmt;

/// The longest name or address, in bytes: that of DNS.
const LENGTH_MAX: usize = 253;

/// A host of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// What it is called: its unit has this name.
    pub name: String,
    /// How it is reached.
    pub address: Address,
}

/// How a host is reached; what is absent is up to ssh's own configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// A name or an address: what ssh is called with.
    pub host: String,
    /// The user.
    pub user: Option<String>,
    /// The port of the ssh server.
    pub port: Option<u16>,
    /// A file with a private key.
    pub key: Option<String>,
}

impl Host {
    /// Reads a host.
    ///
    /// # Errors
    /// A text that says what is wrong, without a full stop.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (name, rest) = match text.split_once('=') {
            Some((name, rest)) => (Some(name.trim()), rest.trim()),
            None => (None, text),
        };
        let rest = rest.strip_prefix("ssh://").unwrap_or(rest).trim_end_matches('/');
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, rest)) => (Some(user.to_owned()), rest),
            None => (None, rest),
        };
        let (host, port) = host_and_port(rest)?;
        let name = name.map_or_else(|| host.replace(':', "-"), str::to_owned);
        Self::new(name, Address { host, user, port, key: None })
    }

    /// A host of these parts, checked.
    ///
    /// # Errors
    /// As [`Host::parse`].
    pub fn new(name: String, address: Address) -> Result<Self, String> {
        let shown = |text: &str| text.chars().take(80).collect::<String>();
        let starts = |text: &str| text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if !starts(&name) || name.len() > 60 || !name.bytes().all(plain) {
            return Err(format!(
                "{:?} can't be the name of a unit, which has up to 60 letters, digits, dots, - and _",
                shown(&name)
            ));
        }
        let fine = |byte: u8| plain(byte) || matches!(byte, b':' | b'%');
        let begins = starts(&address.host) || address.host.starts_with(':');
        if !begins || address.host.len() > LENGTH_MAX || !address.host.bytes().all(fine) {
            return Err(format!("{:?} is neither a host's name nor an address", shown(&address.host)));
        }
        if let Some(user) = &address.user {
            check_user(user)?;
        }
        if address.port == Some(0) {
            return Err(format!("{name:?} has the port 0"));
        }
        Ok(Self { name, address })
    }
}

/// A user's name is an argument of ssh.
pub(crate) fn check_user(user: &str) -> Result<(), String> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'+' | b'@');
    if !user.is_empty() && user.len() <= 100 && !user.starts_with('-') && user.bytes().all(fine) {
        return Ok(());
    }
    Err(format!("{:?} can't be a user", user.chars().take(80).collect::<String>()))
}

fn host_and_port(text: &str) -> Result<(String, Option<u16>), String> {
    let port = |port: &str| port.parse().map(Some).map_err(|_| format!("{port:?} is no port"));
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or_else(|| format!("{text:?} has no closing bracket"))?;
        return match rest.strip_prefix(':') {
            Some(number) => Ok((host.to_owned(), port(number)?)),
            None if rest.is_empty() => Ok((host.to_owned(), None)),
            None => Err(format!("{text:?} goes on after its bracket")),
        };
    }
    match text.split_once(':') {
        // More than one colon without brackets is an address of IPv6.
        Some((_, rest)) if rest.contains(':') => Ok((text.to_owned(), None)),
        Some((host, number)) => Ok((host.to_owned(), port(number)?)),
        None => Ok((text.to_owned(), None)),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.port {
            Some(port) if self.host.contains(':') => write!(f, "[{}]:{port}", self.host),
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_as_people_write_them() {
        let read = |text: &str| Host::parse(text).map(|host| (host.name, host.address.to_string()));
        for (text, name, address) in [
            ("web1", "web1", "web1"),
            ("deploy@10.0.0.5:2222", "10.0.0.5", "deploy@10.0.0.5:2222"),
            ("ssh://ada@web1:22/", "web1", "ada@web1:22"),
            ("[fe80::1%eth0]:22", "fe80--1%eth0", ""),
            ("edge=[2001:db8::1]:22", "edge", "[2001:db8::1]:22"),
            ("edge = ada@2001:db8::1", "edge", "ada@2001:db8::1"),
        ] {
            match read(text) {
                Ok(found) => assert_eq!(found, (name.to_owned(), address.to_owned()), "{text}"),
                Err(why) => assert!(address.is_empty() && why.contains("name of a unit"), "{text}: {why}"),
            }
        }
    }

    #[test]
    fn what_would_be_an_option_or_a_command_is_refused() {
        for text in [
            "",
            "-oProxyCommand=id",
            "web1;id",
            "$(id)",
            "a b",
            "../x",
            "-x@web1",
            "web1:70000",
            "web1:0",
            "[::1",
            "[::1]x",
            "a=-oX",
            "a/b=web1",
            "web1\n",
        ] {
            let read = Host::parse(text);
            assert!(read.is_err() || text == "web1\n", "{text:?}: {read:?}");
        }
    }
}
