//! Compares the live mount tables of restored namespaces with the record, up to ids.
//!
//! Kind: pure. It shares no code with the planner: what it compares is what the
//! kernel says, mount by mount, and the correspondence of peer groups and devices.
//! Locked mounts do not show in any table and are not compared.

use crate::filesystems;
use crate::ids::{Device, MountId, PeerGroupId};
use crate::mountinfo::{Entry, SuperOption};
use crux_image::mounts::{
    FsOption, GroupIndex, GroupLink, Master, Mount, MountIndex, Mounts, Namespace,
    NamespaceContext, NamespaceIndex, Origin, OriginIndex, OwnFileSystem, OwnFsType, Propagation,
    SuperblockFlags,
};
use crux_image::path::{Escaped, RelPath};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

/// What a granted source turned out to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct External {
    /// The device of its file system; unknown for one that the kernel makes.
    pub device: Option<Device>,
    /// Which part of its file system it is, as mountinfo shows that; it may be no path.
    pub root: Vec<u8>,
    /// The peer group outside that mounts of this origin join.
    pub group: Option<PeerGroupId>,
}

/// Something that is not as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    namespace: NamespaceIndex,
    /// Where, as seen from the namespace's root.
    mountpoint: RelPath,
    what: &'static str,
    recorded: String,
    live: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            namespace,
            mountpoint,
            what,
            recorded,
            live,
        } = self;
        write!(f, "{mountpoint}: {what}: {live}, was {recorded}")?;
        if namespace.0 > 0 {
            write!(f, " (namespace {})", namespace.0)?;
        }
        Ok(())
    }
}

/// Compares everything; all differences, in the order of the record.
pub fn verify(
    mounts: &Mounts,
    externals: &[Option<External>],
    tables: &[Vec<Entry>],
) -> Result<(), Vec<Difference>> {
    let mut verifier = Verifier::new(mounts, externals);
    for (at, (namespace, table)) in mounts.namespaces.iter().zip(tables).enumerate() {
        verifier.namespace(at.into(), namespace, table);
    }
    verifier.finish()
}

struct Verifier<'a> {
    mounts: &'a Mounts,
    externals: &'a [Option<External>],
    /// Which live group each recorded one turned out to be, and the reverse.
    groups: Bijection<GroupIndex, PeerGroupId>,
    /// Which device each own origin turned out to be, and the reverse.
    devices: Bijection<OriginIndex, Device>,
    keyed: HashMap<(OwnFsType, NamespaceContext), OriginIndex>,
    /// Masters can only be compared when all groups are known.
    masters: Vec<(Place, Option<Master>, Option<PeerGroupId>)>,
    differences: Vec<Difference>,
}

#[derive(Clone)]
struct Place {
    namespace: NamespaceIndex,
    mountpoint: RelPath,
}

impl<'a> Verifier<'a> {
    fn new(mounts: &'a Mounts, externals: &'a [Option<External>]) -> Self {
        Self {
            mounts,
            externals,
            groups: Bijection::default(),
            devices: Bijection::default(),
            keyed: HashMap::new(),
            masters: Vec::new(),
            differences: Vec::new(),
        }
    }

    fn namespace(&mut self, at: NamespaceIndex, namespace: &Namespace, table: &[Entry]) {
        let mut live = Live::new(table);
        let mut found: Vec<Option<&Entry>> = Vec::with_capacity(namespace.mounts.len());
        let mut paths: Vec<RelPath> = Vec::with_capacity(namespace.mounts.len());
        for (index, mount) in namespace.mounts.iter().enumerate() {
            let parent = mount.parent.map(MountIndex::at);
            let path = parent.map_or(RelPath::root(), |p| paths[p].join(&mount.mountpoint));
            let entry = match parent {
                None => live.first(),
                Some(parent) => found[parent].and_then(|parent| live.take(parent.id, &path)),
            };
            let place = Place {
                namespace: at,
                mountpoint: path.clone(),
            };
            match entry {
                Some(entry) => self.mount(&place, mount, entry),
                // A missing mount takes those on it along: it is enough to say it once.
                None if parent.is_none_or(|parent| found[parent].is_some()) => {
                    self.differ(&place, "the mount", "there", "missing");
                }
                None => {}
            }
            debug_assert_eq!(paths.len(), index);
            found.push(entry);
            paths.push(path);
        }
        for entry in live.rest() {
            let mountpoint = RelPath::from_absolute(&entry.mountpoint).unwrap_or_default();
            let place = Place {
                namespace: at,
                mountpoint,
            };
            let what = Escaped(&entry.fs_type).to_string();
            self.differ(&place, "a mount", "not there", format!("there ({what})"));
        }
    }

