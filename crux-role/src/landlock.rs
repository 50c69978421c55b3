//! Which files a role may reach by name (landlock(7)), where the kernel has Landlock.
//!
//! Kind: effect. It is a further layer: a filter sees no paths. One ruleset with a few
//! rules is four kinds of calls, so no crate is used for it.

use crate::role::{Access, Beneath};
use crate::sys::{Ruleset, landlock_abi, landlock_restrict};
use rustix::io::Errno;
use std::os::fd::AsFd as _;

/// Rights of `landlock_ruleset_attr::handled_access_fs`, by the ABI that brought them.
const RIGHTS: [(i32, u64); 4] = [(1, (1 << 13) - 1), (2, 1 << 13), (3, 1 << 14), (5, 1 << 15)];
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const REMOVE_DIR: u64 = 1 << 4;
const MAKE_DIR: u64 = 1 << 7;
const MAKE_REG: u64 = 1 << 8;
/// Of opened files as well, since ABI 3.
const TRUNCATE: u64 = 1 << 14;
/// `LANDLOCK_ACCESS_NET_BIND_TCP` and `_CONNECT_TCP`.
const NET: u64 = 0b11;
/// `LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET` and `_SIGNAL`.
const SCOPE: u64 = 0b11;

/// Everything that this ABI can take away.
fn ruleset(abi: i32) -> Ruleset {
    let known = RIGHTS.iter().filter(|(since, _)| *since <= abi);
    Ruleset {
        handled_access_fs: known.map(|(_, rights)| rights).sum(),
        handled_access_net: if abi >= 4 { NET } else { 0 },
        scoped: if abi >= 6 { SCOPE } else { 0 },
    }
}

impl Access {
    fn rights(self) -> u64 {
        match self {
            Self::NewFiles => WRITE_FILE | READ_FILE | MAKE_REG | TRUNCATE,
            Self::Read => READ_FILE | READ_DIR,
            Self::Write => WRITE_FILE,
            Self::Directories => WRITE_FILE | MAKE_DIR | REMOVE_DIR,
        }
    }
}

/// Takes every file away from this process, but for what these rules leave, and gives it
/// `no_new_privs` with that. A kernel without Landlock, or with it switched off, leaves all as it was.
pub(crate) fn limit(rules: &[Beneath]) -> Result<(), String> {
    let failed =
        |call: &'static str| move |errno: Errno| format!("{call}: {}", std::io::Error::from(errno));
    let abi = match landlock_abi() {
        Ok(abi) => abi,
        Err(Errno::NOSYS | Errno::OPNOTSUPP) => return Ok(()),
        Err(errno) => return Err(failed("landlock_create_ruleset(VERSION)")(errno)),
    };
    rustix::thread::set_no_new_privs(true).map_err(failed("prctl(PR_SET_NO_NEW_PRIVS)"))?;
    let all = ruleset(abi);
    let rules = rules.iter();
    let rules = rules.map(|it| {
        (
            it.directory.as_fd(),
            it.access.rights() & all.handled_access_fs,
        )
    });
    landlock_restrict(&all, rules).map_err(|(call, errno)| failed(call)(errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_kernel_is_asked_for_no_right_that_it_does_not_know() {
        assert_eq!(ruleset(1).handled_access_fs, 0x1fff);
        assert_eq!(ruleset(2).handled_access_fs, 0x3fff);
        assert_eq!(ruleset(3).handled_access_net, 0);
        let newest = ruleset(99);
        assert_eq!((newest.handled_access_fs, newest.scoped), (0xffff, 0b11));
    }
}
