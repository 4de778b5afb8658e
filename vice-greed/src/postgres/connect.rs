//! From the URL of a history to a connection: user, password, TLS, and what a session must be set to.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;
use vice_core::app::ProcessEnv;
use vice_core::{Code, Digest, Fault, Result};

use super::errors;
use crate::tls;

/// The oldest server that is tried.
const VERSION_MIN: i32 = 120_000;

const CONNECT: Duration = Duration::from_secs(10);

/// The most bytes of a file with passwords.
const PASSFILE_BYTES_MAX: u64 = 1024 * 1024;

/// Where a history is, with what it takes to get there.
pub(crate) struct Target {
    config: Config,
    pub(crate) schema: String,
    /// For people: without password and options.
    pub(crate) shown: String,
    pub(crate) user: String,
    root: Option<PathBuf>,
}

/// What drives a connection.
pub(crate) type Driver = Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

impl Target {
    /// # Errors
    /// `Usage` for a URL that makes no sense.
    pub(crate) fn parse(text: &str, env: &ProcessEnv) -> Result<Self> {
        let mut url = url::Url::parse(text)
            .map_err(|error| Fault::new(Code::Usage, "The URL of the PostgreSQL history is none.").because(error))?;
        let (mut schema, mut root, mut verified, mut kept) = ("vice".to_owned(), None, false, Vec::new());
        for (key, value) in url.query_pairs().into_owned().collect::<Vec<_>>() {
            match (&*key, &*value) {
                ("schema", _) => schema = checked_schema(value)?,
                ("sslrootcert", _) => root = Some(env.dir.join(value)),
                ("sslmode", "verify-full" | "verify-ca") => verified = true,
                _ => kept.push((key, value)),
            }
        }
        url.set_query(None);
        if !kept.is_empty() {
            let query =
                url.query_pairs_mut().clear().extend_pairs(&kept).finish().query().unwrap_or_default().to_owned();
            // The other reader of this query knows no plus for a space.
            url.set_query(Some(&query.replace('+', "%20")));
        }
        let mut config: Config = url.as_str().parse().map_err(|error: tokio_postgres::Error| {
            Fault::new(Code::Usage, "The URL of the PostgreSQL history has a part that means nothing.")
                .because(error)
                .hint("Parameters are schema, sslmode, sslrootcert, connect_timeout, and those of tokio-postgres.")
        })?;
        let named = kept.iter().any(|(key, _)| key == "sslmode");
        complete(&mut config, env);
        // A certificate is always checked; a server elsewhere has to have one unless the URL says otherwise.
        if verified || (!named && !is_local(&config)) {
            config.ssl_mode(SslMode::Require);
        } else if !named {
            config.ssl_mode(SslMode::Disable);
        }
        let user = config.get_user().unwrap_or_default().to_owned();
        let shown = shown(&config, &schema);
        Ok(Self { config, schema, shown, user, root })
    }

    /// A name for files on this machine that belong to the history.
    pub(crate) fn name(&self) -> String {
        Digest::of(self.shown.as_bytes()).short()
    }

    /// The name of the channel that appends are announced on.
    pub(crate) fn channel(&self) -> String {
        format!("vice_{}", self.schema)
    }

    #[expect(clippy::needless_pass_by_value, reason = "it is given to map_err, which hands the error over")]
    pub(crate) fn fault(&self, error: tokio_postgres::Error) -> Fault {
        errors::working(&error, &self.shown, &self.user)
    }

    /// A connection and what drives it; whoever calls this runs the driver.
    ///
    /// # Errors
    /// `Unreachable`, `Backend`.
    pub(crate) async fn connect(&self) -> Result<(Client, Driver)> {
        let tls = self.tls()?;
        self.config.connect(tls).await.map_err(|error| errors::connecting(&error, &self.shown, &self.user))
    }

    fn tls(&self) -> Result<MakeRustlsConnect> {
        let config = match self.config.get_ssl_mode() {
            SslMode::Disable => tls::with_roots(rustls::RootCertStore::empty())?,
            _ => tls::config(self.root.as_deref(), "sslrootcert")?,
        };
        Ok(MakeRustlsConnect::new(config))
    }

    /// Sets a session up and checks the server; gives what deserves a warning.
    ///
    /// # Errors
    /// `Backend` for a server that is too old, and what the server says.
    pub(crate) async fn prepare(&self, client: &Client, writes: bool) -> Result<Option<String>> {
        let fault = |error| self.fault(error);
        let sql = format!(
            "SET search_path = \"{}\"; SET statement_timeout = '60s'; SET lock_timeout = '15s';
             SET idle_in_transaction_session_timeout = '60s'; SET client_min_messages = warning;",
            self.schema
        );
        client.batch_execute(&sql).await.map_err(fault)?;
        // Whatever the server's default is, an acknowledgement means that its log is on disk.
        let row = client
            .query_one(
                "SELECT current_setting('server_version_num')::int, pg_is_in_recovery(), current_setting('fsync'),
                 set_config('synchronous_commit', CASE current_setting('synchronous_commit')
                 WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false)",
                &[],
            )
            .await
            .map_err(fault)?;
        let version: i32 = row.get(0);
        if version < VERSION_MIN {
            let found = format!("{}.{}", version / 10_000, version % 10_000);
            return Err(Fault::new(Code::Backend, format!("{} has version {found}, which is too old.", self.shown))
                .hint("PostgreSQL 12 or later can hold a history."));
        }
        if writes && row.get::<_, bool>(1) {
            return Err(Fault::new(Code::StateUnwritable, format!("{} is a standby and read-only.", self.shown))
                .hint("Name the primary in [history] store."));
        }
        let unsafe_disk = row.get::<_, &str>(2) != "on";
        Ok(unsafe_disk.then(|| {
            format!("{} runs with fsync off: what it acknowledges may be gone after a power cut.", self.shown)
        }))
    }
}

