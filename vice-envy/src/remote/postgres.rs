//! `postgres:TABLE`: the rows of a table with the text columns `key` and `value` in PostgreSQL, or with a key behind it one
//! row that holds a document. The database, the user and the password come from the environment; it only reads.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::{TryStreamExt as _, pin_mut};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Error};
use tokio_postgres_rustls::MakeRustlsConnect;
use vice_core::app::ProcessEnv;
use vice_core::fault::root_cause;
use vice_core::{Code, Context, Fault, Result};

use super::http::{given, limit, small_file, too_slow};
use super::{Ability, Fetched, Remote, document, sheet, too_large};
use crate::file::FILE_BYTES_MAX;
use crate::key::ENTRIES_MAX;
use crate::layer::kind_of;

/// The variable with the URL of the database.
const URL: &str = "VICE_CONFIG_POSTGRES";

/// A layer in PostgreSQL.
pub(super) struct Postgres {
    name: String,
    config: Config,
    roots: Option<Vec<u8>>,
    table: String,
    key: Option<String>,
    limit: Duration,
}

impl Postgres {
    pub(super) fn new(name: &str, table: &str, key: Option<&str>, env: &ProcessEnv) -> Result<Self> {
        let wrong = |what: &str| {
            Fault::new(Code::Usage, format!("The layer {name} needs the address of PostgreSQL, and {URL} {what}."))
                .hint("Set it to a URL such as postgres://user@host/database; PGPASSWORD may give the password.")
        };
        let text = given(env, URL)?.ok_or_else(|| wrong("is not set"))?;
        let mut url = url::Url::parse(&text).map_err(|_| wrong("is no URL"))?;
        // What the client itself does not know is read here.
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let value = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        if let Some((other, _)) = pairs.iter().find(|(key, _)| !matches!(key.as_str(), "sslmode" | "sslrootcert")) {
            let other: String = other.chars().take(60).collect();
            return Err(wrong(&format!("has the parameter {other:?}; sslmode and sslrootcert are known")));
        }
        url.set_query(None);
        let mut config: Config = url.as_str().parse().map_err(|_| wrong("has a part that means nothing"))?;
        config.application_name("vice").connect_timeout(limit(env)?);
        // A server elsewhere has to have a certificate unless the URL says otherwise; one that is given is checked.
        config.ssl_mode(match value("sslmode") {
            Some("disable") => SslMode::Disable,
            Some("prefer") => SslMode::Prefer,
            Some("require" | "verify-ca" | "verify-full") => SslMode::Require,
            None if is_local(&config) => SslMode::Disable,
            None => SslMode::Require,
            Some(_) => return Err(wrong("has an sslmode other than disable, prefer, require and verify-full")),
        });
        if let Some(password) = given(env, "PGPASSWORD")? {
            config.password(password);
        }
        let roots = value("sslrootcert").map(|path| small_file(&env.dir.join(path))).transpose()?;
        let table = table.split('.').map(|part| format!("\"{part}\"")).collect::<Vec<_>>().join(".");
        Ok(Self { name: name.to_owned(), config, roots, table, key: key.map(str::to_owned), limit: limit(env)? })
    }

    fn fault(&self, code: Code, what: &str) -> Fault {
        Fault::new(code, format!("The store of the layer {} {what}.", self.name)).detail("layer", self.name.as_str())
    }

