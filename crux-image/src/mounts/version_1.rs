//! Records of format version 1, which had neither locks nor the names of deleted roots.
//!
//! Kind: pure. Nothing writes them any more; they are read for ever.

use super::{
    FileKind, Lock, Mount, MountAttributes, MountIndex, Mounts, Namespace, Origin, OriginIndex,
    PeerGroup, Propagation, UserNamespace, UserNsIndex,
};
use crate::path::RelPath;
use serde::Deserialize;

/// [`Mounts`], as version 1 had it.
#[derive(Debug, Deserialize)]
pub(crate) struct MountsVersion1 {
    user_namespaces: Vec<UserNamespace>,
    namespaces: Vec<NamespaceVersion1>,
    origins: Vec<Origin>,
    groups: Vec<PeerGroup>,
}

#[derive(Debug, Deserialize)]
struct NamespaceVersion1 {
    owner: Option<UserNsIndex>,
    mounts: Vec<MountVersion1>,
    root: MountIndex,
}

#[derive(Debug, Deserialize)]
struct MountVersion1 {
    parent: Option<MountIndex>,
    mountpoint: RelPath,
    origin: OriginIndex,
    root: RelPath,
    deleted: bool,
    kind: FileKind,
    attributes: MountAttributes,
    propagation: Propagation,
}

impl From<MountsVersion1> for Mounts {
    fn from(old: MountsVersion1) -> Self {
        Self {
            user_namespaces: old.user_namespaces,
            namespaces: old.namespaces.into_iter().map(Namespace::from).collect(),
            origins: old.origins,
            groups: old.groups,
        }
    }
}

impl From<NamespaceVersion1> for Namespace {
    fn from(old: NamespaceVersion1) -> Self {
        Self {
            owner: old.owner,
            mounts: old.mounts.into_iter().map(Mount::from).collect(),
            root: old.root,
        }
    }
}

impl From<MountVersion1> for Mount {
    fn from(old: MountVersion1) -> Self {
        Self {
            parent: old.parent,
            mountpoint: old.mountpoint,
            origin: old.origin,
            root: old.root,
            deleted: old.deleted,
            former: None,
            kind: old.kind,
            attributes: old.attributes,
            propagation: old.propagation,
            lock: Lock::Free,
        }
    }
}
