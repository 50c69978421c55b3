//! Walks two trees at once.
//!
//! Kind: pure, without recursion.

use super::Difference;
use super::pairing::Pairing;
use crate::mounts::{
    Atime, GroupIndex, IdMap, Mount, MountIndex, Mounts, Namespace, OriginIndex, UserNsIndex,
};
use crate::path::RelPath;
use crate::render::{children, name_of, words};
use std::cmp::Ordering;

/// A mount that both trees have: namespace, and its position in each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Both {
    pub(super) namespace: usize,
    pub(super) was: MountIndex,
    pub(super) is: MountIndex,
}

pub(super) struct Comparison<'a> {
    pub(super) was: &'a Mounts,
    pub(super) is: &'a Mounts,
    pub(super) found: Vec<Difference>,
    pub(super) origins: Pairing<OriginIndex, Both>,
    pub(super) groups: Pairing<GroupIndex, Both>,
    pub(super) contexts: Pairing<u32, Both>,
    pub(super) users: Pairing<UserNsIndex, usize>,
    /// Masters that can be compared only when all groups are paired.
    pub(super) masters: Vec<(Both, GroupIndex, GroupIndex)>,
    /// For each group, the mount it is named after: before and now.
    pub(super) named_after: [Vec<Option<(usize, MountIndex)>>; 2],
}

impl<'a> Comparison<'a> {
    pub(super) fn new(was: &'a Mounts, is: &'a Mounts) -> Self {
        Self {
            was,
            is,
            found: Vec::new(),
            origins: Pairing::new(),
            groups: Pairing::new(),
            contexts: Pairing::new(),
            users: Pairing::new(),
            masters: Vec::new(),
            named_after: [was, is].map(super::propagation::name_groups),
        }
    }

    pub(super) fn run(&mut self) {
        let (was, is) = (self.was, self.is);
        for (at, (before, now)) in was.namespaces.iter().zip(&is.namespaces).enumerate() {
            self.namespace(at, before, now);
        }
        let (before, now) = (was.namespaces.len(), is.namespaces.len());
        for at in before.min(now)..before.max(now) {
            let there = |count: usize| if at < count { "there" } else { "missing" };
            let subject = format!("mount namespace {at}");
            self.differs(at, subject, there(now).into(), there(before).into());
        }
        self.compare_masters();
    }

    fn namespace(&mut self, at: usize, was: &'a Namespace, is: &'a Namespace) {
        self.users(
            at,
            &format!("mount namespace {at}, owner"),
            was.owner,
            is.owner,
        );
        let roots = [(was, was.root), (is, is.root)].map(|(n, root)| name_of(n, root));
        if roots[0] != roots[1] {
            let [was, is] = roots;
            self.differs(
                at,
                format!("mount namespace {at}, root of its tasks"),
                is,
                was,
            );
        }
        let beneath = [children(was), children(is)];
        let sizes = [subtree_sizes(was), subtree_sizes(is)];
        let mut open = vec![Both {
            namespace: at,
            was: MountIndex(0),
            is: MountIndex(0),
        }];
        while let Some(both) = open.pop() {
            self.mount(both);
            let (before, now) = (&beneath[0][both.was.at()], &beneath[1][both.is.at()]);
            // The last that is pushed is compared next.
            for side in merge(was, before, is, now).into_iter().rev() {
                match side {
                    Side::Both(was, is) => open.push(Both {
                        namespace: at,
                        was,
                        is,
                    }),
                    Side::OnlyWas(mount) => {
                        self.one_sided(at, was, mount, sizes[0][mount.at()], ["missing", "there"]);
                    }
                    Side::OnlyIs(mount) => {
                        self.one_sided(at, is, mount, sizes[1][mount.at()], ["there", "missing"]);
                    }
                }
            }
        }
    }

    fn one_sided(
        &mut self,
        at: usize,
        namespace: &Namespace,
        mount: MountIndex,
        size: usize,
        [is, was]: [&str; 2],
    ) {
        let mut subject = self.subject(at, &name_of(namespace, mount));
        if size > 1 {
            subject += &format!(" with {} beneath it", words::count(size - 1, "mount"));
        }
        self.differs(at, subject, is.into(), was.into());
    }

