//! What listmount(2) and statmount(2) know that mountinfo does not.
//!
//! Kind: effect. One statmount(2) for each id-mapped mount; for every mount only if
//! the table hides some.

use super::{Hidden, ObserveError};
use crate::ids::{Device, MountId, MountNsId, UniqueMountId};
use crate::mountinfo::Entry;
use crate::sys::{self, StatMask, StatMount};
use crux_image::mounts::IdMap;
use std::collections::{BTreeMap, HashMap, HashSet};

/// A mount that the observed process cannot reach from its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HiddenMount {
    /// Its id in the tables of others.
    pub id: MountId,
    /// Its parent's.
    pub parent: MountId,
    /// Its unique id.
    pub unique: UniqueMountId,
    /// Device of the file system.
    pub device: Device,
    /// Type of the file system.
    pub fs_type: Vec<u8>,
    /// The part of the file system that it shows.
    pub root: Vec<u8>,
    /// Where it is, from the namespace's root; empty if it is not reached from there.
    pub mountpoint: Vec<u8>,
}

/// The unique ids of `entries`, and what is listed beyond them. Both tables are in the order of the
/// unique ids (one tree in the kernel), so tables of one length fit one for one.
pub(super) fn sort(
    namespace: MountNsId,
    listed: &[UniqueMountId],
    entries: &[Entry],
) -> Result<(Vec<UniqueMountId>, Hidden), ObserveError> {
    if listed.len() == entries.len() {
        return Ok((listed.to_vec(), Hidden::Known(Vec::new())));
    }
    let mut by_id = HashMap::with_capacity(listed.len());
    for &unique in listed {
        let stat = sys::stat_mount(
            unique,
            Some(namespace),
            StatMask::PATHS.with(StatMask::FILE_SYSTEM),
        )?;
        by_id.insert(stat.old_id, (unique, stat));
    }
    let buried = top(entries).is_some_and(|top| {
        let stat = by_id.get(&Some(top.id)).map(|(_, stat)| stat);
        stat.and_then(|stat| stat.mountpoint.as_deref()) == Some(b"/")
    });
    let taken = entries.iter().map(|entry| {
        let found = by_id.remove(&Some(entry.id));
        found
            .map(|(unique, _)| unique)
            .ok_or(ObserveError::Inconsistent(entry.id))
    });
    let unique = taken.collect::<Result<_, _>>()?;
    let mut hidden: Vec<_> = by_id.into_values().filter_map(describe).collect();
    hidden.sort_by_key(|mount| mount.unique);
    match buried {
        true => Ok((unique, Hidden::Buried(hidden))),
        false => Ok((unique, Hidden::Known(hidden))),
    }
}

/// The mount that all others of a table are in.
fn top(entries: &[Entry]) -> Option<&Entry> {
    let known: HashSet<MountId> = entries.iter().map(|entry| entry.id).collect();
    entries
        .iter()
        .find(|entry| !known.contains(&entry.parent) || entry.parent == entry.id)
}

fn describe((unique, stat): (UniqueMountId, StatMount)) -> Option<HiddenMount> {
    Some(HiddenMount {
        id: stat.old_id?,
        parent: stat.old_parent?,
        unique,
        device: stat.device?,
        fs_type: stat.fs_type?,
        root: stat.root.unwrap_or_default(),
        mountpoint: stat.mountpoint.unwrap_or_default(),
    })
}

/// The maps of those mounts that mountinfo calls id-mapped.
pub(super) fn idmaps(
    namespace: MountNsId,
    entries: &[Entry],
    unique: &[UniqueMountId],
) -> Result<BTreeMap<MountId, IdMap>, ObserveError> {
    let mapped = entries
        .iter()
        .zip(unique)
        .filter(|(entry, _)| entry.idmapped);
    let mut maps = BTreeMap::new();
    for (entry, &unique) in mapped {
        let stat = sys::stat_mount(
            unique,
            Some(namespace),
            StatMask::BASIC.with(StatMask::IDMAP),
        )?;
        if stat.old_id != Some(entry.id) {
            return Err(ObserveError::Inconsistent(entry.id));
        }
        if let (Some(uids), Some(gids)) = (stat.uids, stat.gids) {
            maps.insert(entry.id, IdMap { uids, gids });
        }
    }
    Ok(maps)
}
