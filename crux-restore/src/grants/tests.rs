//! What the image asks for against what the operator grants.

use super::*;
use clap::Parser;
use crux_image::mounts::{
    Contents, FileKind, MountAttributes, MountIndex, Namespace, NamespaceContext, OwnFileSystem,
    OwnFsType, PeerGroup, SuperblockFlags,
};

fn external(name: &str, role: ExternalRole, wish: Option<&str>) -> Origin {
    Origin::External(External {
        name: name.into(),
        role,
        kind: FileKind::Directory,
        wish: wish.map(|path| Wish::Path(HostPath::new(path.as_bytes()).unwrap())),
        group_wish: wish.map(|_| HostPath::new(b"/outside").unwrap()),
        fs_type: "ext4".into(),
    })
}

fn mount(parent: Option<u32>, at: &str, origin: u32, propagation: Propagation) -> Mount {
    Mount {
        parent: parent.map(MountIndex),
        mountpoint: RelPath::new(at).unwrap(),
        origin: OriginIndex(origin),
        root: RelPath::root(),
        deleted: false,
        former: None,
        lock: crux_image::mounts::Lock::Free,
        kind: FileKind::Directory,
        attributes: MountAttributes::default(),
        propagation,
    }
}

/// A root that is a slave, a slave, a plain bind without a wish, and a peer.
fn record() -> Mounts {
    let slave = |origin| Propagation::Slave(Master::Outside(OriginIndex(origin)));
    Mounts {
        user_namespaces: Vec::new(),
        namespaces: vec![Namespace {
            owner: None,
            root: MountIndex(0),
            mounts: vec![
                mount(None, "", 0, slave(0)),
                mount(Some(0), "sys/fs/pstore", 1, slave(1)),
                mount(Some(0), "srv/it's here", 2, Propagation::Private),
                mount(
                    Some(0),
                    "peer",
                    3,
                    Propagation::Shared(crux_image::mounts::GroupIndex(0)),
                ),
            ],
        }],
        origins: vec![
            external("root", ExternalRole::Root, Some("/var/c/rootfs")),
            external("/sys/fs/pstore", ExternalRole::Bind, Some("/sys/fs/pstore")),
            external("/srv/it's here", ExternalRole::Bind, None),
            external("peer", ExternalRole::Bind, Some("/data")),
        ],
        groups: vec![PeerGroup {
            link: GroupLink::PeerOfOutside(OriginIndex(3)),
        }],
    }
}

fn granted(arguments: &[&str]) -> Result<Vec<Option<Grant>>, GrantError> {
    granted_to(&record(), arguments)
}

fn granted_to(record: &Mounts, arguments: &[&str]) -> Result<Vec<Option<Grant>>, GrantError> {
    let fixed = ["crux-restore", "--images", "x", "--mounts-only"];
    let options = Options::parse_from(fixed.iter().chain(arguments));
    grant(record, &[], &options).map(|granted| granted.origins)
}

fn operator(path: &str) -> Granted {
    Granted::Operator(path.into())
}

#[test]
fn without_a_grant_everything_is_asked_for_at_once_with_its_option() {
    let error = granted(&[]).unwrap_err().to_string();
    assert_eq!(
        error.lines().collect::<Vec<_>>(),
        [
            "the image asks for 4 sources of this host that nothing grants",
            "  root: a directory on ext4, mounted at /, slave of the host's peer group",
            "  /sys/fs/pstore: a directory on ext4, mounted at /sys/fs/pstore, slave of the host's peer group",
            "  /srv/it's here: a directory on ext4, mounted at /srv/it's here",
            "  peer: a directory on ext4, mounted at /peer, PEER of the host's: mounts made inside appear on the host",
            "  Grant them, with a SOURCE or a descriptor N where the image names none, by",
            "    --root /var/c/rootfs --slave-mount-map /sys/fs/pstore:/sys/fs/pstore \
             --external '/srv/it'\\''s here'=SOURCE --external peer=/data",
        ]
    );
}

#[test]
fn the_printed_options_grant_what_they_are_printed_for() {
    let grants = granted(&[
        "--root",
        "/var/c/rootfs",
        "--slave-mount-map",
        "/sys/fs/pstore:/sys/fs/pstore",
        "--external",
        "/srv/it's here=/any",
        "--external",
        "peer=/data",
    ])
    .unwrap();
    let contents: Vec<_> = grants
        .iter()
        .flatten()
        .map(|grant| grant.contents.clone())
        .collect();
    let wanted = ["/var/c/rootfs", "/sys/fs/pstore", "/any", "/data"];
    assert_eq!(contents, wanted.map(operator));
}

