//! Peer groups, masters, and what lies outside.

use super::*;
use crux_image::mounts::{GroupIndex, GroupLink};

#[test]
fn peers_inside_have_one_source() {
    let judged = judged(&format!(
        "{ROOT}11 10 8:2 /data/a /a rw shared:50 - xfs /dev/sdb rw\n\
         12 10 8:2 /data/b /b rw shared:50 - xfs /dev/sdb rw\n\
         13 10 8:2 /data/a/c /c rw master:50 - xfs /dev/sdb rw\n"
    ));
    let mounts = &judged.mounts.namespaces[0].mounts;
    assert!(mounts[1..].iter().all(|m| m.origin == OriginIndex(1)));
    assert_eq!(wish(&judged.mounts.origins[1]).unwrap(), "/srv/data");
    assert_eq!(
        mounts[3].propagation,
        Propagation::Slave(Master::Group(GroupIndex(0)))
    );
    assert_eq!(judged.mounts.groups[0].link, GroupLink::None);
}

#[test]
fn peers_that_no_source_shows_together_are_an_obstacle() {
    let text = format!(
        "{ROOT}11 10 8:9 /a /a rw shared:50 - xfs /dev/sdb rw\n12 10 8:9 /b /b rw shared:50 - xfs /dev/sdb rw\n"
    );
    assert_eq!(causes(&one(&text), &auto()), [Cause::DisjointGroup]);
}

#[test]
fn chains_of_groups_are_tied_in_order() {
    let judged = judged(&format!(
        "{ROOT}11 10 0:11 / /a rw shared:50 - tmpfs t rw\n12 10 0:11 / /b rw shared:51 master:50 - tmpfs t rw\n\
         13 10 0:11 / /c rw master:51 - tmpfs t rw\n14 10 0:11 / /d rw unbindable - tmpfs t rw\n"
    ));
    let links: Vec<_> = judged
        .mounts
        .groups
        .iter()
        .map(|group| group.link)
        .collect();
    assert_eq!(
        links,
        [
            GroupLink::None,
            GroupLink::SlaveOf(Master::Group(GroupIndex(0)))
        ]
    );
    let mounts = &judged.mounts.namespaces[0].mounts;
    assert_eq!(
        mounts[3].propagation,
        Propagation::Slave(Master::Group(GroupIndex(1)))
    );
    assert_eq!(mounts[4].propagation, Propagation::Unbindable);
}

#[test]
fn groups_with_members_outside_are_joined_through_their_source() {
    let judged = judged(&format!(
        "{ROOT}11 10 8:2 /data /a rw shared:6 - xfs /dev/sdb rw\n\
         12 10 8:2 /other /b rw shared:60 master:6 - xfs /dev/sdb rw\n\
         13 10 8:1 /ct/x /c rw shared:61 master:1 - ext4 /dev/sda rw\n"
    ));
    let links: Vec<_> = judged
        .mounts
        .groups
        .iter()
        .map(|group| group.link)
        .collect();
    let mounts = &judged.mounts.namespaces[0].mounts;
    // The slave of a group that is outside and inside shares its source: what both show together.
    assert_eq!(mounts[1].origin, mounts[2].origin);
    let expected = [
        GroupLink::PeerOfOutside(mounts[1].origin),
        GroupLink::SlaveOf(Master::Group(GroupIndex(0))),
        GroupLink::SlaveOf(Master::Outside(mounts[3].origin)),
    ];
    assert_eq!(links, expected);
    let shared = external(&judged.mounts.origins[mounts[1].origin.at()]);
    assert_eq!(shared.group_wish.as_ref().unwrap().to_string(), "/srv");
    assert_ne!(
        mounts[3].origin,
        OriginIndex(0),
        "a slave of the outside has a source of its own"
    );
}

#[test]
fn groups_that_cannot_be_joined_are_obstacles() {
    let nowhere = format!("{ROOT}11 10 0:11 / /a rw master:99 - tmpfs t rw\n");
    assert!(matches!(
        causes(&one(&nowhere), &auto())[..],
        [Cause::MasterNowhere(_)]
    ));

    let elsewhere = format!("{ROOT}11 10 8:2 / /a rw master:70 - xfs /dev/sdb rw\n");
    let mut seen = one(&elsewhere);
    let other = "30 29 8:2 / / rw shared:70 - xfs /dev/sdb rw\n";
    seen.foreign.push(ForeignTable {
        pid: 55,
        table: table(other),
    });
    let obstacles = judge(&seen, &auto()).unwrap_err();
    assert!(obstacles[0].to_string().ends_with(
        "belongs with peer group 70 outside the container, but the group's members are in \
         the mount namespace of process 55, not in that of crux-dump"
    ));
}

#[test]
fn a_member_that_shows_too_little_or_is_hidden_is_no_source() {
    let host = format!(
        "{HOST}7 1 8:3 /a /m rw shared:77 - xfs /dev/sdc rw\n8 1 8:3 / /n rw shared:77 - xfs /dev/sdc rw\n\
         9 8 0:9 / /n rw - tmpfs over rw\n"
    );
    let container = format!("{ROOT}11 10 8:3 / /a rw master:77 - xfs /dev/sdc rw\n");
    let container = seen(vec![table(&container)], table(&host));
    assert!(matches!(
        causes(&container, &auto())[..],
        [Cause::NoOutsideMember { .. }]
    ));
}
