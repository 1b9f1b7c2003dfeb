//! The last so many names, so that one that comes again is known.

use std::collections::{HashSet, VecDeque};

/// Remembers names; beyond its capacity the oldest is forgotten.
pub(super) struct Recent {
    known: HashSet<String>,
    order: VecDeque<String>,
    capacity: usize,
}

impl Recent {
    pub(super) fn new(capacity: usize) -> Self {
        Self { known: HashSet::new(), order: VecDeque::new(), capacity }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.known.contains(name)
    }

    /// Remembers a name; tells whether it is new.
    pub(super) fn insert(&mut self, name: &str) -> bool {
        if !self.known.insert(name.to_owned()) {
            return false;
        }
        self.order.push_back(name.to_owned());
        if self.order.len() > self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten() {
        let mut recent = Recent::new(2);
        assert!(recent.insert("a") && recent.insert("b") && !recent.insert("a") && recent.insert("c"));
        assert!(!recent.contains("a") && recent.contains("b") && recent.contains("c"));
        assert_eq!((recent.known.len(), recent.order.len()), (2, 2));
    }
}