#[test]
fn auto_grants_what_the_image_names_and_nothing_else() {
    let error = granted(&["--external", "auto"]).unwrap_err();
    let GrantError::Missing(missing) = error else {
        panic!("{error:?}")
    };
    assert_eq!(missing.len(), 1);
    assert_eq!(missing[0].name, "/srv/it's here");
    let grants = granted(&["--external", "auto", "--external", "/srv/it's here=/any"]).unwrap();
    let root = grants[0].as_ref().unwrap();
    assert_eq!(
        root.contents,
        Granted::Wish(HostPath::new(b"/var/c/rootfs").unwrap())
    );
    assert_eq!(
        root.groups,
        [b"/outside".to_vec(), b"/var/c/rootfs".to_vec()]
    );
}

#[test]
fn a_given_source_comes_before_a_wish_and_names_its_own_group() {
    let arguments = [
        "--external",
        "auto",
        "--external",
        "/srv/it's here=/any",
        "--root",
        "/other",
    ];
    let grants = granted(&arguments).unwrap();
    let root = grants[0].as_ref().unwrap();
    assert_eq!(root.contents, operator("/other"));
    assert_eq!(root.groups, [b"/other".to_vec(), b"/outside".to_vec()]);
    let without_auto = [
        "--root",
        "/other",
        "--slave-mount-map",
        "/m:/",
        "--slave-mount-map",
        "/p:/sys/fs/pstore",
        "--external",
        "/srv/it's here=/any",
        "--external",
        "peer=/data",
    ];
    let grants = granted(&without_auto).unwrap();
    let root = grants[0].as_ref().unwrap();
    assert_eq!(
        (root.contents.clone(), root.groups.clone()),
        (operator("/other"), vec![b"/m".to_vec()])
    );
    assert_eq!(grants[2].as_ref().unwrap().groups, Vec::<Vec<u8>>::new());
    assert_eq!(grants[3].as_ref().unwrap().groups, [b"/data".to_vec()]);
}

#[test]
fn names_that_the_image_has_not_are_refused() {
    for arguments in [
        &["--external", "other=/x"][..],
        &["--slave-mount-map", "/x:/srv/it's here"],
        &["--slave-mount-map", "/x:/nowhere"],
    ] {
        let error = granted(arguments).unwrap_err();
        assert!(
            matches!(error, GrantError::UnknownName { .. }),
            "{arguments:?}: {error:?}"
        );
    }
    let twice = granted(&["--external", "peer=/a", "--external", "peer=/b"]).unwrap_err();
    assert_eq!(twice, GrantError::Twice("peer".into()));
}

#[test]
fn a_root_of_its_own_takes_no_root_option() {
    let mut record = record();
    record.origins[0] = Origin::Own(OwnFileSystem {
        fs_type: OwnFsType::Tmpfs,
        source: Vec::new(),
        flags: SuperblockFlags::default(),
        options: Vec::new(),
        user: None,
        context: NamespaceContext::Caller,
        contents: Contents::Kernel,
    });
    assert_eq!(
        granted_to(&record, &["--root", "/x"]),
        Err(GrantError::NoExternalRoot)
    );
}

#[test]
fn a_file_system_of_the_kernels_is_granted_by_name() {
    let grants = granted(&[
        "--external",
        "auto",
        "--external",
        "/srv/it's here=kernel:debugfs",
    ])
    .unwrap();
    assert_eq!(
        grants[2].as_ref().unwrap().contents,
        Granted::Kernel(KernelFs::Debugfs, Vec::new())
    );
}

#[test]
fn a_terminal_is_made_anew_because_its_number_has_passed_on() {
    let mut record = record();
    let Origin::External(console) = &mut record.origins[1] else {
        panic!("not external")
    };
    console.kind = FileKind::CharDevice {
        major: 136,
        minor: 7,
    };
    let error = granted_to(&record, &[]).unwrap_err().to_string();
    assert!(
        error.contains("--external /sys/fs/pstore=pty:new"),
        "{error}"
    );
    let rest = ["--external", "auto", "--external", "/srv/it's here=/any"];
    let by_hand = ["--external", "/sys/fs/pstore=pty:new", "--root", "/r"];
    let by_path = ["--external", "/sys/fs/pstore=/dev/pts/3"];
    let new_terminal = |groups: &[&[u8]]| Grant {
        contents: Granted::NewTerminal,
        groups: groups.iter().map(|group| group.to_vec()).collect(),
    };
    for (given, wanted) in [
        (
            &rest[..],
            new_terminal(&[&b"/outside"[..], &b"/dev/pts"[..]]),
        ),
        (
            &[&rest[2..], &by_hand, &["--external", "peer=/data"]].concat(),
            new_terminal(&[&b"/dev/pts"[..]]),
        ),
        (
            &[
                &rest[2..],
                &by_path,
                &by_hand[2..],
                &["--external", "peer=/data"],
            ]
            .concat(),
            Grant {
                contents: operator("/dev/pts/3"),
                groups: vec![b"/dev/pts/3".to_vec()],
            },
        ),
    ] {
        let grants = granted_to(&record, given).unwrap();
        assert_eq!(grants[1].as_ref(), Some(&wanted), "{given:?}");
    }
}
