//! The layer `env:PREFIX_`: variables of the calling process. The prefix is cut off, the rest becomes lower case, and
//! `__` separates tables, so that `SHOP_DB__HOST` is `db.host` under `env:SHOP_`.

use vice_core::app::ProcessEnv;

use super::dotenv::key_of;
use crate::key::Flaw;
use crate::sheet::Sheet;

/// Takes the variables that start with a prefix.
pub(crate) fn read(prefix: &str, env: &ProcessEnv) -> Result<Sheet, Flaw> {
    let mut sheet = Sheet::default();
    for (name, value) in &env.vars {
        if let Some(rest) = name.strip_prefix(prefix).filter(|rest| !rest.is_empty()) {
            sheet.add(&key_of(rest), value.as_str().into(), None)?;
        }
    }
    sheet.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixed_variables_become_keys() {
        let vars = [("SHOP_DB__HOST", "x"), ("SHOP_PORT", "1"), ("SHOP_", "no"), ("OTHER", "no")];
        let env = ProcessEnv { vars: vars.map(|(k, v)| (k.to_owned(), v.to_owned())).into(), ..ProcessEnv::default() };
        let sheet = read("SHOP_", &env).unwrap();
        assert_eq!(sheet.iter().map(|(key, _)| key).collect::<Vec<_>>(), ["db.host", "port"]);
    }
}