    fn mount(&mut self, place: &Place, mount: &Mount, entry: &Entry) {
        let mut recorded = mount.attributes.clone();
        let idmapped = recorded.idmap.take().is_some();
        self.same(place, "attributes", &recorded, &entry.attributes);
        self.same(place, "id-mapped", &idmapped, &entry.idmapped);
        self.same(place, "deleted root", &mount.deleted, &entry.root.deleted);
        for unknown in &entry.unknown {
            self.differ(
                place,
                "an unknown property",
                "absent",
                format!("{unknown:?}"),
            );
        }
        match &self.mounts.origins[mount.origin.at()] {
            Origin::Own(own) => self.own(place, mount, own, entry),
            Origin::External(_) => self.external(place, mount, entry),
        }
        self.propagation(place, mount, entry);
    }

    fn own(&mut self, place: &Place, mount: &Mount, own: &OwnFileSystem, entry: &Entry) {
        self.same_bytes(place, "type", own.fs_type.name().as_bytes(), &entry.fs_type);
        self.same_bytes(place, "source", &own.source, &entry.source);
        // Those of a superblock that the host has as well are the host's.
        if !is_callers(own) {
            self.same(
                place,
                "superblock flags",
                &Flags(own.flags),
                &Flags(entry.flags),
            );
        }
        let root = mount.former.as_ref().unwrap_or(&mount.root);
        self.same_bytes(place, "root", &root.to_absolute(), &entry.root.path);
        let recorded = Options::recorded(&own.options);
        let live = Options::live(own, &entry.options);
        self.same(place, "options", &recorded, &live);
        let origin = self.representative(mount.origin, own);
        if let Some((recorded, live)) = self.devices.pair(origin, entry.device) {
            self.differ(place, "the file system", recorded, live);
        }
    }

    /// The first of the origins that have one superblock: a sysfs or mqueue that is
    /// mounted anew is found again, and shows the source of each mounter.
    fn representative(&mut self, origin: OriginIndex, own: &OwnFileSystem) -> OriginIndex {
        match own.fs_type {
            OwnFsType::Sysfs | OwnFsType::Mqueue => *self
                .keyed
                .entry((own.fs_type, own.context))
                .or_insert(origin),
            _ => origin,
        }
    }

    fn external(&mut self, place: &Place, mount: &Mount, entry: &Entry) {
        let Some(Some(external)) = self.externals.get(mount.origin.at()) else {
            return self.differ(place, "the source", "granted", "not granted");
        };
        if let Some(device) = external.device {
            self.same(place, "device", &device, &entry.device);
        }
        let mut root = external.root.clone();
        if !mount.root.is_root() {
            // The root of a file system ends in the slash that others lack.
            root.truncate(root.strip_suffix(b"/").unwrap_or(&root).len());
            root.extend(mount.root.to_absolute());
        }
        self.same_bytes(place, "root", &root, &entry.root.path);
    }

