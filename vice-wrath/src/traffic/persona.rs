//! Who a session is: rules that sort sessions into personas by what their requests say of themselves. It knows nothing of
//! what personas do; that is learnt from the sessions that are sorted.

use std::collections::BTreeMap;

use regex::Regex;

use super::log::Visit;

/// The persona of sessions that no rule knows.
pub(crate) const VISITOR: &str = "visitor";

/// The persona of all that are too many.
const OTHERS: &str = "others";

/// So many personas are learnt; sessions of rarer ones are put together.
const PERSONAS_MAX: usize = 20;

/// So many rules there may be.
const RULES_MAX: usize = 50;

/// The longest name that is made of a value, in characters.
const NAME_CHARS_MAX: usize = 60;

/// What of a session is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trait {
    /// The kind of its first request.
    First,
    /// The target of any request.
    Target,
    /// A header, by its name in lower case.
    Header(String),
    /// A cookie.
    Cookie(String),
    /// A field of a line of a log.
    Field(String),
}

impl Trait {
    fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "first" => Ok(Self::First),
            None if text == "target" => Ok(Self::Target),
            Some(("header", name)) if !name.is_empty() => Ok(Self::Header(name.to_ascii_lowercase())),
            Some(("cookie", name)) if !name.is_empty() => Ok(Self::Cookie(name.to_owned())),
            Some(("field", name)) if !name.is_empty() => Ok(Self::Field(name.to_owned())),
            _ => Err(format!("{text:?} is none of first, target, header:NAME, cookie:NAME and field:NAME")),
        }
    }
}

/// One rule: a persona for each value, or one persona for all values that match.
#[derive(Debug, Clone)]
struct Rule {
    by: Trait,
    named: Option<(String, Regex)>,
}

impl Rule {
    /// `BY`, or `NAME=BY~PATTERN`.
    fn parse(text: &str) -> Result<Self, String> {
        let Some((left, pattern)) = text.split_once('~') else {
            let by = Trait::parse(text)?;
            return match by {
                Trait::Target => Err("target needs a name and a pattern, such as admin=target~^/admin".to_owned()),
                by => Ok(Self { by, named: None }),
            };
        };
        let (name, by) = left.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
            format!("{text:?} has a pattern and no name; write for example robot=header:user-agent~bot")
        })?;
        let pattern = Regex::new(pattern).map_err(|_| format!("{pattern:?} is not a regular expression"))?;
        Ok(Self { by: Trait::parse(by)?, named: Some((name.to_owned(), pattern)) })
    }

    /// The persona that a value stands for.
    fn persona(&self, value: &str) -> Option<String> {
        match &self.named {
            Some((name, pattern)) => pattern.is_match(value).then(|| name.clone()),
            None => Some(value.trim().chars().filter(|it| !it.is_control()).take(NAME_CHARS_MAX).collect()),
        }
        .filter(|name: &String| !name.is_empty())
    }
}

/// Rules in order; the first one that fits decides.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sorting(Vec<Rule>);

impl Sorting {
    /// Reads rules.
    ///
    /// # Errors
    /// Text that says which one makes no sense.
    pub(crate) fn parse(texts: &[String]) -> Result<Self, String> {
        if texts.len() > RULES_MAX {
            return Err(format!("there may be {RULES_MAX} rules of personas"));
        }
        texts.iter().map(|text| Rule::parse(text)).collect::<Result<_, _>>().map(Self)
    }

    /// What a request says of itself, rule by rule. `read` knows how its source names things.
    pub(super) fn marks(&self, read: impl Fn(&Trait) -> Option<String>) -> Vec<Option<String>> {
        self.0.iter().map(|rule| read(&rule.by)).collect()
    }

    /// Who a session is.
    fn one(&self, session: &[&Visit]) -> String {
        let said = |(index, rule): (usize, &Rule)| {
            let mut marks = session.iter().filter_map(|visit| visit.marks.get(index)?.as_deref());
            match rule.by {
                Trait::First => rule.persona(&session.first()?.kind),
                Trait::Target => session.iter().find_map(|visit| rule.persona(&visit.target)),
                _ => marks.find_map(|mark| rule.persona(mark)),
            }
        };
        self.0.iter().enumerate().find_map(said).unwrap_or_else(|| VISITOR.to_owned())
    }

    /// Who each session is. Of too many personas the rarest are put together.
    pub(super) fn all(&self, sessions: &[Vec<&Visit>]) -> Vec<String> {
        let mut personas: Vec<String> = sessions.iter().map(|session| self.one(session)).collect();
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        personas.iter().for_each(|persona| *times.entry(persona).or_default() += 1);
        if times.len() <= PERSONAS_MAX {
            return personas;
        }
        let mut order: Vec<(&str, usize)> = times.into_iter().collect();
        order.sort_by_key(|(name, times)| (std::cmp::Reverse(*times), *name));
        let kept: Vec<String> = order.iter().take(PERSONAS_MAX - 1).map(|(name, _)| (*name).to_owned()).collect();
        for persona in personas.iter_mut().filter(|persona| !kept.contains(persona)) {
            OTHERS.clone_into(persona);
        }
        personas
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visit(who: &str, target: &str, mark: Option<&str>) -> Visit {
        Visit {
            who: who.into(),
            kind: format!("GET {target}"),
            method: "GET".into(),
            target: target.into(),
            at: 0.0,
            took: 0.0,
            body: None,
            marks: vec![mark.map(str::to_owned); 3],
        }
    }

    fn sorted(rules: &[&str], sessions: &[Vec<&Visit>]) -> Vec<String> {
        Sorting::parse(&rules.iter().map(|rule| (*rule).to_owned()).collect::<Vec<_>>()).unwrap().all(sessions)
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let (home, admin) = (visit("a", "/", None), visit("a", "/admin/x", None));
        let (bot, gold) = (visit("b", "/", Some("a Bot 1.0")), visit("c", "/", Some("gold")));
        let sessions = [vec![&home, &admin], vec![&bot], vec![&gold], vec![&home]];
        let rules = ["admin=target~^/admin", "robot=header:User-Agent~(?i)bot", "cookie:plan"];
        assert_eq!(sorted(&rules, &sessions), ["admin", "robot", "gold", "visitor"]);
        assert_eq!(sorted(&["first"], &sessions[..2]), ["GET /", "GET /"]);
        assert_eq!(sorted(&[], &sessions), ["visitor"; 4]);
    }

    #[test]
    fn too_many_personas_are_put_together() {
        let visits: Vec<Visit> = (0..50).map(|number| visit("a", "/", Some(&format!("p{number}")))).collect();
        let often = visit("a", "/", Some("often"));
        let mut sessions: Vec<Vec<&Visit>> = visits.iter().map(|visit| vec![visit]).collect();
        sessions.extend([vec![&often], vec![&often]]);
        let personas = sorted(&["field:plan"], &sessions);
        let different: std::collections::BTreeSet<&String> = personas.iter().collect();
        assert_eq!(different.len(), PERSONAS_MAX);
        assert!(different.contains(&"often".to_owned()) && different.contains(&"others".to_owned()));
    }

    #[test]
    fn nonsense_is_refused() {
        for (text, why) in [
            ("agent", "none of first"),
            ("header:", "none of first"),
            ("target", "needs a name"),
            ("header:a~b", "no name"),
            ("x=header:a~(", "regular expression"),
            ("=first~x", "no name"),
        ] {
            let found = Sorting::parse(&[text.to_owned()]).unwrap_err();
            assert!(found.contains(why), "{text}: {found}");
        }
        assert!(Sorting::parse(&vec!["first".to_owned(); 51]).is_err());
    }
}
