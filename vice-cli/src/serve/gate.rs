//! Before every route: who asks, what for, and whether there is room. A route that nobody declared a permission for is not
//! mounted at all; what may be asked without a token are the two probes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use super::tokens::{Permission, Tokens};

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

    /// Whose token the request has.
    fn admit(&self, headers: &HeaderMap, need: Permission) -> Result<String, StatusCode> {
        let presented = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let presented = presented.and_then(|value| value.strip_prefix("Bearer ")).ok_or(StatusCode::UNAUTHORIZED)?;
        let (name, has) = self.tokens.find(presented.trim()).ok_or(StatusCode::UNAUTHORIZED)?;
        if has >= need { Ok(name.to_owned()) } else { Err(StatusCode::FORBIDDEN) }
    }

    pub(crate) fn under_way(&self) -> usize {
        AT_ONCE - self.room.available_permits()
    }
}

async fn guard(State((gate, need)): State<(Gate, Permission)>, request: Request, next: Next) -> Response {
    let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
    let name = match gate.admit(request.headers(), need) {
        Ok(name) => name,
        Err(status) => {
            count(&gate.counted.refused);
            return (status, [(header::WWW_AUTHENTICATE, "Bearer")]).into_response();
        }
    };
    let Ok(_permit) = Arc::clone(&gate.room).try_acquire_owned() else {
        count(&gate.counted.busy);
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")]).into_response();
    };
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let answer = next.run(request).await;
    count(if answer.status().is_server_error() { &gate.counted.failed } else { &gate.counted.answered });
    tracing::info!(name, %method, path, status = answer.status().as_u16(), "answered");
    answer
}
