//! Reads the container's mounts out of the model, once the yard is gone.
//!
//! Kind: pure.

use super::groups::GroupId;
use super::kernel::{Attributes, MountId, Shown};
use super::run::Run;
use super::{Place, Rule};
use crate::plan::Slot;
use crux_image::mounts::{
    GroupIndex, GroupLink, Lock, Master, Mount, MountAttributes, MountIndex, Mounts, Namespace,
    NamespaceIndex, PeerGroup, Propagation,
};
use crux_image::path::RelPath;
use std::collections::{HashMap, HashSet};

/// Ends the yard, with the helpers in it, and reads what is left.
pub(super) fn read(run: Run<'_>) -> Result<Mounts, Rule> {
    let mut reader = Reader {
        run,
        indexes: HashMap::new(),
        numbers: HashMap::new(),
        groups: vec![],
        inhabited: HashSet::new(),
    };
    reader.run.kernel.end_yard();
    reader.index()?;
    let image = reader.run.image;
    let namespaces = (0..image.namespaces.len()).map(|at| reader.namespace(at.into()));
    let namespaces = namespaces.collect::<Result<_, _>>()?;
    Ok(Mounts {
        user_namespaces: image.user_namespaces.clone(),
        namespaces,
        origins: image.origins.clone(),
        groups: reader.groups(),
    })
}

struct Reader<'a> {
    run: Run<'a>,
    indexes: HashMap<MountId, MountIndex>,
    /// The groups in the order in which they were met.
    numbers: HashMap<GroupId, GroupIndex>,
    groups: Vec<GroupId>,
    /// The groups that have members in the container.
    inhabited: HashSet<GroupId>,
}

impl Reader<'_> {
    /// Every mount of the image must be in its namespace; none else can be there,
    /// as only a slot of the namespace can be attached in it.
    fn index(&mut self) -> Result<(), Rule> {
        for (ns, namespace) in self.run.image.namespaces.iter().enumerate() {
            for at in 0..namespace.mounts.len() {
                let slot = Slot::Mount(ns.into(), at.into());
                let id = self
                    .run
                    .slots
                    .get(slot)
                    .map_err(|_| Rule::Forgotten(slot))?;
                match self.run.kernel.get(id).place {
                    Some(Place::Container(_)) => self.indexes.insert(id, at.into()),
                    _ => return Err(Rule::Forgotten(slot)),
                };
                self.inhabited.extend(self.run.kernel.get(id).group);
            }
        }
        Ok(())
    }

    fn namespace(&mut self, ns: NamespaceIndex) -> Result<Namespace, Rule> {
        let facts = &self.run.image.namespaces[ns.at()];
        let mounts = (0..facts.mounts.len()).map(|at| self.mount(ns, at.into()));
        Ok(Namespace {
            owner: facts.owner,
            mounts: mounts.collect::<Result<_, _>>()?,
            root: facts.root,
        })
    }

    fn mount(&mut self, ns: NamespaceIndex, at: MountIndex) -> Result<Mount, Rule> {
        let slot = Slot::Mount(ns, at);
        let id = self.run.slots.get(slot)?;
        let propagation = self.propagation(slot, id)?;
        let state = self.run.kernel.get(id);
        let Shown::Within(root) = &state.root else {
            return Err(Rule::UnknownPart(state.origin));
        };
        let recorded = &self.run.image.namespaces[ns.at()].mounts[at.at()];
        let parent = state.parent.as_ref();
        let file = self.run.files.get(state.origin, root);
        Ok(Mount {
            parent: parent.map(|(parent, _)| self.indexes[parent]),
            mountpoint: parent.map_or(RelPath::root(), |(_, at)| (*at).clone()),
            origin: state.origin,
            root: root.clone(),
            deleted: file.is_some_and(|file| file.unlinked),
            former: self.run.former.get(&(state.origin, root.clone())).cloned(),
            // A part that no mount of the image shows: the roots differ as well.
            kind: file.map_or(recorded.kind, |f| f.kind),
            attributes: match state.attributes {
                Attributes::Set(attributes) => attributes.clone(),
                Attributes::Default => MountAttributes::default(),
                Attributes::OfTheHost => return Err(Rule::ForeignAttributes(slot)),
            },
            propagation,
            lock: match (state.lock, recorded.lock) {
                // That it once was locked to its place is a fact of the image.
                (Lock::Flags, Lock::Lost) => Lock::Lost,
                (lock, _) => lock,
            },
        })
    }

    fn propagation(&mut self, slot: Slot, id: MountId) -> Result<Propagation, Rule> {
        let (group, unbindable) = {
            let state = self.run.kernel.get(id);
            (state.group, state.unbindable)
        };
        match (group, self.run.kernel.master(id), unbindable) {
            (Some(group), ..) => Ok(Propagation::Shared(self.number(group))),
            (None, Some(_), true) => Err(Rule::UnbindableSlave(slot)),
            (None, Some(master), false) => Ok(Propagation::Slave(self.link(master))),
            (None, None, true) => Ok(Propagation::Unbindable),
            (None, None, false) => Ok(Propagation::Private),
        }
    }

    fn number(&mut self, group: GroupId) -> GroupIndex {
        let next = GroupIndex::from(self.groups.len());
        *self.numbers.entry(group).or_insert_with(|| {
            self.groups.push(group);
            next
        })
    }

    /// A group outside of which the container has members is a group of the container.
    fn link(&mut self, master: GroupId) -> Master {
        match self.run.kernel.groups.outside(master) {
            Some(origin) if !self.inhabited.contains(&master) => Master::Outside(origin),
            _ => Master::Group(self.number(master)),
        }
    }

    /// Masters are met while links are made, so the list grows as it is read.
    fn groups(&mut self) -> Vec<PeerGroup> {
        let mut records = Vec::new();
        while let Some(&group) = self.groups.get(records.len()) {
            let link = match self.run.kernel.groups.outside(group) {
                Some(origin) => GroupLink::PeerOfOutside(origin),
                None => match self.run.kernel.groups.master(group) {
                    Some(master) => GroupLink::SlaveOf(self.link(master)),
                    None => GroupLink::None,
                },
            };
            records.push(PeerGroup { link });
        }
        records
    }
}
