//! The rules of peer groups and masters, one test each.
//!
//! Kind: pure.

use super::scene::*;
use super::{Place, Rule, simulate};
use crate::plan::{Slot, Step};
use crux_image::mounts::{
    GroupIndex, GroupLink, Master, MountIndex, Mounts, NamespaceIndex, PeerGroup, Propagation,
};

const PRIVATE: Propagation = Propagation::Private;

fn shared(mount: Slot) -> Step {
    Step::MakeShared { mount }
}

fn slave(mount: Slot) -> Step {
    Step::MakeSlave { mount }
}

fn unbindable(mount: Slot) -> Step {
    Step::MakeUnbindable { mount }
}

fn group(number: u32) -> Propagation {
    Propagation::Shared(GroupIndex(number))
}

fn slave_of(number: u32) -> Propagation {
    Propagation::Slave(Master::Group(GroupIndex(number)))
}

/// What the steps after `attached` make of the five mounts, and the groups.
fn made_of(steps: Vec<Step>) -> (Vec<Propagation>, Vec<GroupLink>) {
    let made = run(attached(), steps).unwrap();
    let mounts = made.namespaces[0]
        .mounts
        .iter()
        .map(|mount| mount.propagation)
        .collect();
    (mounts, made.groups.iter().map(|group| group.link).collect())
}

/// The yard, where helpers are changed, and back.
fn in_yard(step: Step) -> Vec<Step> {
    vec![Step::ReturnToYard, step, enter(0)]
}

#[test]
fn a_mount_made_shared_is_alone_in_its_group() {
    let (mounts, groups) = made_of(vec![shared(ROOT), shared(mount(1)), shared(mount(1))]);
    assert_eq!(mounts[..3], [group(0), group(1), PRIVATE]);
    assert_eq!(groups, [GroupLink::None, GroupLink::None]);
}

#[test]
fn a_slave_made_shared_is_both() {
    let steps = vec![
        shared(ROOT),
        set_group(ROOT, mount(1)),
        slave(mount(1)),
        shared(mount(1)),
    ];
    let (mounts, groups) = made_of(steps);
    assert_eq!(mounts[..2], [group(0), group(1)]);
    assert_eq!(groups[1], GroupLink::SlaveOf(Master::Group(GroupIndex(0))));
}

#[test]
fn set_group_gives_the_group_or_the_master() {
    let steps = vec![
        shared(ROOT),
        set_group(ROOT, mount(1)),
        slave(mount(1)),
        set_group(mount(1), mount(2)),
        set_group(ROOT, mount(3)),
    ];
    let (mounts, _) = made_of(steps);
    assert_eq!(
        mounts,
        [group(0), slave_of(0), slave_of(0), group(0), PRIVATE]
    );
}

#[test]
fn set_group_gives_both_of_a_shared_slave() {
    let steps = vec![
        shared(ROOT),
        set_group(ROOT, mount(1)),
        slave(mount(1)),
        shared(mount(1)),
        set_group(mount(1), mount(2)),
    ];
    let (mounts, groups) = made_of(steps);
    assert_eq!(mounts[..3], [group(0), group(1), group(1)]);
    assert_eq!(groups[1], GroupLink::SlaveOf(Master::Group(GroupIndex(0))));
}

#[test]
fn a_group_spreads_to_another_namespace() {
    let other = Slot::Mount(NamespaceIndex(1), MountIndex(0));
    let made = run(attached(), vec![shared(ROOT), set_group(ROOT, other)]).unwrap();
    assert_eq!(made.namespaces[1].mounts[0].propagation, group(0));
}

#[test]
fn the_source_of_a_group_shows_all_that_the_target_shows() {
    let steps = vec![shared(mount(1)), set_group(mount(1), ROOT)];
    assert_eq!(broken(attached(), steps), Rule::NarrowerSource);
}

#[test]
fn the_source_of_a_group_is_of_the_same_superblock() {
    let open = Step::OpenOutside { origin: HOST };
    let steps = [vec![open], attached()].concat();
    assert_eq!(
        broken(steps, vec![set_group(Slot::Outside(HOST), ROOT)]),
        Rule::OtherSuperblock
    );
}

