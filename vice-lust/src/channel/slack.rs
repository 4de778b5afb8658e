//! An incoming webhook as Slack and Mattermost have it: plain text, nothing of which is markup. The URL is the secret.

use async_trait::async_trait;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::json;
use vice_core::Secret;

use super::http::Post;
use super::{Channel, SendError};
use crate::message::Message;

pub(crate) struct Slack {
    pub(crate) post: Post,
    pub(crate) url: Secret,
    pub(crate) channel: Option<String>,
}

#[async_trait]
impl Channel for Slack {
    async fn send(&self, message: &Message) -> Result<String, SendError> {
        let mut body = json!({ "text": escape(&message.text()) });
        if let Some(channel) = &self.channel {
            body["channel"] = json!(channel);
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        self.post.send(self.url.reveal(), headers, body.to_string()).await
    }
}

/// Slack's three escapes, and a hidden character behind the `@` of words that call everybody in Mattermost.
fn escape(text: &str) -> String {
    let mut out = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    for everybody in ["@channel", "@all", "@here", "@everyone"] {
        out = out.replace(everybody, &everybody.replace('@', "@\u{200b}"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_stays_text() {
        assert_eq!(escape("<!channel> & <http://x|y>"), "&lt;!channel&gt; &amp; &lt;http://x|y&gt;");
        assert_eq!(escape("hi @all"), "hi @\u{200b}all");
    }
}
