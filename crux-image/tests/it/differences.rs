//! What `diff` says of trees that differ.

use super::{groups, vivid};
use crux_image::diff::diff;
use crux_image::mounts::{
    Atime, GroupIndex, GroupLink, Master, MountIndex, Mounts, Origin, OriginIndex, PeerGroup,
    Propagation,
};

fn changed(from: Mounts, change: impl FnOnce(&mut Mounts)) -> Vec<String> {
    let mut is = from.clone();
    change(&mut is);
    is.check().unwrap();
    diff(&from, &is).iter().map(ToString::to_string).collect()
}

fn vivid_changed(change: impl FnOnce(&mut Mounts)) -> Vec<String> {
    changed(vivid::mounts(), change)
}

fn at<'a>(mounts: &'a mut Mounts, mountpoint: &str) -> &'a mut crux_image::mounts::Mount {
    let found =
        |m: &&mut crux_image::mounts::Mount| m.mountpoint.as_bytes() == mountpoint.as_bytes();
    mounts.namespaces[0].mounts.iter_mut().find(found).unwrap()
}

#[test]
fn attributes_are_named_one_by_one() {
    let lines = vivid_changed(|m| {
        let mount = at(m, "devices/virtual/net");
        mount.attributes.nosuid = true;
        mount.attributes.atime = Atime::Noatime;
        m.namespaces[0].mounts[3].attributes.readonly = false;
    });
    assert_eq!(
        lines,
        [
            "mount /proc/sys: is rw, was ro",
            "mount /sys/devices/virtual/net: is nosuid, was not nosuid",
            "mount /sys/devices/virtual/net: is noatime, was relatime",
        ]
    );
}

#[test]
fn stacked_mounts_are_told_apart() {
    let lines = vivid_changed(|m| m.namespaces[0].mounts[7].attributes.readonly = false);
    assert_eq!(lines, ["mount /sys (2nd): is rw, was ro"]);
}

#[test]
fn a_missing_tree_is_one_line() {
    let from = vivid::mounts();
    let mut is = from.clone();
    let mounts = &mut is.namespaces[0].mounts;
    mounts.truncate(mounts.len() - 4);
    let lines: Vec<String> = diff(&from, &is).iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        ["mount /run with 3 mounts beneath it: is missing, was there"]
    );
    let lines: Vec<String> = diff(&is, &from).iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        ["mount /run with 3 mounts beneath it: is there, was missing"]
    );
}

#[test]
fn file_systems_are_compared_by_what_they_are() {
    let lines = vivid_changed(|m| {
        if let Origin::Own(own) = &mut m.origins[1] {
            own.options[0].value = Some(b"200k".to_vec());
            own.options[1].key = "nr_inodes".into();
            own.source = b"tmpfs".to_vec();
            own.flags.readonly = true;
        }
    });
    assert_eq!(
        lines,
        [
            "mount /dev, source: is \"tmpfs\", was \"none\"",
            "mount /dev, superblock: is ro, was rw",
            "mount /dev, option mode: is absent, was 755",
            "mount /dev, option size: is 200k, was 100k",
            "mount /dev, option nr_inodes: is 755, was absent",
        ]
    );
}

#[test]
fn the_order_of_options_does_not_matter() {
    let lines = vivid_changed(|m| {
        if let Origin::Own(own) = &mut m.origins[1] {
            own.options.reverse();
        }
    });
    assert_eq!(lines, [""; 0]);
}

#[test]
fn one_file_system_made_two_is_noticed() {
    let lines = vivid_changed(|m| {
        let twin = m.origins[2].clone();
        m.origins.push(twin);
        at(m, "sysrq-trigger").origin = OriginIndex::from(m.origins.len() - 1);
    });
    assert_eq!(
        lines,
        ["mount /proc/sysrq-trigger: is not of the same file system as /proc, was of the same"]
    );
}

#[test]
fn masters_and_peers_are_named_by_their_mounts() {
    let slave = |m: &mut Mounts, propagation| at(m, "mnt/slave of slave").propagation = propagation;
    let lines = changed(groups::mounts(), |m| {
        slave(m, Propagation::Slave(Master::Group(GroupIndex(0))));
    });
    assert_eq!(
        lines,
        [
            "namespace 0, mount /mnt/slave of slave: is a slave of the peers of /mnt/peer <&> \"one\" \
          of namespace 0, was a slave of the peers of /mnt/slave of namespace 0"
        ]
    );
    let lines = changed(groups::mounts(), |m| slave(m, Propagation::Private));
    assert_eq!(
        lines,
        [
            "namespace 0, mount /mnt/slave of slave: is private, was a slave of the peers of \
          /mnt/slave of namespace 0"
        ]
    );
}

#[test]
fn a_split_peer_group_is_noticed() {
    let lines = changed(groups::mounts(), |m| {
        m.groups.push(PeerGroup {
            link: GroupLink::None,
        });
        m.namespaces[1].mounts[3].propagation = Propagation::Shared(GroupIndex(4));
    });
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].starts_with("namespace 1, mount /mnt: is not a peer of /"),
        "{lines:?}"
    );
}

#[test]
fn ties_of_groups_to_the_outside_are_compared() {
    let lines = changed(groups::mounts(), |m| m.groups[2].link = GroupLink::None);
    assert_eq!(
        lines,
        ["namespace 0, mount /media: is shared, was shared with outside /media"]
    );
    let lines = vivid_changed(|m| m.namespaces[0].mounts[0].propagation = Propagation::Private);
    assert_eq!(lines, ["mount /: is private, was a slave of outside root"]);
}

#[test]
fn namespaces_are_compared() {
    let lines = changed(groups::mounts(), |m| {
        m.namespaces[1].root = MountIndex(0);
        m.namespaces[1].owner = None;
        m.user_namespaces[0].uid_map[0].count = 10;
    });
    assert_eq!(
        lines,
        [
            "namespace 0, mount /bound, user namespace, uid map: is 0→100000 (10), \
             was 0→100000 (65536)",
            "mount namespace 1, owner: is that of whoever restores, was one of the container's own",
            "mount namespace 1, root of its tasks: is /, was / (2nd)",
        ]
    );
}
