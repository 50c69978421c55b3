//! Whether a record of mounts means anything: indexes, trees, groups, names.
//!
//! Kind: pure, linear in the size of the record, without recursion. What passes
//! can be planned without a bounds check failing or a loop not ending; whether
//! this kernel can build it is the planner's business.

mod origins;
mod propagation;
mod rule;
mod tree;

pub use rule::{MountsError, Place, Rule};

use super::{IdRange, Mounts, UserNamespace, UserNsIndex};

/// Most mounts of one container. The kernel's own limit is 100,000 for a
/// namespace (`fs.mount-max`), which an administrator can raise.
const MOUNT_LIMIT: usize = 200_000;
const NAMESPACE_LIMIT: usize = 10_000;
const USER_NAMESPACE_LIMIT: usize = 10_000;
/// user_namespaces(7): lines of a map.
const MAP_LIMIT: usize = 340;

impl Mounts {
    /// Checks every rule of `docs/format.md`; the first that fails is the error.
    pub fn check(&self) -> Result<(), MountsError> {
        self.check_counts()?;
        for (at, user) in self.user_namespaces.iter().enumerate() {
            check_user_namespace(at, user).map_err(|rule| rule.at(Place::UserNamespace(at)))?;
        }
        origins::check(self)?;
        tree::check(self)?;
        propagation::check(self)
    }

    fn check_counts(&self) -> Result<(), MountsError> {
        let mounts = self
            .namespaces
            .iter()
            .map(|namespace| namespace.mounts.len())
            .sum();
        for (what, count, limit) in [
            ("mounts", mounts, MOUNT_LIMIT),
            ("namespaces", self.namespaces.len(), NAMESPACE_LIMIT),
            (
                "user namespaces",
                self.user_namespaces.len(),
                USER_NAMESPACE_LIMIT,
            ),
            ("origins", self.origins.len(), MOUNT_LIMIT),
            ("peer groups", self.groups.len(), MOUNT_LIMIT),
        ] {
            if count > limit {
                return Err(Rule::TooMany { what, count, limit }.at(Place::Image));
            }
        }
        if self.namespaces.is_empty() {
            return Err(Rule::NoNamespace.at(Place::Image));
        }
        Ok(())
    }

    pub(crate) fn has_user(&self, user: Option<UserNsIndex>) -> Result<(), Rule> {
        match user {
            Some(user) => in_range("user namespace", user.at(), self.user_namespaces.len()),
            None => Ok(()),
        }
    }
}

fn in_range(what: &'static str, index: usize, count: usize) -> Result<(), Rule> {
    if index < count {
        Ok(())
    } else {
        Err(Rule::Index { what, index, count })
    }
}

fn check_user_namespace(at: usize, user: &UserNamespace) -> Result<(), Rule> {
    if user.parent.is_some_and(|parent| parent.at() >= at) {
        return Err(Rule::ParentAfterChild);
    }
    check_map(&user.uid_map)?;
    check_map(&user.gid_map)
}

/// A map as the kernel would take it (user_namespaces(7)).
fn check_map(map: &[IdRange]) -> Result<(), Rule> {
    if map.len() > MAP_LIMIT {
        return Err(Rule::TooMany {
            what: "lines of an id map",
            count: map.len(),
            limit: MAP_LIMIT,
        });
    }
    check_ranges(map, |range| range.inside)?;
    check_ranges(map, |range| range.outside)
}

fn check_ranges(map: &[IdRange], first: impl Fn(&IdRange) -> u32) -> Result<(), Rule> {
    let mut ranges: Vec<(u32, u32)> = Vec::with_capacity(map.len());
    for range in map {
        let start = first(range);
        let end = start.checked_add(range.count).ok_or(Rule::IdRange)?;
        if range.count == 0 {
            return Err(Rule::IdRange);
        }
        ranges.push((start, end));
    }
    ranges.sort_unstable();
    match ranges.windows(2).any(|pair| pair[1].0 < pair[0].1) {
        true => Err(Rule::IdOverlap),
        false => Ok(()),
    }
}
