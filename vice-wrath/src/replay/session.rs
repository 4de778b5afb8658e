//! Which exchanges belong together and keep their order.

use std::collections::BTreeMap;

use crate::recording::{Exchange, values};

/// What tells sessions apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum By {
    /// The connection on which requests came.
    Connection,
    /// A cookie; the request whose answer sets it begins the session.
    Cookie(String),
    /// A header.
    Header(String),
}

impl By {
    /// `connection`, `cookie:NAME` or `header:NAME`.
    ///
    /// # Errors
    /// Text that says what can be written.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "connection" => Ok(Self::Connection),
            Some(("cookie", name)) if !name.is_empty() => Ok(Self::Cookie(name.to_owned())),
            Some(("header", name)) if http::HeaderName::try_from(name).is_ok() => {
                Ok(Self::Header(name.to_ascii_lowercase()))
            }
            _ => Err(format!("`{text}` tells no sessions apart; write connection, cookie:NAME or header:NAME")),
        }
    }

    fn key(&self, exchange: &Exchange) -> String {
        let named = match self {
            Self::Connection => None,
            Self::Cookie(name) => exchange.request.cookie(name).or_else(|| {
                let set = exchange.answer.as_ref()?;
                set.set_cookies().find(|(it, _)| it == name).map(|(_, value)| value)
            }),
            Self::Header(name) => values(&exchange.request.headers, name).next(),
        };
        named.map_or_else(|| format!("connection {}", exchange.conn), |value| format!("value {value}"))
    }
}

/// The exchanges of each session by their places in the recording, sessions in the order of their beginnings.
pub(crate) fn sessions(exchanges: &[Exchange], by: &By) -> Vec<Vec<usize>> {
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut sessions: Vec<Vec<usize>> = Vec::new();
    for (index, exchange) in exchanges.iter().enumerate() {
        let place = *places.entry(by.key(exchange)).or_insert_with(|| {
            sessions.push(Vec::new());
            sessions.len() - 1
        });
        sessions[place].push(index);
    }
    sessions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::{Answer, Asked};

    fn exchange(conn: u64, cookie: Option<&str>, sets: Option<&str>) -> Exchange {
        let header = |name: &str, value: Option<&str>| value.map(|value| (name.to_owned(), format!("sid={value}")));
        Exchange {
            conn,
            at_us: 0,
            took_us: 0,
            request: Asked {
                method: "GET".into(),
                target: "/".into(),
                version: String::new(),
                headers: header("cookie", cookie).into_iter().collect(),
                body: None,
            },
            answer: Some(Answer {
                status: 200,
                headers: header("set-cookie", sets).into_iter().collect(),
                body: None,
                first_us: 0,
            }),
            upgraded: None,
            error: None,
        }
    }

    #[test]
    fn a_login_begins_the_session_of_its_cookie() {
        let all = [
            exchange(1, None, Some("a")),
            exchange(2, None, Some("b")),
            exchange(2, Some("a"), None),
            exchange(1, Some("b"), None),
            exchange(3, None, None),
        ];
        assert_eq!(sessions(&all, &By::Cookie("sid".into())), [vec![0, 2], vec![1, 3], vec![4]]);
        assert_eq!(sessions(&all, &By::Connection), [vec![0, 3], vec![1, 2], vec![4]]);
        assert!(By::parse("moon").is_err() && By::parse("cookie:").is_err());
        assert_eq!(By::parse("header:X-User"), Ok(By::Header("x-user".into())));
    }
}
