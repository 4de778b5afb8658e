//! The variables of a question, written as each language wants them, so that no value can break out of its place.

use vice_core::Result;
use vice_core::id::Scope;
use vice_core::payload::version_in;
use vice_core::port::metric::MetricWindow;
use vice_core::template::{self, Vars};

/// One question: which release by its name (the version, or the full name where both are of one version), which stratum, which window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) scope: &'a Scope,
    pub(super) window: &'a MetricWindow,
    pub(super) version: &'a str,
    pub(super) stratum: Option<&'a str>,
    /// Only this half; all of it when absent.
    pub(super) half: Option<&'a str>,
}

/// What `{{half}}` is where the whole is asked for: everything matches it.
const WHOLE: &str = ".*";

impl Asked<'_> {
    fn render(&self, text: &str, written: fn(&str) -> String) -> Result<String> {
        let (from, until) = (self.window.from.as_millisecond(), self.window.until.as_millisecond());
        let millis = until.saturating_sub(from).max(1);
        let length = if millis % 1000 == 0 { format!("{}s", millis / 1000) } else { format!("{millis}ms") };
        let pairs = [
            ("version", version_in(self.version).to_owned()),
            ("release", self.version.to_owned()),
            ("stratum", self.stratum.unwrap_or_default().to_owned()),
            ("half", self.half.unwrap_or(WHOLE).to_owned()),
            ("project", self.scope.project.to_string()),
            ("env", self.scope.env.to_string()),
            ("window", length),
            ("from", seconds(from)),
            ("until", seconds(until)),
        ];
        let vars: Vars = pairs.into_iter().map(|(name, value)| (name.to_owned(), written(&value))).collect();
        template::render(text, &vars)
    }

    /// Inside a string of PromQL.
    pub(super) fn promql(&self, text: &str) -> Result<String> {
        self.render(text, |value| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
    }

    /// Inside a URL.
    pub(super) fn url(&self, text: &str) -> Result<String> {
        self.render(text, |value| {
            url::form_urlencoded::byte_serialize(value.as_bytes()).collect::<String>().replace('+', "%20")
        })
    }

    /// Inside a JSON Pointer.
    pub(super) fn pointer(&self, text: &str) -> Result<String> {
        self.render(text, |value| value.replace('~', "~0").replace('/', "~1"))
    }

    /// As an argument or a label.
    pub(super) fn plain(&self, text: &str) -> Result<String> {
        self.render(text, str::to_owned)
    }
}

/// Unix seconds, with milliseconds where there are any.
pub(super) fn seconds(millis: i64) -> String {
    if millis % 1000 == 0 { (millis / 1000).to_string() } else { format!("{:.3}", millis as f64 / 1000.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_breaks_out_of_its_place() {
        let scope = Scope::new("shop".parse().unwrap(), "dev".parse().unwrap());
        let window = MetricWindow {
            from: "2026-01-01T00:00:00Z".parse().unwrap(),
            until: "2026-01-01T00:00:01.500Z".parse().unwrap(),
            canary: "2".into(),
            baseline: "1".into(),
        };
        let asked = Asked { scope: &scope, window: &window, version: "a/b\"c+ d", stratum: None, half: None };
        assert_eq!(asked.promql("{v=\"{{version}}\"}[{{window}}]").unwrap(), "{v=\"a/b\\\"c+ d\"}[1500ms]");
        assert_eq!(
            asked.url("http://x/{{version}}?u={{until}}").unwrap(),
            "http://x/a%2Fb%22c%2B%20d?u=1767225601.500"
        );
        assert_eq!(asked.pointer("/{{version}}/bad").unwrap(), "/a~1b\"c+ d/bad");
        assert!(asked.plain("{{nothing}}").is_err());
        let one = Asked { version: "2~3fa9c17e", ..asked };
        assert_eq!(one.plain("{{version}} {{release}}").unwrap(), "2 2~3fa9c17e");
        assert_eq!(one.pointer("/{{release}}").unwrap(), "/2~03fa9c17e");
    }
}