    fn tls(&self) -> Result<MakeRustlsConnect> {
        let mut roots = rustls::RootCertStore::empty();
        if let Some(pem) = &self.roots {
            let found: Vec<_> = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect();
            if roots.add_parsable_certificates(found).0 == 0 {
                return Err(self.fault(Code::Usage, "has no certificate in its sslrootcert"));
            }
        } else if self.config.get_ssl_mode() != SslMode::Disable {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context(Code::Internal, || "TLS can't be set up.".to_owned())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(MakeRustlsConnect::new(config))
    }

    async fn ask(&self) -> Result<Option<Fetched>> {
        let (client, connection) = self.config.connect(self.tls()?).await.map_err(|error| self.said(&error))?;
        let driver = tokio::spawn(async move { connection.await.is_ok() });
        let found = self.rows(&client).await;
        drop(client);
        driver.abort();
        let Some(rows) = found? else { return Ok(None) };
        match &self.key {
            Some(key) => {
                rows.into_iter().next().map(|(_, text)| document(&self.name, key, text.into_bytes())).transpose()
            }
            None => sheet(&self.name, rows).map(Some),
        }
    }

    /// The rows that are meant; none where there is no such table.
    async fn rows(&self, client: &Client) -> Result<Option<Vec<(String, String)>>> {
        client.batch_execute("SET default_transaction_read_only = on").await.map_err(|error| self.said(&error))?;
        let wanted = if self.key.is_some() { "WHERE \"key\" = $1" } else { "" };
        let sql = format!(
            "SELECT \"key\"::text, \"value\"::text FROM {} {wanted} ORDER BY 1 LIMIT {}",
            self.table,
            ENTRIES_MAX + 1
        );
        let parameters = self.key.iter().map(|key| key as &(dyn ToSql + Sync));
        let stream = match client.query_raw(&sql, parameters).await {
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => return Ok(None),
            other => other.map_err(|error| self.said(&error))?,
        };
        pin_mut!(stream);
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while let Some(row) = stream.try_next().await.map_err(|error| self.said(&error))? {
            let column = |at: usize| {
                let text = row.try_get::<_, Option<String>>(at).map_err(|error| self.said(&error))?;
                text.ok_or_else(|| {
                    self.fault(Code::ConfigInvalid, "has a row whose key or value is NULL")
                        .hint("Write '' or take the row out.")
                })
            };
            let (key, value) = (column(0)?, column(1)?);
            bytes += key.len() + value.len();
            // Asked while they come, so that no table is too large for the memory.
            if bytes as u64 > FILE_BYTES_MAX {
                return Err(too_large(&self.name));
            }
            rows.push((key, value));
        }
        Ok(Some(rows))
    }

    fn said(&self, error: &Error) -> Fault {
        let database = |state: &SqlState| error.code() == Some(state);
        if database(&SqlState::UNDEFINED_COLUMN) {
            return self
                .fault(Code::ConfigInvalid, "is a table without the columns \"key\" and \"value\"")
                .hint("Make a view with these two columns, and name that.");
        }
        if database(&SqlState::INSUFFICIENT_PRIVILEGE) {
            return self.fault(Code::Backend, "does not let us read the table").hint("Grant SELECT on it to the user.");
        }
        let refused =
            [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION, SqlState::INVALID_CATALOG_NAME];
        if let Some(known) = error.as_db_error() {
            let what = if refused.iter().any(database) { "does not let us in" } else { "refuses the question" };
            let fault = self.fault(Code::Backend, &format!("{what} ({})", known.code().code()));
            return fault
                .hint(format!("Check the user, the password and the database of {URL}, and what they may read."));
        }
        self.fault(Code::Unreachable, "can't be reached")
            .hint(format!("The network says: {}.", root_cause(error)))
            .hint("Check its address and the network; sslmode and sslrootcert say how its certificate is checked.")
    }
}

fn is_local(config: &Config) -> bool {
    config.get_hosts().iter().all(|host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => matches!(name.as_str(), "localhost" | "127.0.0.1" | "::1"),
    })
}

#[async_trait]
impl Remote for Postgres {
    fn ability(&self) -> Ability {
        let document = self.key.as_deref().is_some_and(|key| kind_of(key).is_ok());
        Ability { kind: "postgres", secret: false, document }
    }

    async fn fetch(&self) -> Result<Option<Fetched>> {
        match tokio::time::timeout(self.limit, self.ask()).await {
            Ok(answer) => answer,
            Err(_) => Err(too_slow(&self.name, self.limit)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(vars: &[(&str, &str)]) -> ProcessEnv {
        let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        ProcessEnv { vars, ..ProcessEnv::default() }
    }

    #[test]
    fn an_address_that_makes_no_sense_is_refused_and_not_repeated() {
        for (url, what) in [
            ("no url canary", "no URL"),
            ("postgres://me:canary@h/db?options=-c", "the parameter"),
            ("postgres://me:canary@h/db?sslmode=maybe", "sslmode other than"),
            ("mysql://me:canary@h/db", "means nothing"),
        ] {
            let fault = Postgres::new("postgres:t", "t", None, &env(&[(URL, url)])).err().unwrap();
            assert_eq!(fault.code(), Code::Usage);
            assert!(fault.to_string().contains(what) && !format!("{fault:?}").contains("canary"), "{fault:?}");
        }
        assert!(Postgres::new("postgres:t", "t", None, &env(&[])).err().unwrap().to_string().contains("not set"));
    }

    #[test]
    fn a_server_elsewhere_has_to_have_a_certificate() {
        let mode = |url: &str| Postgres::new("n", "t", None, &env(&[(URL, url)])).unwrap().config.get_ssl_mode();
        assert_eq!(mode("postgres://me@db.internal/x"), SslMode::Require);
        assert_eq!(mode("postgres://me@db.internal/x?sslmode=verify-full"), SslMode::Require);
        assert_eq!(mode("postgres://me@db.internal/x?sslmode=disable"), SslMode::Disable);
        assert_eq!(mode("postgres://me@127.0.0.1/x"), SslMode::Disable);
    }

    #[tokio::test]
    async fn one_that_is_not_there_is_told() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("postgres://me:canary@{}/x", listener.local_addr().unwrap());
        drop(listener);
        let fault = Postgres::new("postgres:t", "t", None, &env(&[(URL, &url)])).unwrap().fetch().await.err().unwrap();
        assert_eq!(fault.code(), Code::Unreachable);
        assert!(!format!("{fault:?}").contains("canary"), "{fault:?}");
    }
}
