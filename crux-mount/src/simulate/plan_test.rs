//! The planner against the model: what is planned is what was recorded.
//!
//! Kind: pure.

use super::simulate;
use crate::arbitrary::{equal_up_to_ids, mounts};
use crate::plan::plan;
use crux_image::mounts::{GroupIndex, GroupLink, Master, Mount, Mounts, Propagation};
use proptest::prelude::*;
use std::collections::HashSet;

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_makes_what_was_recorded(recorded in mounts()) {
        prop_assume!(!needs_helpers_for_groups(&recorded));
        let plan = plan(&recorded).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let made = simulate(&recorded, plan.steps());
        let made = made.map_err(|e| TestCaseError::fail(format!("{e}\n{plan}")))?;
        let equal = equal_up_to_ids(&recorded, &made);
        prop_assert_eq!(equal, Ok(()), "{}", plan);
    }
}

/// Tables that the planner cannot plan yet: an origin with two groups that no
/// member of theirs shows enough to carry (there is one helper for an origin, and a
/// helper is in one group), or with one that is a slave of a group of the container
/// (whose carrier has to show as much as the helper does).
fn needs_helpers_for_groups(mounts: &Mounts) -> bool {
    let all = || {
        mounts
            .namespaces
            .iter()
            .flat_map(|namespace| &namespace.mounts)
    };
    let takes_part = |mount: &Mount, group: GroupIndex| match mount.propagation {
        Propagation::Shared(own) => {
            own == group || mounts.groups[own.at()].link == GroupLink::SlaveOf(Master::Group(group))
        }
        Propagation::Slave(master) => master == Master::Group(group),
        Propagation::Private | Propagation::Unbindable => false,
    };
    let mut carried = HashSet::new();
    (0..mounts.groups.len()).map(GroupIndex::from).any(|group| {
        let member = |m: &&Mount| m.propagation == Propagation::Shared(group);
        let Some(first) = all().find(member) else {
            return false;
        };
        let widest = all()
            .filter(|m| takes_part(m, group))
            .fold(first.root.clone(), |wide, m| wide.common_ancestor(&m.root));
        let shown = all().any(|m| member(&m) && m.root == widest);
        let slave = matches!(
            mounts.groups[group.at()].link,
            GroupLink::SlaveOf(Master::Group(_))
        );
        !shown && (slave || !carried.insert(first.origin))
    })
}
