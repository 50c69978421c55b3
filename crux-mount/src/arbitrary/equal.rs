//! Whether two records say the same, whatever the numbers of mounts and groups.
//!
//! Kind: pure; for tests only. For people there is a diff in `crux-image`.

use crux_image::mounts::{
    GroupIndex, GroupLink, Master, MountIndex, Mounts, Namespace, OriginIndex, Propagation,
};
use std::collections::{BTreeMap, HashMap};

/// Compares two records; both have to be valid. Origins and namespaces are
/// compared by their places, mounts by their places in the tree, groups by their members.
///
/// # Errors
/// The first difference, in words.
pub fn equal_up_to_ids(left: &Mounts, right: &Mounts) -> Result<(), String> {
    if left.user_namespaces != right.user_namespaces {
        return Err("the user namespaces differ".into());
    }
    if left.origins != right.origins {
        return Err("the origins differ".into());
    }
    let (left, right) = (lines(left), lines(right));
    for (l, r) in left.iter().zip(&right) {
        if l != r {
            return Err(format!("left:  {l}\nright: {r}"));
        }
    }
    match left.len().cmp(&right.len()) {
        std::cmp::Ordering::Equal => Ok(()),
        _ => Err(format!(
            "{} lines on the left, {} on the right",
            left.len(),
            right.len()
        )),
    }
}

/// One line for each namespace, mount and group, the same for equal records.
fn lines(mounts: &Mounts) -> Vec<String> {
    let mut writer = Writer {
        mounts,
        numbers: HashMap::new(),
        met: vec![],
    };
    let mut lines = Vec::new();
    for (ns, namespace) in mounts.namespaces.iter().enumerate() {
        let order = order(namespace);
        let place = |index: MountIndex| order.iter().position(|&at| at == index);
        let (owner, root) = (namespace.owner, place(namespace.root));
        lines.push(format!("namespace {ns}: owner {owner:?}, root {root:?}"));
        for &at in &order {
            let mount = &namespace.mounts[at.at()];
            let parent = mount.parent.and_then(place);
            lines.push(format!(
                "namespace {ns}: parent {parent:?} at {}, origin {} {} deleted {} {:?} {:?} {:?} {} {}",
                mount.mountpoint,
                mount.origin.0,
                mount.root,
                mount.deleted,
                mount.former,
                mount.kind,
                mount.attributes,
                writer.propagation(mount.propagation),
                mount.lock,
            ));
        }
    }
    writer.groups(&mut lines);
    lines
}

/// Depth first, children by mountpoint.
fn order(namespace: &Namespace) -> Vec<MountIndex> {
    let mut children: BTreeMap<Option<MountIndex>, Vec<MountIndex>> = BTreeMap::new();
    for (at, mount) in namespace.mounts.iter().enumerate() {
        children.entry(mount.parent).or_default().push(at.into());
    }
    let mut order = Vec::new();
    let mut waiting = children.remove(&None).unwrap_or_default();
    while let Some(at) = waiting.pop() {
        order.push(at);
        let mut next = children.remove(&Some(at)).unwrap_or_default();
        next.sort_by(|a, b| {
            let mountpoint = |index: &MountIndex| &namespace.mounts[index.at()].mountpoint;
            mountpoint(b).cmp(mountpoint(a))
        });
        waiting.extend(next);
    }
    order
}

/// A group, with one name for each that is outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Group {
    Inside(GroupIndex),
    Outside(OriginIndex),
}

struct Writer<'a> {
    mounts: &'a Mounts,
    numbers: HashMap<Group, usize>,
    met: Vec<Group>,
}

impl Writer<'_> {
    fn group(&self, index: GroupIndex) -> Group {
        match self.mounts.groups[index.at()].link {
            GroupLink::PeerOfOutside(origin) => Group::Outside(origin),
            GroupLink::None | GroupLink::SlaveOf(_) => Group::Inside(index),
        }
    }

    fn master(&self, master: Master) -> Group {
        match master {
            Master::Group(index) => self.group(index),
            Master::Outside(origin) => Group::Outside(origin),
        }
    }

    fn name(&mut self, group: Group) -> String {
        let Group::Inside(_) = group else {
            return format!("{group:?}");
        };
        let next = self.met.len();
        let number = *self.numbers.entry(group).or_insert_with(|| {
            self.met.push(group);
            next
        });
        format!("group {number}")
    }

    fn propagation(&mut self, propagation: Propagation) -> String {
        match propagation {
            Propagation::Private => "private".into(),
            Propagation::Unbindable => "unbindable".into(),
            Propagation::Shared(index) => format!("shared {}", self.name(self.group(index))),
            Propagation::Slave(master) => format!("slave of {}", self.name(self.master(master))),
        }
    }

    /// Groups are met through others, so the list grows as it is read.
    fn groups(&mut self, lines: &mut Vec<String>) {
        let mut at = 0;
        while let Some(&group) = self.met.get(at) {
            at += 1;
            let Group::Inside(index) = group else {
                continue;
            };
            let link = match self.mounts.groups[index.at()].link {
                GroupLink::SlaveOf(master) => {
                    format!("slave of {}", self.name(self.master(master)))
                }
                GroupLink::None | GroupLink::PeerOfOutside(_) => "no master".into(),
            };
            let name = self.name(group);
            lines.push(format!("{name}: {link}"));
        }
    }
}
