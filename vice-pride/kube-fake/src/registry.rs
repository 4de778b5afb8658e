//! A fake of a registry of images, for tests: manifests by tag over HTTP, with the ways in which real ones ask who is
//! there. It holds no layers, because nobody pulls.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::LockNow;

/// The largest form that is read.
const FORM_BYTES_MAX: usize = 64 * 1024;
/// The type of what a tag points at.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Who is let in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Door {
    /// Everybody.
    #[default]
    Open,
    /// Whoever has a token, which everybody gets.
    Token,
    /// Whoever has a token, which is given out for this name and password.
    TokenFor(String, String),
    /// Whoever has a token, which is given out for this other token.
    TokenForToken(String),
    /// Whoever sends this name and password.
    Basic(String, String),
}

#[derive(Default)]
struct State {
    /// What each tag points at, by `NAME:TAG`.
    tags: BTreeMap<String, String>,
    pushes: u64,
    door: Door,
    /// Every answer has this status instead.
    status: Option<u16>,
    /// Digests are said in no header.
    quiet: bool,
    realm: Option<String>,
    requests: Vec<String>,
}

/// A running registry. It ends when it is dropped.
pub struct Registry {
    state: Arc<Mutex<State>>,
    address: String,
    task: JoinHandle<()>,
}

impl Registry {
    /// Starts one on a free port of 127.0.0.1, without images and open to all.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let state: Arc<Mutex<State>> = Arc::default();
        let (shared, own) = (Arc::clone(&state), address.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, own) = (Arc::clone(&shared), own.clone());
                let service = service_fn(move |request| {
                    let (shared, own) = (Arc::clone(&shared), own.clone());
                    async move { Ok::<_, Infallible>(serve(&shared, &own, request).await) }
                });
                // A connection that fails is the client's matter.
                tokio::spawn(async move {
                    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        Ok(Self { state, address, task })
    }

    /// Host and port, as they stand in the name of an image.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Puts something new under a tag, or moves it there. Gives the digest.
    #[must_use]
    pub fn push(&self, name: &str, tag: &str) -> String {
        let mut state = self.state.lock_now();
        state.pushes += 1;
        let content =
            json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "push": state.pushes}).to_string();
        let digest = digest_of(&content);
        state.tags.insert(format!("{name}:{tag}"), content);
        digest
    }

    /// From now on only these are let in.
    pub fn guard(&self, door: Door) {
        self.state.lock_now().door = door;
    }

    /// From now on every answer has this status; none: as it should be.
    pub fn answer_with(&self, status: Option<u16>) {
        self.state.lock_now().status = status;
    }

    /// From now on no header says a digest.
    pub fn say_no_digest(&self) {
        self.state.lock_now().quiet = true;
    }

    /// From now on tokens are said to be given out there.
    pub fn send_for_tokens_to(&self, realm: &str) {
        self.state.lock_now().realm = Some(realm.to_owned());
    }

    /// Every request so far, such as `HEAD /v2/shop/manifests/1`.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.state.lock_now().requests.clone()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn digest_of(content: &str) -> String {
    let bytes = Sha256::digest(content.as_bytes());
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// The token that lets in whoever may read that.
fn token_for(scope: &str) -> String {
    STANDARD.encode(format!("token for {scope}"))
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

async fn serve(state: &Mutex<State>, address: &str, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let form =
        Limited::new(body, FORM_BYTES_MAX).collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let given = parts.headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut state = state.lock_now();
    state.requests.push(format!("{} {}", parts.method, parts.uri));
    if let Some(status) = state.status {
        return answer(status, String::new());
    }
    match (&parts.method, parts.uri.path()) {
        (&Method::GET, "/token") => {
            let asked = parts.uri.query().unwrap_or_default().as_bytes();
            token(&state, address, asked, given, false)
        }
        (&Method::POST, "/token") => token(&state, address, &form, given, true),
        (method, path) if *method == Method::HEAD || *method == Method::GET => {
            match path.strip_prefix("/v2/").and_then(|rest| rest.split_once("/manifests/")) {
                Some((name, tag)) => manifest(&state, address, name, tag, given, *method == Method::HEAD),
                None => answer(404, String::new()),
            }
        }
        _ => answer(405, String::new()),
    }
}

fn token(state: &State, address: &str, asked: &[u8], given: &str, posted: bool) -> Response<Full<Bytes>> {
    let asked: BTreeMap<String, String> = url::form_urlencoded::parse(asked).into_owned().collect();
    let said = |name: &str| asked.get(name).map(String::as_str).unwrap_or_default();
    let fits = match &state.door {
        Door::Token => !posted && given.is_empty(),
        Door::TokenFor(user, password) => !posted && given == basic(user, password),
        Door::TokenForToken(token) => posted && said("grant_type") == "refresh_token" && said("refresh_token") == token,
        Door::Open | Door::Basic(..) => false,
    };
    if !fits || said("service") != address {
        return answer(401, String::new());
    }
    let name = if posted { "access_token" } else { "token" };
    answer(200, json!({name: token_for(said("scope"))}).to_string())
}

fn manifest(state: &State, address: &str, name: &str, tag: &str, given: &str, head: bool) -> Response<Full<Bytes>> {
    let scope = format!("repository:{name}:pull");
    let (fits, challenge) = match &state.door {
        Door::Open => (true, String::new()),
        Door::Basic(user, password) => (given == basic(user, password), "Basic realm=\"registry\"".to_owned()),
        _ => {
            let realm = state.realm.clone().unwrap_or_else(|| format!("http://{address}/token"));
            let challenge = format!("Bearer realm=\"{realm}\",service=\"{address}\",scope=\"{scope}\"");
            (given == format!("Bearer {}", token_for(&scope)), challenge)
        }
    };
    if !fits {
        let mut refused = answer(401, String::new());
        if let Ok(challenge) = challenge.parse() {
            refused.headers_mut().insert("www-authenticate", challenge);
        }
        return refused;
    }
    let Some(content) = state.tags.get(&format!("{name}:{tag}")) else { return answer(404, String::new()) };
    let mut found = answer(200, if head { String::new() } else { content.clone() });
    let headers = found.headers_mut();
    headers.insert("content-type", http::HeaderValue::from_static(INDEX));
    if !state.quiet
        && let Ok(digest) = digest_of(content).parse()
    {
        headers.insert("docker-content-digest", digest);
    }
    found
}

fn answer(status: u16, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    response
}
