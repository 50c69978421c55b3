//! Which id of one tree stands for which of the other.
//!
//! Kind: pure.

use std::collections::HashMap;
use std::hash::Hash;

/// A growing one-to-one relation. Each pair remembers the first place that made it.
pub(super) struct Pairing<Id, Witness> {
    forward: HashMap<Id, (Id, Witness)>,
    backward: HashMap<Id, (Id, Witness)>,
}

/// What adding a pair found.
pub(super) enum Paired<Witness> {
    /// Neither was paired before.
    New,
    /// This very pair was there.
    Known,
    /// `was` is paired with something else, since this place.
    WasElsewhere(Witness),
    /// `is` is paired with something else, since this place.
    IsElsewhere(Witness),
}

impl<Id: Copy + Eq + Hash, Witness: Copy> Pairing<Id, Witness> {
    pub(super) fn new() -> Self {
        Self {
            forward: HashMap::new(),
            backward: HashMap::new(),
        }
    }

    pub(super) fn pair(&mut self, was: Id, is: Id, witness: Witness) -> Paired<Witness> {
        match (self.forward.get(&was), self.backward.get(&is)) {
            (Some((other, _)), _) if *other == is => Paired::Known,
            (Some((_, first)), _) => Paired::WasElsewhere(*first),
            (None, Some((_, first))) => Paired::IsElsewhere(*first),
            (None, None) => {
                self.forward.insert(was, (is, witness));
                self.backward.insert(is, (was, witness));
                Paired::New
            }
        }
    }

    pub(super) fn are_paired(&self, was: Id, is: Id) -> bool {
        self.forward
            .get(&was)
            .is_some_and(|(other, _)| *other == is)
    }
}
