//! Why a process does not hold what it needs, and how to grant it.
//!
//! Kind: effect ([`Grounds::now`]); the advice is pure. Facts that cannot be had count as
//! nothing in the way.

use crate::capabilities::Capability;
use crate::need::{Need, file_capabilities};
use caps::CapSet;
use rustix::fs::StatVfsMountFlags;
use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;

const SELF: &str = "/proc/self/exe";

/// What decides about the capabilities of this process.
#[derive(Debug, Clone)]
pub struct Grounds {
    program: PathBuf,
    bounding: HashSet<Capability>,
    /// The file capabilities of the executable.
    file: HashSet<Capability>,
    obstacle: Option<Obstacle>,
}

/// What makes file capabilities mean nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Obstacle {
    NoNewPrivileges,
    NoSuid,
}

impl Grounds {
    /// Looks, before any role has given up what it has.
    pub fn now() -> Self {
        let nosuid = rustix::fs::statvfs(SELF)
            .is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::NOSUID));
        let obstacle = match rustix::thread::no_new_privs() {
            Ok(true) => Some(Obstacle::NoNewPrivileges),
            _ if nosuid => Some(Obstacle::NoSuid),
            _ => None,
        };
        let mut bytes = [0; 32];
        let length = rustix::fs::getxattr(SELF, "security.capability", &mut bytes).unwrap_or(0);
        Self {
            program: std::fs::read_link(SELF).unwrap_or_default(),
            bounding: caps::read(None, CapSet::Bounding).unwrap_or_else(|_| caps::all()),
            file: permitted(&bytes[..length]),
            obstacle,
        }
    }

    /// What to do about `missing`, of all that the executable may need: words after a semicolon.
    pub fn advice(&self, missing: &[Need], all: &[Need]) -> String {
        let missing = missing.iter().map(|need| need.capability);
        let out_of_bounds: BTreeSet<_> = missing
            .clone()
            .filter(|capability| !self.bounding.contains(capability))
            .map(|capability| capability.to_string())
            .collect();
        let program = self.program.display();
        let has_them = missing.clone().all(|it| self.file.contains(&it));
        if !out_of_bounds.is_empty() {
            return format!(
                "nothing can grant {} here, as the bounding set of this process is without: have \
                 whatever confines it (a container, a service) keep that, or start it outside",
                Vec::from_iter(out_of_bounds).join(", ")
            );
        }
        match self.obstacle {
            Some(Obstacle::NoNewPrivileges) => format!(
                "no_new_privs is set, under which the file capabilities of {program} mean \
                 nothing: start it from where that is not set"
            ),
            Some(Obstacle::NoSuid) => format!(
                "{program} is on a file system mounted nosuid, where file capabilities mean \
                 nothing: install it elsewhere, or run it as root"
            ),
            None if has_them => format!(
                "{program} has the file capability, but this process did not get it: it is \
                 traced, or in a user namespace"
            ),
            None => {
                let all: Vec<_> = all.iter().map(|need| need.capability).collect();
                let list = file_capabilities([&all[..]]);
                format!(
                    "run it as root, or give it file capabilities: install the Debian package or \
                     use `cargo xtask install` and be a member of group crux, or `setcap {list} \
                     {program}`"
                )
            }
        }
    }
}

/// The permitted set of `struct vfs_cap_data` (linux/capability.h), which is little-endian: a
/// word of flags, then permitted and inheritable, twice.
fn permitted(attribute: &[u8]) -> HashSet<Capability> {
    let word = |at: usize| {
        let bytes = attribute.get(4 * at..4 * at + 4)?;
        Some(u64::from(u32::from_le_bytes(bytes.try_into().ok()?)))
    };
    let mask = word(1).unwrap_or(0) | word(3).unwrap_or(0) << 32;
    let all = caps::all().into_iter();
    all.filter(|capability| mask & capability.bitmask() != 0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Capability::{CAP_CHECKPOINT_RESTORE, CAP_CHOWN, CAP_SYS_ADMIN};

    const NEEDS: [Need; 2] = [
        Need::for_work(CAP_SYS_ADMIN, "a"),
        Need::for_work(CAP_CHOWN, "b"),
    ];

    fn grounds() -> Grounds {
        Grounds {
            program: "/opt/crux".into(),
            bounding: caps::all(),
            file: HashSet::new(),
            obstacle: None,
        }
    }

    #[test]
    fn the_attribute_of_setcap_is_read() {
        // setcap cap_sys_admin,cap_checkpoint_restore=ep, as getfattr(1) shows it.
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&0x0200_0001_u32.to_le_bytes());
        bytes[4..8].copy_from_slice(&(1_u32 << 21).to_le_bytes());
        bytes[12..16].copy_from_slice(&(1_u32 << 8).to_le_bytes());
        let wanted = HashSet::from([CAP_SYS_ADMIN, CAP_CHECKPOINT_RESTORE]);
        assert_eq!(permitted(&bytes), wanted);
        assert!(permitted(&[]).is_empty());
    }

    #[test]
    fn the_advice_names_what_is_in_the_way() {
        let missing = &NEEDS[..1];
        let plain = grounds().advice(missing, &NEEDS);
        assert!(
            plain.contains("`setcap cap_chown,cap_sys_admin=ep /opt/crux`"),
            "{plain}"
        );
        let mut confined = grounds();
        confined.obstacle = Some(Obstacle::NoNewPrivileges);
        assert!(confined.advice(missing, &NEEDS).contains("no_new_privs"));
        confined.bounding.remove(&CAP_SYS_ADMIN);
        assert!(confined.advice(missing, &NEEDS).contains("bounding set"));
        let mut nosuid = grounds();
        nosuid.obstacle = Some(Obstacle::NoSuid);
        assert!(nosuid.advice(missing, &NEEDS).contains("nosuid"));
        let mut traced = grounds();
        traced.file.insert(CAP_SYS_ADMIN);
        assert!(traced.advice(missing, &NEEDS).contains("traced"));
    }
}
