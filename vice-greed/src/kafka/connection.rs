//! A connection to one broker: TCP, TLS, who this is, and one question after the other.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use vice_core::app::ProcessEnv;
use vice_core::{Code, Fault, Result};

use super::calls::{self, Call, Spoken};
use super::errors;
use super::sasl::{Login, Scram, Way};
use super::wire::{Malformed, Writer};
use crate::tls;

/// How long a connection and an answer may take. A broker may wait ten seconds for others before it acknowledges.
const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(20);

/// The largest answer, in bytes: far more than is asked for, because one batch comes whole however large it is.
const ANSWER_BYTES_MAX: u32 = 128 * 1024 * 1024;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Stream for T {}

/// What connections are made with.
pub(super) struct Access {
    connector: Option<TlsConnector>,
    login: Option<Login>,
}

impl Access {
    /// # Errors
    /// `Usage`, `Io` for variables that make no sense.
    pub(super) fn of(env: &ProcessEnv, encrypted: bool) -> Result<Self> {
        let connector = if encrypted {
            let file = env.get("KAFKA_CA").map(|file| env.dir.join(file));
            Some(TlsConnector::from(Arc::new(tls::config(file.as_deref(), "KAFKA_CA")?)))
        } else {
            None
        };
        Ok(Self { connector, login: Login::of(env)? })
    }
}

