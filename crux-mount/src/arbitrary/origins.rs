//! Random origins.
//!
//! Kind: pure; for tests only.

use crux_image::contents::Section;
use crux_image::mounts::{
    Contents, External, ExternalRole, FileKind, GroupLink, KernelFs, Master, Mounts,
    NamespaceContext, Origin, OriginIndex, OwnFileSystem, OwnFsType, Propagation, SuperblockFlags,
    Wish,
};
use crux_image::path::HostPath;
use std::collections::BTreeSet;

const OWN: [OwnFsType; 6] = [
    OwnFsType::Tmpfs,
    OwnFsType::Proc,
    OwnFsType::Ramfs,
    OwnFsType::Devpts,
    OwnFsType::Sysfs,
    OwnFsType::Mqueue,
];

/// One origin for each pair of numbers. The first is always a directory's.
pub(super) fn make(numbers: &[[u16; 2]]) -> Vec<Origin> {
    let mut origins: Vec<Origin> = Vec::new();
    for (at, [what, how]) in numbers.iter().map(|n| n.map(usize::from)).enumerate() {
        let wanted = match what % 3 {
            0 => own(OWN[how % OWN.len()], how),
            1 => external(at, FileKind::Directory, how),
            _ if at == 0 => own(OwnFsType::Tmpfs, how),
            _ if how % 2 == 0 => external(at, FileKind::Regular, 0),
            _ => external(at, FileKind::CharDevice { major: 1, minor: 3 }, 0),
        };
        origins.push(unless_second(&origins, wanted));
    }
    origins
}

/// The kernel has one sysfs for a net namespace and one mqueue for an ipc namespace.
fn unless_second(origins: &[Origin], wanted: Origin) -> Origin {
    let single = |origin: &Origin| match origin {
        Origin::Own(own) if matches!(own.fs_type, OwnFsType::Sysfs | OwnFsType::Mqueue) => {
            Some(own.fs_type)
        }
        _ => None,
    };
    let second = single(&wanted).is_some_and(|fs| origins.iter().any(|o| single(o) == Some(fs)));
    if second {
        own(OwnFsType::Tmpfs, 0)
    } else {
        wanted
    }
}

fn own(fs_type: OwnFsType, how: usize) -> Origin {
    let contents = match fs_type {
        OwnFsType::Tmpfs | OwnFsType::Ramfs => Contents::Tree(Section {
            offset: 0,
            length: 0,
            entries: 1,
        }),
        _ => Contents::Kernel,
    };
    Origin::Own(OwnFileSystem {
        fs_type,
        source: fs_type.name().into(),
        flags: SuperblockFlags {
            readonly: how % 5 == 4,
            ..SuperblockFlags::default()
        },
        options: vec![],
        user: None,
        context: NamespaceContext::Caller,
        contents,
    })
}

fn external(at: usize, kind: FileKind, how: usize) -> Origin {
    let role = if at == 0 {
        ExternalRole::Root
    } else {
        ExternalRole::Bind
    };
    let path = HostPath::new(format!("/srv/{at}").as_bytes()).expect("a valid path");
    // At most one mount of a file system of the kernel's: the first Bind.
    let wish = match how % 3 {
        1 if at == 1 => Some(Wish::Kernel {
            fs: KernelFs::Debugfs,
            options: vec![],
        }),
        2 => None,
        _ => Some(Wish::Path(path)),
    };
    Origin::External(External {
        name: format!("source-{at}"),
        role,
        kind,
        wish,
        group_wish: None,
        fs_type: "ext4".into(),
    })
}

/// Whether files of an origin can have been removed while they were mounted: not
/// outside, where a restore removes nothing, nor where the kernel makes the
/// files; and a superblock that holds removed files cannot become read-only.
pub(super) fn can_lose_files(origin: &Origin) -> bool {
    match origin {
        Origin::Own(own) => matches!(own.contents, Contents::Tree(_)) && !own.flags.readonly,
        Origin::External(_) => false,
    }
}

/// Whether the kernel can make id-mapped mounts of an origin.
pub(super) fn can_be_mapped(origin: &Origin) -> bool {
    match origin {
        Origin::Own(own) => own.fs_type == OwnFsType::Tmpfs,
        Origin::External(external) => !matches!(external.wish, Some(Wish::Kernel { .. })),
    }
}

/// Removes the origins that no mount shows.
pub(super) fn drop_unused(mounts: &mut Mounts) {
    let all = mounts
        .namespaces
        .iter()
        .flat_map(|namespace| &namespace.mounts);
    let used: BTreeSet<OriginIndex> = all.map(|mount| mount.origin).collect();
    let new = |old: &mut OriginIndex| *old = used.range(..*old).count().into();
    let mut at = 0..;
    mounts
        .origins
        .retain(|_| used.contains(&at.next().map(OriginIndex::from).expect("no end")));
    for mount in mounts
        .namespaces
        .iter_mut()
        .flat_map(|namespace| &mut namespace.mounts)
    {
        new(&mut mount.origin);
        if let Propagation::Slave(Master::Outside(origin)) = &mut mount.propagation {
            new(origin);
        }
    }
    for group in &mut mounts.groups {
        match &mut group.link {
            GroupLink::PeerOfOutside(o) | GroupLink::SlaveOf(Master::Outside(o)) => new(o),
            GroupLink::None | GroupLink::SlaveOf(Master::Group(_)) => {}
        }
    }
}
