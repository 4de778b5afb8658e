//! What a receiver said, and where it is, in a form that can be stored and shown.

use url::Url;
use vice_core::secret::Masker;
use vice_core::text::sanitize;

use crate::message::shorten;

/// The longest answer or reason that is kept, in characters.
const DETAIL_CHARS_MAX: usize = 300;

/// A URL without what may be secret in it: user, password, query and fragment.
pub(crate) fn shown_url(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else { return "«a URL that does not parse»".to_owned() };
    if url.cannot_be_a_base() {
        // Text such as `user:password@host` counts as a URL whose scheme is `user`.
        return "«a URL that does not parse»".to_owned();
    }
    let had_query = url.query().is_some();
    let had_user = !url.username().is_empty() || url.password().is_some();
    url.set_query(None);
    url.set_fragment(None);
    // Both fail only for URLs that can have neither, in which case there is nothing to hide.
    let hidden = url.set_password(None).and_then(|()| url.set_username(""));
    if had_user && hidden.is_err() {
        return "«a URL with a password»".to_owned();
    }
    let mut shown = url.to_string();
    if had_user {
        shown = shown.replacen("://", "://«…»@", 1);
    }
    if had_query {
        shown.push_str("?«…»");
    }
    shown
}

/// One bounded line without secrets and control characters.
pub(crate) fn detail(masker: &Masker, text: &str) -> String {
    let masked = masker.mask(text);
    let line = masked.split_whitespace().collect::<Vec<_>>().join(" ");
    shorten(&sanitize(&line), DETAIL_CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vice_core::Secret;

    #[test]
    fn urls_lose_what_may_be_secret() {
        let shown = shown_url("https://ann:pw123@hooks.example:8443/in/x?token=t0k#f");
        assert_eq!(shown, "https://«…»@hooks.example:8443/in/x?«…»");
        assert_eq!(shown_url("http://h/in"), "http://h/in");
        assert!(!shown_url("ann:pw123@h").contains("pw123"));
    }

    #[test]
    fn details_are_one_masked_line() {
        let mut masker = Masker::default();
        masker.add("token", &Secret::new("t0ken-1"));
        assert_eq!(detail(&masker, "no t0ken-1\r\n\u{1b}[31mred"), "no «secret:token» \\u{1b}[31mred");
        assert_eq!(detail(&masker, &"x".repeat(1000)).chars().count(), DETAIL_CHARS_MAX);
    }
}