/// A connection on which it is known who this is.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    asked: i32,
    /// The versions that are spoken, of each question.
    spoken: Spoken,
    /// For messages: `kafka://HOST:PORT`.
    shown: String,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// `Unreachable` where nobody answers, `Backend` where this user is not let in or the broker speaks another protocol.
    pub(super) async fn open(address: &str, access: &Access) -> Result<Self> {
        let shown = format!("kafka://{address}");
        let connecting = async {
            let tcp = TcpStream::connect(address).await.map_err(|error| errors::silent(&shown, error))?;
            tcp.set_nodelay(true).ok();
            let stream: Box<dyn Stream> = match &access.connector {
                None => Box::new(tcp),
                Some(connector) => Box::new(encrypted(tcp, connector, address, &shown).await?),
            };
            let mut connection = Self { stream, asked: 0, spoken: Spoken::new(), shown: shown.clone() };
            connection.greet().await?;
            if let Some(login) = &access.login {
                connection.log_in(login).await?;
            }
            Ok(connection)
        };
        timeout(CONNECT, connecting).await.map_err(|_| errors::silent(&shown, "it took longer than 10 s"))?
    }

    /// Asks which versions are spoken. Where one must log in, this may be asked before.
    async fn greet(&mut self) -> Result<()> {
        let answer = self.ask(calls::API_VERSIONS, &[]).await?;
        let (error, spoken) = calls::versions(&answer).map_err(|_| self.nonsense())?;
        if error != 0 {
            return Err(errors::refused(&self.shown, error));
        }
        self.spoken = spoken;
        match calls::NEEDED.iter().find(|call| !self.speaks(**call)) {
            None => Ok(()),
            Some(call) => {
                let message = format!("{} does not speak version {} of {}.", self.shown, call.version, call.name);
                Err(Fault::new(Code::Unsupported, message).hint("Kafka 0.11 and later do."))
            }
        }
    }

    /// Whether the broker knows this version of a question.
    pub(super) fn speaks(&self, call: Call) -> bool {
        self.spoken.get(&call.key).is_some_and(|(low, high)| (*low..=*high).contains(&call.version))
    }

    async fn log_in(&mut self, login: &Login) -> Result<()> {
        let answer = self.ask(calls::SASL_HANDSHAKE, &calls::ask_handshake(login.way.name())).await?;
        let (error, known) = calls::handshake(&answer).map_err(|_| self.nonsense())?;
        if error != 0 {
            let why = format!("it knows {} and not {}", known.join(", "), login.way.name());
            return Err(errors::locked_out(&self.shown, &why));
        }
        if login.way == Way::Plain {
            return self.authenticate(&login.plain()).await.map(drop);
        }
        let scram = Scram::new(login, nonce()?);
        let challenge = self.authenticate(&scram.first()).await?;
        let (answer, expected) = scram
            .answer(&challenge, &login.password)
            .map_err(|why| Fault::new(Code::Backend, format!("{} can't be believed: {why}.", self.shown)))?;
        let said = self.authenticate(&answer).await?;
        let said = String::from_utf8_lossy(&said);
        if said.split(',').any(|part| part == expected) {
            return Ok(());
        }
        if let Some(why) = said.strip_prefix("e=") {
            return Err(errors::locked_out(&self.shown, why));
        }
        Err(Fault::new(Code::Backend, format!("{} does not know the password itself.", self.shown))
            .hint("It may not be the broker that it pretends to be."))
    }

    async fn authenticate(&mut self, message: &[u8]) -> Result<Vec<u8>> {
        let answer = self.ask(calls::SASL_AUTHENTICATE, &calls::ask_authenticate(message)).await?;
        let (error, said, answer) = calls::authenticated(&answer).map_err(|_| self.nonsense())?;
        if error == 0 { Ok(answer) } else { Err(errors::locked_out(&self.shown, &said)) }
    }

    fn nonsense(&self) -> Fault {
        errors::nonsense(&self.shown)
    }

    /// Asks and waits for the answer. After an error the connection is of no use any more.
    ///
    /// # Errors
    /// `Unreachable`, `Backend`.
    pub(super) async fn ask(&mut self, call: Call, body: &[u8]) -> Result<Vec<u8>> {
        self.asked = self.asked.wrapping_add(1);
        let mut question = Writer::default();
        question.i16(call.key).i16(call.version).i32(self.asked).text("vice");
        if call.tagged {
            question.i8(0);
        }
        question.raw(body);
        let mut framed = Writer::default();
        framed.bytes(&question.bytes);
        let exchange = async {
            self.stream.write_all(&framed.bytes).await?;
            self.stream.flush().await?;
            let length = self.stream.read_u32().await?;
            if !(4..=ANSWER_BYTES_MAX).contains(&length) {
                return Ok(None);
            }
            let number = self.stream.read_i32().await?;
            let mut answer = Vec::new();
            // Memory grows with what comes, not with what is promised.
            let read = (&mut self.stream).take(u64::from(length - 4)).read_to_end(&mut answer).await?;
            if read < length as usize - 4 {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof));
            }
            // No answer that is asked for has tagged fields in its head.
            if call.tagged && answer.first() == Some(&0) {
                answer.remove(0);
            }
            Ok((number == self.asked).then_some(answer))
        };
        let answered: std::io::Result<Option<Vec<u8>>> =
            timeout(ANSWER, exchange).await.map_err(|_| errors::silent(&self.shown, "it took longer than 20 s"))?;
        answered.map_err(|error| errors::silent(&self.shown, error))?.ok_or_else(|| self.nonsense())
    }

    /// The same, with the answer read.
    pub(super) async fn ask_for<T>(
        &mut self,
        call: Call,
        body: &[u8],
        read: impl FnOnce(&[u8]) -> Result<T, Malformed>,
    ) -> Result<T> {
        let answer = self.ask(call, body).await?;
        read(&answer).map_err(|_| self.nonsense())
    }
}

async fn encrypted(
    tcp: TcpStream,
    connector: &TlsConnector,
    address: &str,
    shown: &str,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(host).map_err(|error| {
        Fault::new(Code::Usage, format!("{shown} has no name that a certificate could have.")).because(error)
    })?;
    connector.connect(name, tcp).await.map_err(|error| {
        Fault::new(Code::Unreachable, format!("No encrypted connection to {shown} comes about."))
            .because(error)
            .hint("KAFKA_CA names a file with the certificate of the brokers' authority; ?tls=off goes without.")
    })
}

/// A text that was never used before.
fn nonce() -> Result<String> {
    let mut bytes = [0; 24];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random.fill(&mut bytes).map_err(|_| Fault::new(Code::Io, "The operating system gives no random numbers."))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}
