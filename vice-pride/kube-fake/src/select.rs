//! Label and field selectors.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::store::Refusal;

enum Term {
    Is(String, String),
    IsNot(String, String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Has(String),
    HasNot(String),
}

/// Which objects a list or watch is about.
pub(crate) struct Selection {
    labels: Vec<Term>,
    fields: Vec<Term>,
}

impl Selection {
    pub(crate) fn of(query: &BTreeMap<String, String>) -> Result<Self, Refusal> {
        let read = |name: &str| query.get(name).map_or(Ok(Vec::new()), |text| terms(text));
        Ok(Self { labels: read("labelSelector")?, fields: read("fieldSelector")? })
    }

    pub(crate) fn takes(&self, object: &Value) -> bool {
        let label = |name: &str| object["metadata"]["labels"][name].as_str().map(str::to_owned);
        let field = |name: &str| {
            object.pointer(&format!("/{}", name.replace('.', "/"))).and_then(Value::as_str).map(str::to_owned)
        };
        self.labels.iter().all(|term| term.fits(&label)) && self.fields.iter().all(|term| term.fits(&field))
    }
}

impl Term {
    fn fits(&self, value: &dyn Fn(&str) -> Option<String>) -> bool {
        match self {
            Self::Is(name, wanted) => value(name).as_ref() == Some(wanted),
            Self::IsNot(name, wanted) => value(name).as_ref() != Some(wanted),
            Self::In(name, wanted) => value(name).is_some_and(|value| wanted.contains(&value)),
            Self::NotIn(name, wanted) => value(name).is_none_or(|value| !wanted.contains(&value)),
            Self::Has(name) => value(name).is_some(),
            Self::HasNot(name) => value(name).is_none(),
        }
    }
}

fn terms(text: &str) -> Result<Vec<Term>, Refusal> {
    let mut out = Vec::new();
    let mut depth = 0_i32;
    let parts = text.split(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    });
    for part in parts.map(str::trim).filter(|part| !part.is_empty()) {
        out.push(term(part).ok_or_else(|| Refusal::new(400, "BadRequest", format!("unable to parse {part:?}")))?);
    }
    Ok(out)
}

fn term(part: &str) -> Option<Term> {
    let list = |text: &str| {
        let inner = text.trim().strip_prefix('(')?.strip_suffix(')')?;
        Some(inner.split(',').map(|value| value.trim().to_owned()).collect::<Vec<_>>())
    };
    if let Some((name, values)) = part.split_once(" notin ") {
        return Some(Term::NotIn(name.trim().to_owned(), list(values)?));
    }
    if let Some((name, values)) = part.split_once(" in ") {
        return Some(Term::In(name.trim().to_owned(), list(values)?));
    }
    if let Some((name, value)) = part.split_once("!=") {
        return Some(Term::IsNot(name.trim().to_owned(), value.trim().to_owned()));
    }
    if let Some((name, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Some(Term::Is(name.trim().to_owned(), value.trim().to_owned()));
    }
    match part.strip_prefix('!') {
        Some(name) => Some(Term::HasNot(name.to_owned())),
        None => Some(Term::Has(part.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_and_fields_choose() {
        let takes = |labels: &str, fields: &str| {
            let query = [("labelSelector", labels), ("fieldSelector", fields)];
            let query = query.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
            Selection::of(&query)
                .unwrap()
                .takes(&json!({"metadata": {"name": "a", "labels": {"app": "web", "tier": "x"}}}))
        };
        assert!(takes("app=web,tier in (x, y)", "metadata.name=a"));
        assert!(!takes("app!=web", "") && !takes("", "metadata.name!=a") && !takes("!app", ""));
        assert!(takes("app,!none,tier notin (z)", ""));
    }
}
