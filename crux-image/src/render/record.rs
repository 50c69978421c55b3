//! The record of mounts for programs: what `--json` prints. Stable: names are
//! added, never renamed. Paths are strings with octal escapes.
//!
//! Kind: pure.

use super::order::display_order;
use super::words;
use crate::mounts::{
    Contents, ExternalRole, GroupLink, IdRange, Lock, Master, Mount, Mounts, NamespaceContext,
    Origin, Propagation,
};
use crate::path::Escaped;
use serde::Serialize;

/// [`Mounts`] for `--json`.
#[derive(Debug, Serialize)]
pub struct MountsRecord {
    namespaces: Vec<NamespaceRecord>,
    origins: Vec<OriginRecord>,
    groups: Vec<Option<TieRecord>>,
    user_namespaces: Vec<UserNamespaceRecord>,
}

#[derive(Debug, Serialize)]
struct NamespaceRecord {
    owner: Option<u32>,
    root: u32,
    /// In the order in which `tree` shows them.
    mounts: Vec<MountRecord>,
}

#[derive(Debug, Serialize)]
struct MountRecord {
    index: u32,
    parent: Option<u32>,
    path: String,
    mountpoint: String,
    origin: u32,
    root: String,
    deleted: bool,
    former: Option<String>,
    kind: String,
    attributes: Vec<String>,
    id_map: Option<[Vec<RangeRecord>; 2]>,
    propagation: PropagationRecord,
    lock: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum PropagationRecord {
    Private,
    Unbindable,
    Shared { group: u32 },
    Slave { master: MasterRecord },
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum MasterRecord {
    Group(u32),
    /// The position of an external origin.
    Outside(u32),
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum TieRecord {
    SlaveOf(MasterRecord),
    PeerOfOutside(u32),
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum OriginRecord {
    Own {
        fs_type: &'static str,
        source: String,
        superblock: Vec<String>,
        options: Vec<String>,
        user_namespace: Option<u32>,
        namespace_context: Option<u32>,
        contents: ContentsRecord,
    },
    External {
        name: String,
        role: &'static str,
        kind: String,
        fs_type: String,
        wish: Option<String>,
        group_wish: Option<String>,
    },
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum ContentsRecord {
    Kernel,
    Tree { entries: u64 },
    Terminals(Vec<u32>),
    Queues(Vec<String>),
}

#[derive(Debug, Serialize)]
struct UserNamespaceRecord {
    parent: Option<u32>,
    uid_map: Vec<RangeRecord>,
    gid_map: Vec<RangeRecord>,
}

#[derive(Debug, Serialize)]
struct RangeRecord {
    inside: u32,
    outside: u32,
    count: u32,
}

/// A checked record, for `--json`.
pub fn mounts_record(mounts: &Mounts) -> MountsRecord {
    MountsRecord {
        namespaces: mounts.namespaces.iter().map(namespace).collect(),
        origins: mounts.origins.iter().map(origin).collect(),
        groups: mounts.groups.iter().map(|group| tie(group.link)).collect(),
        user_namespaces: mounts
            .user_namespaces
            .iter()
            .map(|user| UserNamespaceRecord {
                parent: user.parent.map(|parent| parent.0),
                uid_map: ranges(&user.uid_map),
                gid_map: ranges(&user.gid_map),
            })
            .collect(),
    }
}

fn namespace(namespace: &crate::mounts::Namespace) -> NamespaceRecord {
    let order = display_order(namespace).into_iter();
    NamespaceRecord {
        owner: namespace.owner.map(|owner| owner.0),
        root: namespace.root.0,
        mounts: order
            .map(|placed| {
                let path = namespace.path_of(placed.mount).to_string();
                mount(placed.mount.0, path, &namespace.mounts[placed.mount.at()])
            })
            .collect(),
    }
}

fn mount(index: u32, path: String, mount: &Mount) -> MountRecord {
    let idmap = mount.attributes.idmap.as_ref();
    MountRecord {
        index,
        parent: mount.parent.map(|parent| parent.0),
        path,
        mountpoint: mount.mountpoint.to_string(),
        origin: mount.origin.0,
        root: mount.root.to_string(),
        deleted: mount.deleted,
        former: mount.former.as_ref().map(ToString::to_string),
        kind: words::kind(mount.kind),
        attributes: split(&words::attributes(&mount.attributes)),
        id_map: idmap.map(|map| [ranges(&map.uids), ranges(&map.gids)]),
        propagation: match mount.propagation {
            Propagation::Private => PropagationRecord::Private,
            Propagation::Unbindable => PropagationRecord::Unbindable,
            Propagation::Shared(group) => PropagationRecord::Shared { group: group.0 },
            Propagation::Slave(of) => PropagationRecord::Slave { master: master(of) },
        },
        lock: match mount.lock {
            Lock::Free => "free",
            Lock::Flags => "flags",
            Lock::Place => "place",
            Lock::Lost => "lost",
        },
    }
}

fn master(master: Master) -> MasterRecord {
    match master {
        Master::Group(group) => MasterRecord::Group(group.0),
        Master::Outside(origin) => MasterRecord::Outside(origin.0),
    }
}

fn tie(link: GroupLink) -> Option<TieRecord> {
    match link {
        GroupLink::None => None,
        GroupLink::SlaveOf(of) => Some(TieRecord::SlaveOf(master(of))),
        GroupLink::PeerOfOutside(origin) => Some(TieRecord::PeerOfOutside(origin.0)),
    }
}

fn origin(origin: &Origin) -> OriginRecord {
    match origin {
        Origin::Own(own) => OriginRecord::Own {
            fs_type: own.fs_type.name(),
            source: Escaped(&own.source).to_string(),
            superblock: split(&words::superblock(own.flags)),
            options: own.options.iter().map(words::option).collect(),
            user_namespace: own.user.map(|user| user.0),
            namespace_context: match own.context {
                NamespaceContext::Caller => None,
                NamespaceContext::Own(number) => Some(number),
            },
            contents: match &own.contents {
                Contents::Kernel => ContentsRecord::Kernel,
                Contents::Tree(section) => ContentsRecord::Tree {
                    entries: section.entries,
                },
                Contents::Queues(list) => ContentsRecord::Queues(
                    list.iter().map(|q| Escaped(&q.name).to_string()).collect(),
                ),
                Contents::Terminals(list) => {
                    ContentsRecord::Terminals(list.iter().map(|t| t.number).collect())
                }
            },
        },
        Origin::External(external) => OriginRecord::External {
            name: words::external_name(external),
            role: match external.role {
                ExternalRole::Root => "root",
                ExternalRole::Bind => "bind",
            },
            kind: words::kind(external.kind),
            fs_type: Escaped(external.fs_type.as_bytes()).to_string(),
            wish: external.wish.as_ref().map(words::wish),
            group_wish: external.group_wish.as_ref().map(ToString::to_string),
        },
    }
}

fn ranges(map: &[IdRange]) -> Vec<RangeRecord> {
    let record = |r: &IdRange| RangeRecord {
        inside: r.inside,
        outside: r.outside,
        count: r.count,
    };
    map.iter().map(record).collect()
}

fn split(words: &str) -> Vec<String> {
    words.split(',').map(str::to_owned).collect()
}
