//! Superblocks: which are the container's own and how they are made again.
//!
//! Kind: pure.

use super::groups::Relation;
use super::items::{Item, place};
use super::obstacle::{Cause, Obstacle};
use super::outside::Outside;
use super::seen::{Fill, NamespaceId, Seen, SeenQueue};
use crux_image::mounts::{
    Contents, FsOption, Lock, NamespaceContext, OwnFileSystem, OwnFsType, Queue, Terminal,
    UserNsIndex,
};
use crux_mount::filesystems::{self, Class, OptionRefusal, Row};
use crux_mount::ids::Device;
use crux_mount::mountinfo::SuperOption;
use std::collections::{BTreeMap, HashMap};

/// A superblock that mounts of the container show.
#[derive(Debug)]
pub(super) struct Superblock {
    /// Its row in the table of file systems; without one it is an obstacle.
    pub(super) row: Option<&'static Row>,
    /// The mounts, in order.
    pub(super) members: Vec<usize>,
    /// Who provides it.
    pub(super) provider: Provider,
}

/// Who provides a superblock at restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Provider {
    /// The restore makes it.
    Own(OwnFsType),
    /// It comes from outside.
    External,
}

/// Sorts the mounts by superblock, in the order of first appearance. The source that mountinfo shows belongs
/// to the mount, not to the superblock: clones inherit it, but each mount(2) of a
/// file system that the kernel finds again brings its own. So mounts of one sysfs or
/// mqueue with other sources are made apart, and meet in one superblock.
pub(super) fn sort(
    items: &[Item<'_>],
    relations: &[Relation],
    declared: &HashMap<usize, &str>,
    outside: &Outside<'_>,
) -> Vec<Superblock> {
    let mut at: HashMap<(Device, Option<&[u8]>), usize> = HashMap::new();
    let mut all: Vec<Superblock> = Vec::new();
    for (number, item) in items.iter().enumerate() {
        let row = filesystems::find(&item.entry.fs_type);
        let found_again = row.is_some_and(|row| is_keyed(row.class));
        let source = found_again.then_some(item.entry.source.as_slice());
        let place = *at.entry((item.device(), source)).or_insert(all.len());
        if place == all.len() {
            all.push(Superblock {
                row,
                members: Vec::new(),
                provider: Provider::External,
            });
        }
        all[place].members.push(number);
    }
    for superblock in &mut all {
        superblock.provider = provider(superblock, items, relations, declared, outside);
    }
    all
}

/// Whether a second mount of it finds the superblock of the first.
fn is_keyed(class: Class) -> bool {
    matches!(class, Class::Own(OwnFsType::Sysfs | OwnFsType::Mqueue))
}

fn provider(
    superblock: &Superblock,
    items: &[Item<'_>],
    relations: &[Relation],
    declared: &HashMap<usize, &str>,
    outside: &Outside<'_>,
) -> Provider {
    let Some(Row {
        class: Class::Own(kind),
        ..
    }) = superblock.row
    else {
        return Provider::External;
    };
    let tied =
        |member: &usize| relations[*member] != Relation::None || declared.contains_key(member);
    // The kernel finds the one sysfs of a net namespace, and the one mqueue of an ipc
    // namespace, whoever mounts it: that others see it too does not make it theirs.
    let keyed = is_keyed(Class::Own(*kind));
    let device = items[superblock.members[0]].device();
    match superblock.members.iter().any(tied) || (!keyed && outside.shows(device)) {
        true => Provider::External,
        false => Provider::Own(*kind),
    }
}

/// Says what the table of file systems has against a superblock, whoever provides it.
pub(super) fn inspect(
    seen: &Seen,
    items: &[Item<'_>],
    superblock: &Superblock,
    obstacles: &mut Vec<Obstacle>,
) {
    let first = &items[superblock.members[0]];
    let mut object = |cause| {
        obstacles.push(Obstacle {
            place: Some(place(seen, first)),
            cause,
        })
    };
    match (superblock.row, superblock.provider) {
        (None, _) => object(Cause::UnknownType),
        (
            Some(Row {
                class: Class::Refused,
                why,
                ..
            }),
            _,
        ) => object(Cause::RefusedType(why)),
        (Some(row), Provider::Own(_)) => {
            for SuperOption { key, value } in &first.entry.options {
                match row.option(key, value.as_deref()) {
                    Ok(_) => {}
                    Err(OptionRefusal::Unknown) => object(Cause::UnknownOption(key.to_vec())),
                    Err(OptionRefusal::Known(why)) => object(Cause::RefusedOption {
                        key: key.to_vec(),
                        why,
                    }),
                }
            }
        }
        (Some(_), Provider::External) => {}
    }
}

/// Numbers the net and ipc namespaces that the container does not share with the dumper.
#[derive(Debug, Default)]
pub(super) struct Contexts {
    numbers: HashMap<OwnFsType, HashMap<(NamespaceId, Device), u32>>,
}

impl Contexts {
    /// Which namespace a superblock belongs to.
    fn of(
        &mut self,
        seen: &Seen,
        kind: OwnFsType,
        first: &Item<'_>,
        outside: &Outside<'_>,
    ) -> NamespaceContext {
        let space = &seen.container[first.namespace];
        let (mine, theirs) = match kind {
            OwnFsType::Sysfs => (seen.host_net, space.net),
            OwnFsType::Mqueue => (seen.host_ipc, space.ipc),
            _ => return NamespaceContext::Caller,
        };
        if mine == theirs || outside.host_shows(first.device()) {
            return NamespaceContext::Caller;
        }
        // Each kind of namespace has numbers of its own: the first is the one that COMMAND runs in.
        let numbers = self.numbers.entry(kind).or_default();
        let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
        NamespaceContext::Own(*numbers.entry((theirs, first.device())).or_insert(next))
    }
}

/// The record of an own superblock, its contents still to be collected.
pub(super) fn record(
    seen: &Seen,
    items: &[Item<'_>],
    superblock: &Superblock,
    kind: OwnFsType,
    contexts: &mut Contexts,
    outside: &Outside<'_>,
    obstacles: &mut Vec<Obstacle>,
) -> OwnFileSystem {
    let first = &items[superblock.members[0]];
    let context = contexts.of(seen, kind, first, outside);
    OwnFileSystem {
        fs_type: kind,
        source: first.entry.source.clone(),
        flags: first.entry.flags,
        options: options(superblock, first),
        user: mounter(seen, kind, first),
        context,
        contents: contents(seen, items, superblock, kind, context, obstacles),
    }
}

/// The user namespace that it was mounted in. Where flags are locked, that was another one, outside;
/// but of proc and sysfs new mounts have those locked that the one has which was there before.
fn mounter(seen: &Seen, kind: OwnFsType, first: &Item<'_>) -> Option<UserNsIndex> {
    let owner = seen.container[first.namespace].owner;
    let always = matches!(kind, OwnFsType::Proc | OwnFsType::Sysfs);
    owner.filter(|_| always || first.lock(seen) == Lock::Free)
}

fn options(superblock: &Superblock, first: &Item<'_>) -> Vec<FsOption> {
    let Some(row) = superblock.row else {
        return Vec::new();
    };
    first
        .entry
        .options
        .iter()
        .filter_map(|o| row.option(&o.key, o.value.as_deref()).ok().flatten())
        .collect()
}

fn contents(
    seen: &Seen,
    items: &[Item<'_>],
    superblock: &Superblock,
    kind: OwnFsType,
    context: NamespaceContext,
    obstacles: &mut Vec<Obstacle>,
) -> Contents {
    match kind {
        OwnFsType::Tmpfs | OwnFsType::Ramfs => Contents::Tree(crux_image::contents::Section {
            offset: 0,
            length: 0,
            entries: 0,
        }),
        OwnFsType::Devpts => Contents::Terminals(terminals(seen, items, superblock, obstacles)),
        OwnFsType::Proc | OwnFsType::Sysfs => Contents::Kernel,
        // Queues of the dumper's own ipc namespace are there again without our doing.
        OwnFsType::Mqueue if context == NamespaceContext::Caller => Contents::Kernel,
        OwnFsType::Mqueue => {
            Contents::Queues(queues(seen, &items[superblock.members[0]], obstacles))
        }
        OwnFsType::Hugetlbfs | OwnFsType::Bpf => {
            let filled =
                |&&member: &&usize| items[member].fact.is_some_and(|f| f.fill == Fill::Filled);
            if let Some(&member) = superblock.members.iter().find(filled) {
                let why = superblock.row.map_or("", |row| row.why);
                obstacles.push(Obstacle {
                    place: Some(place(seen, &items[member])),
                    cause: Cause::NotEmpty(why),
                });
            }
            Contents::Kernel
        }
    }
}

fn queues(seen: &Seen, first: &Item<'_>, obstacles: &mut Vec<Obstacle>) -> Vec<Queue> {
    let seen_queues = seen.queues.get(&first.device());
    let all = seen_queues.map(Vec::as_slice).unwrap_or_default();
    for SeenQueue { queue, waiting } in all.iter().filter(|queue| queue.waiting > 0) {
        obstacles.push(Obstacle {
            place: Some(place(seen, first)),
            cause: Cause::Messages {
                queue: queue.name.clone(),
                waiting: *waiting,
            },
        });
    }
    all.iter().map(|seen| seen.queue.clone()).collect()
}

fn terminals(
    seen: &Seen,
    items: &[Item<'_>],
    superblock: &Superblock,
    obstacles: &mut Vec<Obstacle>,
) -> Vec<Terminal> {
    let mut found = BTreeMap::new();
    for &member in &superblock.members {
        let item = &items[member];
        let name = item.path().map(|path| path.as_bytes());
        if matches!(name, None | Some(b"" | b"ptmx")) {
            continue;
        }
        let number = name.and_then(|name| std::str::from_utf8(name).ok()?.parse().ok());
        match (number, item.fact) {
            (Some(number), Some(fact)) => {
                let terminal = Terminal {
                    number,
                    uid: fact.uid,
                    gid: fact.gid,
                    mode: fact.mode,
                };
                found.insert(number, terminal);
            }
            // Reported already: its root is not known.
            (Some(_), None) => {}
            (None, _) => obstacles.push(Obstacle {
                place: Some(place(seen, item)),
                cause: Cause::NoTerminal(item.entry.root.path.clone()),
            }),
        }
    }
    found.into_values().collect()
}
