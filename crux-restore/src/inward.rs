//! The ids of an image in a user namespace of one's own, in which the operator is root and nobody else is: what was his is
//! root's.
//!
//! Kind: pure.

use crux_image::contents::{Entry, Metadata};
use crux_image::mounts::{Contents, FsOption, IdRange, Mounts, Origin, OwnFileSystem};

/// Who root of the own user namespace is outside. setgroups(2) is denied in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outer {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

fn inward(outside: u32, id: u32) -> u32 {
    match id == outside {
        true => 0,
        false => id,
    }
}

impl Outer {
    /// Whether a tmpfs shows this because its owner is root inside: mount tables have
    /// the ids of the initial user namespace.
    pub(crate) fn is_shown_as(self, key: &[u8], value: Option<&[u8]>) -> bool {
        let id = match key {
            b"uid" => self.uid,
            b"gid" => self.gid,
            _ => return false,
        };
        value == Some(id.to_string().as_bytes())
    }

    /// Whether these are maps of one that can be made here: of single ids, his.
    pub(crate) fn are_his([uids, gids]: [&[IdRange]; 2]) -> bool {
        let single = |it: &IdRange| it.outside == 0 && it.count == 1;
        uids.iter().chain(gids).all(single)
    }

    /// A record of mounts, as it would have been made in here.
    pub(crate) fn mounts(self, mounts: &mut Mounts) {
        let users = mounts.user_namespaces.iter_mut();
        for user in users.filter(|it| it.parent.is_none()) {
            for (map, id) in [(&mut user.uid_map, self.uid), (&mut user.gid_map, self.gid)] {
                map.iter_mut()
                    .for_each(|range| range.outside = inward(id, range.outside));
            }
        }
        for origin in &mut mounts.origins {
            if let Origin::Own(own) = origin {
                self.file_system(own);
            }
        }
    }

    fn file_system(self, own: &mut OwnFileSystem) {
        let shown = |it: &FsOption| self.is_shown_as(it.key.as_bytes(), it.value.as_deref());
        own.options.retain(|it| !shown(it));
        match &mut own.contents {
            Contents::Terminals(terminals) => terminals.iter_mut().for_each(|it| {
                (it.uid, it.gid) = self.owner(it.uid, it.gid);
            }),
            Contents::Queues(queues) => queues.iter_mut().for_each(|it| {
                (it.uid, it.gid) = self.owner(it.uid, it.gid);
            }),
            Contents::Kernel | Contents::Tree(_) => {}
        }
    }

    /// The same of contents.
    pub(crate) fn entry(self, entry: &mut Entry) {
        let metadata = match entry {
            Entry::File(file) => &mut file.metadata,
            Entry::Leave(metadata) => metadata,
            Entry::Enter(_) | Entry::Link { .. } | Entry::Extents(_) | Entry::Xattr(_) => return,
        };
        let Metadata { uid, gid, .. } = *metadata;
        (metadata.uid, metadata.gid) = self.owner(uid, gid);
    }

    fn owner(self, uid: u32, gid: u32) -> (u32, u32) {
        (inward(self.uid, uid), inward(self.gid, gid))
    }
}