    /// Everything about one mount but its place.
    fn mount(&mut self, both: Both) {
        let (was, is) = (self.mount_was(both), self.mount_is(both));
        for (before, now) in attribute_words(was).into_iter().zip(attribute_words(is)) {
            if before != now {
                self.at(both, "", now, before);
            }
        }
        if was.kind != is.kind {
            self.at(both, "", words::kind(is.kind), words::kind(was.kind));
        }
        if was.root != is.root {
            self.at(both, "root", is.root.to_string(), was.root.to_string());
        }
        if was.deleted != is.deleted {
            let words = |deleted| if deleted { "deleted" } else { "not deleted" }.to_owned();
            self.at(both, "root", words(is.deleted), words(was.deleted));
        }
        if was.former != is.former {
            let words = |former: &Option<RelPath>| match former {
                Some(former) => former.to_string(),
                None => "unknown".to_owned(),
            };
            self.at(both, "former name", words(&is.former), words(&was.former));
        }
        if was.lock != is.lock {
            self.at(both, "", is.lock.to_string(), was.lock.to_string());
        }
        self.origin(both, was.origin, is.origin);
        self.propagation(both, was.propagation, is.propagation);
    }

    pub(super) fn mount_was(&self, both: Both) -> &'a Mount {
        &self.was.namespaces[both.namespace].mounts[both.was.at()]
    }

    pub(super) fn mount_is(&self, both: Both) -> &'a Mount {
        &self.is.namespaces[both.namespace].mounts[both.is.at()]
    }

    /// The name of a mount that both have; from another namespace, with that.
    pub(super) fn name(&self, both: Both, seen_from: usize) -> String {
        let name = name_of(&self.was.namespaces[both.namespace], both.was);
        match both.namespace == seen_from {
            true => name,
            false => format!("{name} of namespace {}", both.namespace),
        }
    }

    pub(super) fn subject(&self, namespace: usize, name: &str) -> String {
        match self.was.namespaces.len().max(self.is.namespaces.len()) {
            1 => format!("mount {name}"),
            _ => format!("namespace {namespace}, mount {name}"),
        }
    }

    /// A difference in one aspect of a mount.
    pub(super) fn at(&mut self, both: Both, aspect: &str, is: String, was: String) {
        let mut subject = self.subject(both.namespace, &self.name(both, both.namespace));
        if !aspect.is_empty() {
            subject += &format!(", {aspect}");
        }
        self.differs(both.namespace, subject, is, was);
    }

    pub(super) fn differs(&mut self, namespace: usize, subject: String, is: String, was: String) {
        self.found.push(Difference {
            namespace,
            subject,
            is,
            was,
        });
    }
}

/// One word or phrase for each attribute, in a fixed order.
fn attribute_words(mount: &Mount) -> [String; 8] {
    let a = &mount.attributes;
    let flag = |set: bool, name: &str| {
        if set {
            name.to_owned()
        } else {
            format!("not {name}")
        }
    };
    let atime = match a.atime {
        Atime::Relatime => "relatime",
        Atime::Noatime => "noatime",
        Atime::Strict => "strictatime",
    };
    [
        words::read_write(a.readonly).into(),
        flag(a.nosuid, "nosuid"),
        flag(a.nodev, "nodev"),
        flag(a.noexec, "noexec"),
        flag(a.nosymfollow, "nosymfollow"),
        flag(a.nodiratime, "nodiratime"),
        atime.into(),
        a.idmap
            .as_ref()
            .map_or_else(|| "not id-mapped".into(), idmap_words),
    ]
}

fn idmap_words(map: &IdMap) -> String {
    format!(
        "id-mapped (uids {}, gids {})",
        super::filesystems::map_words(&map.uids),
        super::filesystems::map_words(&map.gids)
    )
}

enum Side {
    Both(MountIndex, MountIndex),
    OnlyWas(MountIndex),
    OnlyIs(MountIndex),
}

/// Matches two lists of siblings, each sorted by mountpoint.
fn merge(was: &Namespace, before: &[MountIndex], is: &Namespace, now: &[MountIndex]) -> Vec<Side> {
    let mut sides = Vec::with_capacity(before.len().max(now.len()));
    let (mut i, mut j) = (0, 0);
    loop {
        let side = match (before.get(i), now.get(j)) {
            (None, None) => return sides,
            (Some(a), None) => Side::OnlyWas(*a),
            (None, Some(b)) => Side::OnlyIs(*b),
            (Some(a), Some(b)) => {
                match was.mounts[a.at()]
                    .mountpoint
                    .cmp(&is.mounts[b.at()].mountpoint)
                {
                    Ordering::Less => Side::OnlyWas(*a),
                    Ordering::Greater => Side::OnlyIs(*b),
                    Ordering::Equal => Side::Both(*a, *b),
                }
            }
        };
        i += usize::from(!matches!(side, Side::OnlyIs(_)));
        j += usize::from(!matches!(side, Side::OnlyWas(_)));
        sides.push(side);
    }
}

/// How many mounts there are in the subtree of each, itself included.
fn subtree_sizes(namespace: &Namespace) -> Vec<usize> {
    let mut sizes = vec![1; namespace.mounts.len()];
    for (at, mount) in namespace.mounts.iter().enumerate().rev() {
        if let Some(parent) = mount.parent {
            sizes[parent.at()] += sizes[at];
        }
    }
    sizes
}
