//! Who may send: signatures over bodies and tokens in headers, compared in constant time. Nothing of a secret leaves here.

use axum::http::HeaderMap;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha2::Sha256;
use vice_core::Secret;

/// A secret has at least so many bytes.
pub(super) const SECRET_BYTES_MIN: usize = 16;

/// How far the time in a signature may be off, in seconds.
pub(super) const REPLAY_SECONDS: i64 = 300;

/// Why a sender is not believed, in one sentence.
pub(super) type Doubt = &'static str;

fn mac(secret: &Secret) -> Result<Hmac<Sha256>, Doubt> {
    Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes()).map_err(|_| "The secret can't be used.")
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    (0..32).map(|n| u8::from_str_radix(&text[2 * n..2 * n + 2], 16).ok()).collect()
}

fn header<'h>(headers: &'h HeaderMap, name: &str, missing: Doubt) -> Result<&'h str, Doubt> {
    let mut all = headers.get_all(name).iter();
    let one = all.next().and_then(|value| value.to_str().ok()).ok_or(missing)?;
    // Two values would let a sender choose which one is looked at.
    if all.next().is_some() { Err(missing) } else { Ok(one) }
}

/// `X-Hub-Signature-256: sha256=<hex>` over the body.
pub(super) fn github(secret: &Secret, headers: &HeaderMap, body: &[u8]) -> Result<(), Doubt> {
    let wrong = "The header X-Hub-Signature-256 does not fit the body.";
    let given = header(headers, "x-hub-signature-256", "The header X-Hub-Signature-256 is missing.")?;
    let given = given.strip_prefix("sha256=").and_then(unhex).ok_or(wrong)?;
    let mut mac = mac(secret)?;
    mac.update(body);
    mac.verify_slice(&given).map_err(|_| wrong)
}

/// `X-Vice-Signature: v1,t=<seconds>,s=<hex>` over `<seconds>.<body>`, as the notifications of vice carry it.
pub(super) fn generic(secret: &Secret, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<(), Doubt> {
    let wrong = "The header X-Vice-Signature does not fit the body.";
    let given = header(headers, "x-vice-signature", "The header X-Vice-Signature is missing.")?;
    let rest = given.strip_prefix("v1,t=").ok_or(wrong)?;
    let (seconds, hex) = rest.split_once(",s=").ok_or(wrong)?;
    let (at, given) = (seconds.parse::<i64>().map_err(|_| wrong)?, unhex(hex).ok_or(wrong)?);
    let mut mac = mac(secret)?;
    mac.update(seconds.as_bytes());
    mac.update(b".");
    mac.update(body);
    mac.verify_slice(&given).map_err(|_| wrong)?;
    if now.as_second().abs_diff(at) > REPLAY_SECONDS.unsigned_abs() {
        return Err("The signature is more than five minutes old, or from the future.");
    }
    Ok(())
}

/// `Authorization: Bearer <token>`.
pub(super) fn bearer(secret: &Secret, headers: &HeaderMap) -> Result<(), Doubt> {
    let given = header(headers, "authorization", "The header Authorization is missing.")?;
    let token = given.strip_prefix("Bearer ").ok_or("The header Authorization holds no bearer token.")?;
    same(secret, token)
}

/// `X-Gitlab-Token: <token>`.
pub(super) fn gitlab(secret: &Secret, headers: &HeaderMap) -> Result<(), Doubt> {
    same(secret, header(headers, "x-gitlab-token", "The header X-Gitlab-Token is missing.")?)
}

/// Compares by signing both with the secret: what the comparison takes says nothing of either.
fn same(secret: &Secret, given: &str) -> Result<(), Doubt> {
    let (mut own, mut theirs) = (mac(secret)?, mac(secret)?);
    own.update(secret.reveal().as_bytes());
    theirs.update(given.as_bytes());
    own.verify(&theirs.finalize().into_bytes()).map_err(|_| "The token is not the right one.")
}
