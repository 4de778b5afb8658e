//! The secrets that this process has opened so far, for the last mask before anything is printed. It finds nothing out by
//! itself: whoever opens secrets tells it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use super::Masker;

/// All secrets of this process. Clones are the same list.
#[derive(Clone, Default)]
pub struct Known(Arc<RwLock<State>>);

#[derive(Default)]
struct State {
    masker: Masker,
    names: BTreeSet<[u8; 32]>,
    lifted: bool,
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Known")
    }
}

impl Known {
    /// Adds secrets; those that are known already change nothing.
    pub fn learn(&self, masker: &Masker) {
        if masker.is_empty() {
            return;
        }
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let State { masker: all, names, .. } = &mut *state;
        all.merge_new(masker, |digest| names.insert(digest));
    }

    /// From now on the result of this command is printed as it is, because a person asked for it.
    pub fn lift(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).lifted = true;
    }

    /// Whether a person asked to see secrets in the result.
    #[must_use]
    pub fn lifted(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).lifted
    }

    /// What masks all of them.
    #[must_use]
    pub fn masker(&self) -> Masker {
        self.0.read().unwrap_or_else(PoisonError::into_inner).masker.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    #[test]
    fn what_is_learnt_twice_is_known_once() {
        let known = Known::default();
        let mut masker = Masker::default();
        masker.add("token", &Secret::new("canary-canary"));
        known.clone().learn(&masker);
        let once = known.masker();
        known.learn(&masker);
        assert_eq!(format!("{once:?}"), format!("{:?}", known.masker()));
        assert_eq!(known.masker().mask("canary-canary"), "«secret:token»");
        assert!(!known.lifted());
        known.lift();
        assert!(known.lifted());
    }
}
