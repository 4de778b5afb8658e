//! Bodies of requests: text, JSON, forms, multipart and files as bytes with their content type.

use vice_core::digest::Digest;

use super::Try;
use crate::scenario::{Body, Part, PartContent};

/// Bytes with their content type.
pub(super) type Made = (Vec<u8>, Option<String>);

/// The bytes of a body and the content type that goes with it; nothing where there is none.
///
/// # Errors
/// Text that says what is missing.
pub(super) fn make(attempt: &Try<'_>, body: &Body) -> Result<Option<Made>, String> {
    Ok(match body {
        Body::None => None,
        Body::Text(text) => Some((attempt.text(text)?.into_bytes(), None)),
        Body::Json(value) => {
            let filled = attempt.values.json(value).map_err(|fault| fault.to_string())?;
            Some((filled.to_string().into_bytes(), Some("application/json".to_owned())))
        }
        Body::Form(fields) => {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            for (name, value) in fields {
                form.append_pair(&attempt.text(name)?, &attempt.text(value)?);
            }
            Some((form.finish().into_bytes(), Some("application/x-www-form-urlencoded".to_owned())))
        }
        Body::Multipart(parts) => Some(multipart(attempt, parts)?),
        Body::File(name) => Some((attempt.file(name)?, None)),
    })
}

fn multipart(attempt: &Try<'_>, parts: &[Part]) -> Result<Made, String> {
    let mut contents = Vec::new();
    for part in parts {
        contents.push(match &part.content {
            PartContent::Text(text) => (attempt.text(text)?.into_bytes(), None),
            PartContent::File(name) => (attempt.file(name)?, name.rsplit('/').next()),
        });
    }
    // Made of what it separates, so that it is in none of it and the same each time.
    let all: Vec<u8> = contents.iter().flat_map(|(bytes, _)| bytes.iter().copied()).collect();
    let boundary = format!("vice-{}", Digest::of(&all).short());
    let mut out = Vec::with_capacity(all.len() + 200 * parts.len());
    for (part, (bytes, file)) in parts.iter().zip(contents) {
        out.extend(format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"", quoted(&part.name)).bytes());
        if let Some(file) = file {
            out.extend(format!("; filename=\"{}\"", quoted(file)).bytes());
        }
        let default = file.map(|_| "application/octet-stream");
        if let Some(kind) = part.content_type.as_deref().or(default) {
            out.extend(format!("\r\nContent-Type: {}", kind.replace(['\r', '\n'], " ")).bytes());
        }
        out.extend(b"\r\n\r\n");
        out.extend(bytes);
        out.extend(b"\r\n");
    }
    out.extend(format!("--{boundary}--\r\n").bytes());
    Ok((out, Some(format!("multipart/form-data; boundary={boundary}"))))
}

/// As browsers escape names in a form.
fn quoted(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}