#[test]
fn the_source_of_a_group_is_not_private() {
    assert_eq!(
        broken(attached(), vec![set_group(ROOT, mount(1))]),
        Rule::SourcePrivate
    );
}

#[test]
fn the_target_of_a_group_is_private() {
    let steps = vec![shared(ROOT), shared(mount(1)), set_group(ROOT, mount(1))];
    assert_eq!(broken(attached(), steps), Rule::TargetNotPrivate);
    let steps = vec![
        shared(ROOT),
        set_group(ROOT, mount(1)),
        slave(mount(1)),
        set_group(ROOT, mount(1)),
    ];
    assert_eq!(broken(attached(), steps), Rule::TargetNotPrivate);
}

#[test]
fn both_ends_of_set_group_are_attached() {
    let steps = vec![shared(ROOT), set_group(ROOT, mount(1))];
    assert_eq!(broken(rooted(), steps), Rule::NotAttached(mount(1)));
    let steps = vec![set_group(mount(1), ROOT)];
    assert_eq!(broken(rooted(), steps), Rule::NotAttached(mount(1)));
}

#[test]
fn a_clone_of_a_shared_helper_is_its_peer() {
    let mut steps = attached();
    steps.splice(9..9, [shared(HELPER)]);
    // Mount 4 and the root of namespace 1 are cloned after that.
    let other = Slot::Mount(NamespaceIndex(1), MountIndex(0));
    assert_eq!(broken_of(&image(), steps), Rule::SharedRoot(other));
    let peer = [
        made()[..9].to_vec(),
        vec![shared(HELPER), clone("gone", mount(4))],
    ]
    .concat();
    let root = vec![
        enter(0),
        Step::AttachRoot { mount: ROOT },
        attach(4, ROOT, "e"),
    ];
    let join = vec![set_group(HELPER, mount(4))];
    assert_eq!(broken([peer, root].concat(), join), Rule::TargetNotPrivate);
}

#[test]
fn nothing_is_attached_once_a_mount_of_the_container_is_shared() {
    let late = |step| broken(rooted(), vec![shared(ROOT), step]);
    assert_eq!(late(attach(1, ROOT, "a")), Rule::TooLate);
    let unlink = Step::Unlink {
        through: HELPER,
        name: path("gone"),
        former: None,
        directory: true,
    };
    assert_eq!(late(unlink), Rule::TooLate);
}

#[test]
fn a_private_mount_made_a_slave_stays_private() {
    assert_eq!(made_of(vec![slave(ROOT)]).0[0], PRIVATE);
}

#[test]
fn the_last_of_a_group_made_a_slave_is_private() {
    assert_eq!(made_of(vec![shared(ROOT), slave(ROOT)]).0[0], PRIVATE);
}

#[test]
fn slaves_of_a_group_that_ends_go_to_its_master() {
    // 0 is master of the group of 1, which is master of 2; then 1 leaves its group.
    let steps = vec![
        shared(ROOT),
        set_group(ROOT, mount(1)),
        slave(mount(1)),
        shared(mount(1)),
        set_group(mount(1), mount(2)),
        slave(mount(2)),
        slave(mount(1)),
    ];
    let (mounts, groups) = made_of(steps);
    assert_eq!(mounts[..3], [group(0), slave_of(0), slave_of(0)]);
    assert_eq!(groups.len(), 1);
}

#[test]
fn an_unbindable_mount_leaves_its_group_and_its_master() {
    let steps = vec![
        shared(ROOT),
        set_group(ROOT, mount(1)),
        unbindable(mount(1)),
        set_group(ROOT, mount(2)),
        slave(mount(2)),
        unbindable(mount(2)),
    ];
    let (mounts, _) = made_of(steps);
    assert_eq!(
        mounts[..3],
        [group(0), Propagation::Unbindable, Propagation::Unbindable]
    );
}

#[test]
fn becoming_shared_clears_unbindable_and_becoming_a_slave_does_not() {
    let steps = vec![
        unbindable(ROOT),
        shared(ROOT),
        unbindable(mount(1)),
        set_group(ROOT, mount(1)),
    ];
    assert_eq!(made_of(steps).0[..2], [group(0), group(0)]);
    let steps = vec![
        shared(ROOT),
        set_group(ROOT, mount(1)),
        slave(mount(1)),
        unbindable(mount(2)),
        set_group(mount(1), mount(2)),
    ];
    let rule = broken_of(&image(), [attached(), steps].concat());
    assert_eq!(rule, Rule::UnbindableSlave(mount(2)));
}

