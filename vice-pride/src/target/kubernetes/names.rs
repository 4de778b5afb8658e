//! What vice calls its own objects in a cluster.

use vice_core::Digest;
use vice_core::id::Scope;

/// The names of one project, environment and target.
#[derive(Debug, Clone)]
pub(super) struct Names {
    slug: String,
    /// As it stands on every object.
    pub(super) owner: String,
}

/// The longest beginning of a name that leaves room for what follows, within the 63 characters that a name may have
/// everywhere.
const SLUG_MAX: usize = 40;

impl Names {
    pub(super) fn new(scope: &Scope, part: Option<&str>) -> Self {
        let parts = [Some(scope.project.as_str()), Some(scope.env.as_str()), part];
        let owner = parts.into_iter().flatten().collect::<Vec<_>>().join("/");
        let plain = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
        let mut slug: String = owner.chars().map(plain).collect();
        // Where two would be called alike, or one is too long, the digest tells them apart.
        let doubtful = parts.into_iter().flatten().any(|part| part.contains(|c: char| plain(c) == '-'));
        if doubtful || slug.len() > SLUG_MAX {
            slug.truncate(SLUG_MAX - 9);
            slug = format!("{}-{}", slug.trim_matches('-'), &Digest::of(owner.as_bytes()).short()[..8]);
        }
        Self { slug, owner }
    }

    /// The ConfigMap with what is known of the unit.
    pub(super) fn ledger(&self) -> String {
        format!("vice-{}", self.slug)
    }

    /// The Secret with a release.
    pub(super) fn revision(&self, number: u32) -> String {
        format!("vice-{}-r{number}", self.slug)
    }

    pub(super) fn config(&self, suffix: &str) -> String {
        format!("{}-config-{suffix}", self.slug)
    }

    pub(super) fn secret(&self, suffix: &str) -> String {
        format!("{}-secret-{suffix}", self.slug)
    }

    #[cfg(test)]
    pub(super) fn for_tests() -> Self {
        Self { slug: "shop-dev".to_owned(), owner: "shop/dev".to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use vice_core::id::{EnvName, ProjectName};

    use super::*;

    fn ledger(project: &str, env: &str, part: Option<&str>) -> String {
        Names::new(&Scope::new(ProjectName::new(project).unwrap(), EnvName::new(env).unwrap()), part).ledger()
    }

    #[test]
    fn no_two_are_called_alike() {
        assert_eq!(ledger("shop", "prod", Some("eu")), "vice-shop-prod-eu");
        assert_ne!(ledger("a-b", "c", None), ledger("a", "b-c", None));
        assert!(ledger(&"x".repeat(30), &"y".repeat(30), Some("eu")).len() <= 50);
    }
}