    fn propagation(&mut self, place: &Place, mount: &Mount, entry: &Entry) {
        let unbindable = mount.propagation == Propagation::Unbindable;
        self.same(place, "unbindable", &unbindable, &entry.unbindable);
        let (group, master) = match mount.propagation {
            Propagation::Private | Propagation::Unbindable => (None, None),
            Propagation::Slave(master) => (None, Some(master)),
            Propagation::Shared(group) => (Some(group), self.master_of(group)),
        };
        match (group, entry.shared) {
            (Some(group), Some(live)) => {
                if let Some((recorded, live)) = self.groups.pair(group, live) {
                    self.differ(place, "the peer group", recorded, live);
                }
                self.outside_peer(place, mount, group, live);
            }
            (None, None) => {}
            (recorded, _) => {
                let word = |shared| if shared { "shared" } else { "not shared" };
                let live = word(entry.shared.is_some());
                self.differ(place, "the mount", word(recorded.is_some()), live);
            }
        }
        self.masters.push((place.clone(), master, entry.master));
    }

    fn master_of(&self, group: GroupIndex) -> Option<Master> {
        match self.mounts.groups[group.at()].link {
            GroupLink::SlaveOf(master) => Some(master),
            _ => None,
        }
    }

    /// A peer of a group outside is in that very group; no other mount may be.
    fn outside_peer(&mut self, place: &Place, mount: &Mount, group: GroupIndex, live: PeerGroupId) {
        if let GroupLink::PeerOfOutside(_) = self.mounts.groups[group.at()].link {
            let outside = self.outside(mount.origin);
            self.same(place, "the peer group", &Shown(outside), &Shown(Some(live)));
        }
    }

    fn outside(&self, origin: OriginIndex) -> Option<PeerGroupId> {
        self.externals.get(origin.at())?.as_ref()?.group
    }

    fn finish(mut self) -> Result<(), Vec<Difference>> {
        for (place, master, live) in std::mem::take(&mut self.masters) {
            let expected = match master {
                None => None,
                Some(Master::Outside(origin)) => self.outside(origin),
                Some(Master::Group(group)) => self.groups.forward.get(&group).copied(),
            };
            self.same(&place, "the master", &Shown(expected), &Shown(live));
            if master.is_some() && expected.is_none() {
                self.differ(&place, "the master", "a peer group", "none that is known");
            }
        }
        if self.differences.is_empty() {
            Ok(())
        } else {
            Err(self.differences)
        }
    }

    fn same<T: PartialEq + fmt::Display>(
        &mut self,
        place: &Place,
        what: &'static str,
        recorded: &T,
        live: &T,
    ) {
        if recorded != live {
            self.differ(place, what, recorded, live);
        }
    }

    fn same_bytes(&mut self, place: &Place, what: &'static str, recorded: &[u8], live: &[u8]) {
        if recorded != live {
            let quoted = |bytes| format!("\"{}\"", Escaped(bytes));
            self.differ(place, what, quoted(recorded), quoted(live));
        }
    }

    fn differ(
        &mut self,
        place: &Place,
        what: &'static str,
        recorded: impl fmt::Display,
        live: impl fmt::Display,
    ) {
        self.differences.push(Difference {
            namespace: place.namespace,
            mountpoint: place.mountpoint.clone(),
            what,
            recorded: recorded.to_string(),
            live: live.to_string(),
        });
    }
}

/// A superblock that the host has as well.
fn is_callers(own: &OwnFileSystem) -> bool {
    matches!(own.fs_type, OwnFsType::Sysfs | OwnFsType::Mqueue)
        && own.context == NamespaceContext::Caller
}

/// A live table, from which mounts are taken as they are found.
struct Live<'a> {
    first: Option<&'a Entry>,
    /// By parent and mountpoint (which is unique), in the order of the table.
    children: HashMap<(MountId, Cow<'a, [u8]>), &'a Entry>,
}

impl<'a> Live<'a> {
    fn new(table: &'a [Entry]) -> Self {
        let ids: HashMap<MountId, ()> = table.iter().map(|entry| (entry.id, ())).collect();
        let is_first = |e: &&Entry| e.parent == e.id || !ids.contains_key(&e.parent);
        let first = table.iter().find(is_first);
        let others = table
            .iter()
            .filter(|e| first.is_none_or(|first| first.id != e.id));
        let children = others
            .map(|e| ((e.parent, e.mountpoint.as_slice().into()), e))
            .collect();
        Self { first, children }
    }

