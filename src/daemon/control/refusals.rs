//! Which refused messages are logged: a flood of them must not flood the log.

use std::collections::BTreeSet;

use crate::publish::{RefusalReason, Refused};
use crate::time::{MonoTime, NANOS_PER_SEC};

/// The log has at most one line on each reason in this time.
const TOLD_EVERY_NANOS: i64 = 10 * NANOS_PER_SEC;

/// Which refusals were logged; the rest is a sum now and then.
#[derive(Default)]
pub(super) struct Refusals {
    told: BTreeSet<RefusalReason>,
    untold: u64,
    told_at: MonoTime,
}

impl Refusals {
    /// Whether this one has a line of its own: the first of its reason since the last sum.
    pub(super) fn is_new(&mut self, refused: &Refused) -> bool {
        let is_new = self.told.insert(refused.reason);
        self.untold += u64::from(!is_new);
        is_new
    }

    pub(super) fn tell(&mut self, now: MonoTime) {
        if now.nanos_since(self.told_at) < TOLD_EVERY_NANOS {
            return;
        }
        if self.untold > 0 {
            tracing::warn!("{} more messages were refused (counted by reason in health)", self.untold);
        }
        *self = Self { told_at: now, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::About;

    #[test]
    fn each_reason_has_a_line_now_and_then() {
        let refused = |reason| Refused { reason, what: String::new(), about: About::Nothing, digest: Box::default() };
        let mut refusals = Refusals::default();
        let at = |secs: i64| MonoTime::from_nanos(secs * NANOS_PER_SEC);
        refusals.tell(at(100));
        assert!(refusals.is_new(&refused(RefusalReason::Poison)) && refusals.is_new(&refused(RefusalReason::Expired)));
        assert!((0..1000).all(|_| !refusals.is_new(&refused(RefusalReason::Poison))));
        refusals.tell(at(105));
        assert!(!refusals.is_new(&refused(RefusalReason::Poison)));
        refusals.tell(at(111));
        assert!(refusals.is_new(&refused(RefusalReason::Poison)));
    }
}
