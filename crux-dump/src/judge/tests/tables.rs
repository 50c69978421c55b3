//! The recorded tables of real containers.

use super::*;

#[test]
fn vivid_has_five_sources_with_outside_groups_and_a_sub_tree_of_the_hosts() {
    let seen = seen(vec![file("vivid")], file("vivid-host"));
    let judged = judge(&seen, &auto()).unwrap();
    let mounts = &judged.mounts.namespaces[0].mounts;
    assert_eq!(mounts.len(), 21);
    let sources: Vec<_> = judged
        .mounts
        .origins
        .iter()
        .filter(|o| matches!(o, Origin::External(_)))
        .map(|o| {
            let e = external(o);
            (
                e.name.as_str(),
                wish(o).unwrap(),
                e.group_wish.as_ref().map(ToString::to_string),
            )
        })
        .collect();
    let expected = [
        ("root", "/usr/local/var/lib/lxc/u1/rootfs", Some("/")),
        (
            "/sys/fs/fuse/connections",
            "/sys/fs/fuse/connections",
            Some("/sys/fs/fuse/connections"),
        ),
        (
            "/sys/kernel/debug",
            "/sys/kernel/debug",
            Some("/sys/kernel/debug"),
        ),
        (
            "/sys/kernel/security",
            "/sys/kernel/security",
            Some("/sys/kernel/security"),
        ),
        ("/sys/fs/pstore", "/sys/fs/pstore", Some("/sys/fs/pstore")),
        ("/sys/fs/cgroup/cgmanager", "/sys/fs/cgroup/cgmanager", None),
    ];
    let mut sorted = sources.clone();
    sorted.sort_by_key(|(name, ..)| expected.iter().position(|(other, ..)| other == name));
    let expected: Vec<_> = expected
        .map(|(name, wish, group)| (name, wish.to_owned(), group.map(str::to_owned)))
        .into();
    assert_eq!(sorted, expected);
    assert_eq!(
        mounts[0].propagation,
        Propagation::Slave(Master::Outside(mounts[0].origin))
    );
    assert!(judged.mounts.groups.is_empty());
    assert_eq!(external(&judged.mounts.origins[0]).role, ExternalRole::Root);
}

#[test]
fn every_undeclared_mount_is_reported_at_once_with_its_option() {
    let seen = seen(vec![file("vivid")], file("vivid-host"));
    let obstacles = judge(&seen, &Policy::default()).unwrap_err();
    let options: Vec<_> = obstacles.iter().map(|o| o.options()[0].clone()).collect();
    assert_eq!(options.len(), 5, "{options:?}");
    assert!(options.contains(&"--external /sys/fs/pstore=/sys/fs/pstore".to_owned()));
}

#[test]
fn slave_mount_maps_declare_and_name_the_master() {
    let seen = seen(vec![file("vivid")], file("vivid-host"));
    let mut policy = Policy::default();
    for path in [
        "/sys/fs/pstore",
        "/sys/kernel/debug",
        "/sys/kernel/security",
        "/sys/fs/fuse/connections",
    ] {
        policy
            .slave_map(format!("{path}:{path}").as_bytes())
            .unwrap();
    }
    policy.slave_map(b"/:/").unwrap();
    policy
        .external(b"cgmanager=/sys/fs/cgroup/cgmanager")
        .unwrap();
    let judged = judge(&seen, &policy).unwrap();
    let root = external(&judged.mounts.origins[0]);
    assert_eq!(root.group_wish.as_ref().unwrap().to_string(), "/");

    let mut wrong = policy.clone();
    wrong.slave_maps[0].source = crux_image::path::HostPath::new(b"/sys").unwrap();
    assert!(matches!(
        causes(&seen, &wrong)[..],
        [Cause::WrongMaster { .. }]
    ));
    let mut no_slave = policy.clone();
    no_slave.slave_map(b"/sys:/dev").unwrap();
    assert_eq!(causes(&seen, &no_slave), [Cause::NoSlave(b"/dev".to_vec())]);
    let mut nothing = policy;
    nothing.slave_map(b"/sys:/nowhere").unwrap();
    assert_eq!(
        causes(&seen, &nothing),
        [Cause::NothingToMap(b"/nowhere".to_vec())]
    );
}

#[test]
fn lxc5_and_systemd_tables_are_judged_whole() {
    let host = "1 0 254:0 / / rw - ext4 /dev/vda rw\n\
        2 1 0:22 / /sys rw - sysfs sysfs rw\n\
        3 1 0:26 / /dev/pts rw - devpts devpts rw,mode=600,ptmxmode=000\n\
        4 2 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
    for (name, sources) in [("debian12-lxc5", 4), ("debian12-systemd", 9)] {
        let container = file(name);
        let lines = container.len();
        let judged = judge(&seen(vec![container], table(host)), &auto()).unwrap();
        assert_eq!(judged.mounts.namespaces[0].mounts.len(), lines, "{name}");
        let external = judged
            .mounts
            .origins
            .iter()
            .filter(|o| matches!(o, Origin::External(_)))
            .count();
        // lxc5: the root, /usr/lib, /usr/lib64 and a terminal. systemd: the root and eight hierarchies.
        assert_eq!(external, sources, "{name}");
    }
}

#[test]
fn terminals_that_mounts_show_are_recorded() {
    let container = file("debian12-systemd");
    let judged = judge(&seen(vec![container], table(PRIVATE_HOST)), &auto()).unwrap();
    let devpts = judged
        .mounts
        .origins
        .iter()
        .find_map(|origin| match origin {
            Origin::Own(own) if own.fs_type == OwnFsType::Devpts => Some(&own.contents),
            _ => None,
        });
    let Some(Contents::Terminals(terminals)) = devpts else {
        panic!("{devpts:?}")
    };
    let numbers: Vec<_> = terminals
        .iter()
        .map(|t| (t.number, t.gid, t.mode))
        .collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4].map(|n| (n, 5, 0o620)));
}
