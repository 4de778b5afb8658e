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
        Self::of(scope, part, None)
    }

    /// Those of the unit that tries releases out, beside those of the other.
    pub(super) fn of_canary(scope: &Scope, part: Option<&str>) -> Self {
        Self::of(scope, part, Some("canary"))
    }

    fn of(scope: &Scope, part: Option<&str>, unit: Option<&str>) -> Self {
        let parts = [Some(scope.project.as_str()), Some(scope.env.as_str()), part];
        let mut owner = parts.into_iter().flatten().collect::<Vec<_>>().join("/");
        if let Some(unit) = unit {
            // No name has a colon: this is never the owner of another target.
            owner = format!("{owner}:{unit}");
        }
        let plain = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
        let mut slug: String = owner.chars().map(plain).collect();
        // Where two would be called alike, or one is too long, the digest tells them apart.
        let doubtful =
            unit.is_some() || parts.into_iter().flatten().any(|part| part.contains(|c: char| plain(c) == '-'));
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

    /// The ConfigMap with the shares of the traffic. No part of a slug has a dot.
    pub(super) fn shares(&self) -> String {
        format!("vice-{}.traffic", self.slug)
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
        let scope = Scope::new(ProjectName::new("shop").unwrap(), EnvName::new("prod").unwrap());
        let canary = Names::of_canary(&scope, None);
        assert_ne!(canary.ledger(), Names::new(&scope, Some("canary")).ledger());
        assert_ne!(canary.owner, Names::new(&scope, Some("canary")).owner);
        assert!(ledger(&"x".repeat(30), &"y".repeat(30), Some("eu")).len() <= 50);
    }
}