    fn first(&self) -> Option<&'a Entry> {
        self.first
    }

    fn take(&mut self, parent: MountId, path: &RelPath) -> Option<&'a Entry> {
        self.children.remove(&(parent, path.to_absolute().into()))
    }

    fn rest(self) -> Vec<&'a Entry> {
        let mut rest: Vec<_> = self.children.into_values().collect();
        rest.sort_unstable_by_key(|entry| (&entry.mountpoint, entry.id));
        rest
    }
}

/// A one-to-one correspondence that grows as pairs are met.
struct Bijection<A, B> {
    forward: HashMap<A, B>,
    backward: HashMap<B, A>,
}

impl<A, B> Default for Bijection<A, B> {
    fn default() -> Self {
        Self {
            forward: HashMap::new(),
            backward: HashMap::new(),
        }
    }
}

impl<A: Copy + Eq + std::hash::Hash + fmt::Debug, B: Copy + Eq + std::hash::Hash + fmt::Display>
    Bijection<A, B>
{
    /// `None` if the pair fits, else what the record says and what is there, in words.
    fn pair(&mut self, recorded: A, live: B) -> Option<(String, String)> {
        let expected = *self.forward.entry(recorded).or_insert(live);
        let owner = *self.backward.entry(live).or_insert(recorded);
        if expected != live {
            return Some((
                format!("the same as of other mounts ({expected})"),
                live.to_string(),
            ));
        }
        (owner != recorded).then(|| {
            (
                "another than that of other mounts".to_owned(),
                format!("the same ({live})"),
            )
        })
    }
}

#[derive(PartialEq)]
struct Shown(Option<PeerGroupId>);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(group) => write!(f, "peer group {group}"),
            None => f.write_str("none"),
        }
    }
}

#[derive(PartialEq)]
struct Flags(SuperblockFlags);

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(flags) = self;
        f.write_str(if flags.readonly { "ro" } else { "rw" })?;
        let rest = [
            (flags.sync, "sync"),
            (flags.dirsync, "dirsync"),
            (flags.lazytime, "lazytime"),
        ];
        rest.iter()
            .filter(|(on, _)| *on)
            .try_for_each(|(_, name)| write!(f, ",{name}"))
    }
}

/// Options in any order.
#[derive(PartialEq)]
struct Options(Vec<Vec<u8>>);

impl Options {
    fn recorded(options: &[FsOption]) -> Self {
        Self::new(
            options
                .iter()
                .map(|o| (o.key.as_bytes(), o.value.as_deref())),
        )
    }

    /// Without what this kernel shows of its own accord.
    fn live(own: &OwnFileSystem, options: &[SuperOption]) -> Self {
        let pairs = options
            .iter()
            .map(|o| (o.key.as_slice(), o.value.as_deref()));
        Self::new(pairs.filter(|(key, value)| !is_kernels(own, key, *value)))
    }

    fn new<'a>(options: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>) -> Self {
        let text = |(key, value): (&[u8], Option<&[u8]>)| match value {
            Some(value) => [key, b"=", value].concat(),
            None => key.to_vec(),
        };
        let mut options: Vec<_> = options.map(text).collect();
        options.sort_unstable();
        Self(options)
    }
}

/// Whether nobody asked for an option that is shown: what a security module adds, and how
/// wide inode numbers are. A kernel with `CONFIG_TMPFS_INODE64` always says the latter,
/// others only when it was asked for.
fn is_kernels(own: &OwnFileSystem, key: &[u8], value: Option<&[u8]>) -> bool {
    const WIDTHS: [&str; 2] = ["inode32", "inode64"];
    let is_width = |key: &[u8]| WIDTHS.iter().any(|width| width.as_bytes() == key);
    let asked = own.options.iter().any(|o| is_width(o.key.as_bytes()));
    let policy = filesystems::find(own.fs_type.name().as_bytes())
        .is_some_and(|row| matches!(row.option(key, value), Ok(None)));
    policy || is_width(key) && !asked
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        write!(f, "{}", Escaped(&self.0.join(&b',')))
    }
}

#[cfg(test)]
mod tests;