#[test]
fn mounts_are_changed_from_inside_their_namespace() {
    let current = Place::Container(NamespaceIndex(0));
    let rule = Rule::ForeignNamespace {
        mount: HELPER,
        holder: Place::Yard,
        current,
    };
    assert_eq!(broken(attached(), vec![shared(HELPER)]), rule);
}

#[test]
fn mounts_outside_are_not_changed() {
    let outside = Slot::Outside(HOST);
    let steps = vec![Step::OpenOutside { origin: HOST }];
    assert_eq!(
        broken(steps.clone(), vec![slave(outside)]),
        Rule::OutsideChanged(outside)
    );
    assert_eq!(
        broken(steps, vec![set_group(outside, outside)]),
        Rule::OutsideChanged(outside)
    );
}

#[test]
fn a_helper_carries_a_group_and_goes() {
    let mut steps = in_yard(shared(HELPER));
    steps.extend([set_group(HELPER, mount(1)), set_group(HELPER, mount(3))]);
    let (mounts, groups) = made_of(steps);
    assert_eq!(mounts, [PRIVATE, group(0), PRIVATE, group(0), PRIVATE]);
    assert_eq!(groups, [GroupLink::None]);
}

#[test]
fn a_slave_of_nothing_but_a_helper_is_private_in_the_end() {
    let mut steps = in_yard(shared(HELPER));
    steps.extend([set_group(HELPER, mount(1)), slave(mount(1))]);
    assert_eq!(made_of(steps).0[1], PRIVATE);
}

#[test]
fn slaves_of_a_helper_go_to_its_master_in_the_end() {
    let mut steps = vec![shared(ROOT), set_group(ROOT, HELPER)];
    steps.extend([Step::ReturnToYard, slave(HELPER), shared(HELPER), enter(0)]);
    steps.extend([set_group(HELPER, mount(1)), slave(mount(1))]);
    let (mounts, groups) = made_of(steps);
    assert_eq!(mounts[..2], [group(0), slave_of(0)]);
    assert_eq!(groups, [GroupLink::None]);
}

/// An image with one mount, of the host's source, and the steps that make it.
fn from_host(more: Vec<Step>) -> (Mounts, Vec<Step>) {
    let mut image = image();
    image.namespaces.truncate(1);
    image.namespaces[0].mounts.truncate(1);
    image.namespaces[0].mounts[0].origin = HOST;
    let attributes = image.namespaces[0].mounts[0].attributes.clone();
    let steps = vec![
        Step::OpenSource {
            origin: HOST,
            into: ROOT,
        },
        Step::SetAttributes {
            mount: ROOT,
            attributes,
        },
        Step::OpenOutside { origin: HOST },
        Step::EnterYard,
        new_namespace(0),
        enter(0),
        Step::AttachRoot { mount: ROOT },
        set_group(Slot::Outside(HOST), ROOT),
    ];
    (image, [steps, more].concat())
}

#[test]
fn groups_outside_are_named_by_their_origin() {
    let (mut expected, steps) = from_host(vec![]);
    expected.namespaces[0].mounts[0].propagation = group(0);
    expected.groups = vec![PeerGroup {
        link: GroupLink::PeerOfOutside(HOST),
    }];
    assert_eq!(simulate(&expected, &steps), Ok(expected));

    let (mut expected, steps) = from_host(vec![slave(ROOT)]);
    expected.namespaces[0].mounts[0].propagation = Propagation::Slave(Master::Outside(HOST));
    assert_eq!(simulate(&expected, &steps), Ok(expected));

    let (mut expected, steps) = from_host(vec![slave(ROOT), shared(ROOT)]);
    expected.namespaces[0].mounts[0].propagation = group(0);
    expected.groups = vec![PeerGroup {
        link: GroupLink::SlaveOf(Master::Outside(HOST)),
    }];
    assert_eq!(simulate(&expected, &steps), Ok(expected));
}
