//! Before every route: who asks, what for, and whether there is room. A route that nobody declared a permission for is not
//! mounted at all; what may be asked without a token are the two probes, and webhooks, which are signed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use vice_greed::ingest::Sender;

use super::tokens::{Admitted, Permission, Tokens};

/// Questions that may be under way at once, those that wait for events among them.
const AT_ONCE: usize = 512;

/// What was counted, for the metrics.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) answered: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) busy: AtomicU64,
}

/// Lets through who may.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    tokens: Arc<Tokens>,
    room: Arc<Semaphore>,
    pub(crate) counted: Arc<Counted>,
}

impl Gate {
    pub(crate) fn new(tokens: Tokens) -> Self {
        Self { tokens: Arc::new(tokens), room: Arc::new(Semaphore::new(AT_ONCE)), counted: Arc::default() }
    }

    /// Routes for whoever has the permission.
    pub(crate) fn protect(&self, routes: Router, need: Permission) -> Router {
        routes.route_layer(from_fn_with_state((self.clone(), need), guard))
    }

    /// Routes on which each message shows by its own signature who sent it.
    pub(crate) fn signed(&self, routes: Router) -> Router {
        routes.route_layer(from_fn_with_state(self.clone(), signed))
    }

    /// Whose token the request has.
    fn admit(&self, headers: &HeaderMap, need: Permission) -> Result<Admitted<'_>, StatusCode> {
        let presented = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let presented = presented.and_then(|value| value.strip_prefix("Bearer ")).ok_or(StatusCode::UNAUTHORIZED)?;
        let found = self.tokens.find(presented.trim()).ok_or(StatusCode::UNAUTHORIZED)?;
        if found.permission.includes(need) { Ok(found) } else { Err(StatusCode::FORBIDDEN) }
    }

    pub(crate) fn under_way(&self) -> usize {
        AT_ONCE - self.room.available_permits()
    }
}

async fn guard(State((gate, need)): State<(Gate, Permission)>, mut request: Request, next: Next) -> Response {
    match gate.admit(request.headers(), need) {
        Ok(Admitted { name, bounds, .. }) => {
            request.extensions_mut().insert(Sender(name.to_owned()));
            if let Some(bounds) = bounds {
                request.extensions_mut().insert(bounds.clone());
            }
            gate.pass(name, request, next).await
        }
        Err(status) => {
            count(&gate.counted.refused);
            (status, [(header::WWW_AUTHENTICATE, "Bearer")]).into_response()
        }
    }
}

async fn signed(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    gate.pass("(signed)", request, next).await
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Gate {
    /// Answers where there is room, and counts.
    async fn pass(&self, name: &str, request: Request, next: Next) -> Response {
        let Ok(_permit) = Arc::clone(&self.room).try_acquire_owned() else {
            count(&self.counted.busy);
            return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")]).into_response();
        };
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let answer = next.run(request).await;
        let status = answer.status();
        count(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => &self.counted.refused,
            status if status.is_server_error() => &self.counted.failed,
            _ => &self.counted.answered,
        });
        tracing::info!(name, %method, path, status = status.as_u16(), "answered");
        answer
    }
}