fn checked_schema(name: String) -> Result<String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let starts = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if starts && name.len() <= 48 && name.bytes().all(fits) && !name.starts_with("pg_") {
        return Ok(name);
    }
    let shown: String = name.chars().take(60).collect();
    Err(Fault::new(Code::Usage, format!("{shown:?} can't be the schema of a history."))
        .hint("Up to 48 lower-case letters, digits and _, beginning with a letter."))
}

/// What the URL leaves out, from the variables that other clients read as well.
fn complete(config: &mut Config, env: &ProcessEnv) {
    if config.get_application_name().is_none() {
        config.application_name("vice");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT);
    }
    if config.get_hosts().is_empty() {
        match env.get("PGHOST") {
            Some(host) => config.host(host),
            None => config.host("localhost"),
        };
    }
    if config.get_user().is_none() {
        config.user(env.get("PGUSER").unwrap_or(&env.user));
    }
    if config.get_dbname().is_none() {
        let name =
            env.get("PGDATABASE").map_or_else(|| config.get_user().unwrap_or_default().to_owned(), str::to_owned);
        config.dbname(name);
    }
    if let Some(password) = env.get("PGPASSWORD").map(str::to_owned).or_else(|| from_passfile(config, env)) {
        config.password(password);
    }
}

/// The password of the first line `host:port:database:user:password` that fits, where `*` fits anything.
fn from_passfile(config: &Config, env: &ProcessEnv) -> Option<String> {
    let named = env.get("PGPASSFILE").map(PathBuf::from);
    let path = named.or_else(|| env.get("HOME").map(|home| Path::new(home).join(".pgpass")))?;
    if std::fs::metadata(&path).ok()?.len() > PASSFILE_BYTES_MAX {
        return None;
    }
    let text = std::fs::read_to_string(&path).ok()?;
    let host = match config.get_hosts().first()? {
        Host::Tcp(host) => host.clone(),
        Host::Unix(_) => "localhost".to_owned(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432).to_string();
    let wanted = [&*host, &*port, config.get_dbname()?, config.get_user()?];
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let parts: Vec<&str> = line.splitn(5, ':').collect();
        let fits = parts.len() == 5 && wanted.iter().zip(&parts).all(|(wanted, part)| *part == "*" || part == wanted);
        fits.then(|| parts[4].to_owned())
    })
}

fn is_local(config: &Config) -> bool {
    config.get_hosts().iter().all(|host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => matches!(&**name, "localhost" | "127.0.0.1" | "::1"),
    })
}

fn shown(config: &Config, schema: &str) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        Some(Host::Unix(path)) => path.display().to_string(),
        None => "localhost".to_owned(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let (user, name) = (config.get_user().unwrap_or_default(), config.get_dbname().unwrap_or_default());
    let schema = if schema == "vice" { String::new() } else { format!("?schema={schema}") };
    format!("postgres://{user}@{host}:{port}/{name}{schema}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> ProcessEnv {
        let vars = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        ProcessEnv { vars, user: "me".into(), ..ProcessEnv::default() }
    }

    #[test]
    fn a_server_elsewhere_needs_tls_unless_told_otherwise() {
        let mode = |url: &str| Target::parse(url, &env(&[])).unwrap().config.get_ssl_mode();
        assert_eq!(mode("postgres://u@db.example/d"), SslMode::Require);
        assert_eq!(mode("postgres://u@db.example/d?sslmode=verify-full"), SslMode::Require);
        assert_eq!(mode("postgres://u@db.example/d?sslmode=prefer"), SslMode::Prefer);
        assert_eq!(mode("postgres://u@localhost/d"), SslMode::Disable);
    }

    #[test]
    fn passwords_come_from_variables_and_are_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pass");
        std::fs::write(&file, "# canary\nother:*:*:*:wrong\n*:5432:d:u:canary:1\n").unwrap();
        let from = |pairs: &[(&str, &str)]| {
            let target = Target::parse("postgres://u@h/d", &env(pairs)).unwrap();
            assert!(!target.shown.contains("canary"));
            target.config.get_password().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
        };
        assert_eq!(from(&[("PGPASSFILE", file.to_str().unwrap())]).as_deref(), Some("canary:1"));
        assert_eq!(from(&[("PGPASSWORD", "canary2")]).as_deref(), Some("canary2"));
        assert_eq!(from(&[]), None);
    }

    #[test]
    fn bad_urls_are_usage() {
        for url in ["postgres://u@h/d?schema=A-b", "postgres://u@h/d?schema=pg_x", "postgres://u@h/d?nonsense=1"] {
            let fault = Target::parse(url, &env(&[])).err().unwrap();
            assert_eq!(fault.code(), Code::Usage, "{url}");
            assert!(!fault.hints().is_empty(), "{url}");
        }
    }
}
