//! The namespaces of tasks, each recorded once, and cgroups.
//!
//! Kind: effect where it looks; parsers are pure. What is the dumper's own namespace is none of the
//! container's. User and mount namespaces are in the record of mounts.

use super::proc_text::{odd, read};
use super::target::Target;
use super::{Part, TaskCause, TaskObstacle};
use crate::network::SeenNetwork;
use crate::sys;
use crux_image::mounts::UserNsIndex;
use crux_image::tasks::{
    CgroupMembership, CgroupNamespace, IpcNamespace, NetDeviceKind, NetNamespace, NetNsIndex,
    Network, PidNamespace, PidNsIndex, TimeNamespace, UtsNamespace, VethPeer,
};
use crux_mount::hierarchies::memberships;
use crux_mount::sys::{NamespaceKind, SysError};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::os::fd::{AsFd as _, OwnedFd};

type Inode = u64;

/// The namespaces met so far.
#[derive(Debug)]
pub(super) struct Namespaces<'a> {
    seen: &'a [SeenNetwork],
    /// Which of `seen` each of `net` is.
    pub(super) places: Vec<usize>,
    own: HashMap<&'static str, Inode>,
    users: HashMap<Inode, UserNsIndex>,
    known: HashMap<Inode, usize>,
    pub(super) pid: Vec<PidNamespace>,
    pub(super) uts: Vec<UtsNamespace>,
    pub(super) ipc: Vec<IpcNamespace>,
    pub(super) net: Vec<NetNamespace>,
    pub(super) cgroup: Vec<CgroupNamespace>,
    pub(super) time: Vec<TimeNamespace>,
}

const KINDS: [(NamespaceKind, &str); 7] = [
    (NamespaceKind::Pid, "pid"),
    (NamespaceKind::User, "user"),
    (NamespaceKind::Uts, "uts"),
    (NamespaceKind::Ipc, "ipc"),
    (NamespaceKind::Net, "net"),
    (NamespaceKind::Cgroup, "cgroup"),
    (NamespaceKind::Time, "time"),
];

/// The positions of one process's namespaces; none where it is the dumper's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Homes {
    pub(super) user: Option<UserNsIndex>,
    pub(super) uts: Option<usize>,
    pub(super) ipc: Option<usize>,
    pub(super) net: Option<usize>,
    pub(super) cgroup: Option<usize>,
    pub(super) time: Option<usize>,
}

impl Homes {
    /// Of a process that has ended.
    pub(super) const NONE: Self = Self {
        user: None,
        uts: None,
        ipc: None,
        net: None,
        cgroup: None,
        time: None,
    };
}

impl<'a> Namespaces<'a> {
    /// None yet. `users` are those of the record of mounts, by inode number.
    pub(super) fn new(
        users: HashMap<Inode, UserNsIndex>,
        seen: &'a [SeenNetwork],
    ) -> Result<Self, SysError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let process = openat(CWD, "/proc/self", flags, Mode::empty())
            .map_err(|errno| SysError::new("open(\"/proc/self\")", errno))?;
        let mut own = HashMap::new();
        for (kind, name) in KINDS {
            if let Some(found) = open(&process, kind)? {
                own.insert(name, inode(&found)?);
            }
        }
        Ok(Self {
            seen,
            places: Vec::new(),
            own,
            users,
            known: HashMap::new(),
            pid: Vec::new(),
            uts: Vec::new(),
            ipc: Vec::new(),
            net: Vec::new(),
            cgroup: Vec::new(),
            time: Vec::new(),
        })
    }

    /// The position of a namespace that tasks are in, by its inode number.
    pub(super) fn position(&self, namespace: Inode) -> Option<usize> {
        self.known.get(&namespace).copied()
    }

    /// The pid namespace of a process; those that it is in come before it.
    pub(super) fn pid(&mut self, target: &Target) -> Result<PidNsIndex, SysError> {
        let linked = linked(target, "pid")?.ok_or_else(|| odd("ns/pid"))?;
        if let Some(known) = self.known.get(&linked) {
            return Ok((*known).into());
        }
        let found = open(&target.directory, NamespaceKind::Pid)?;
        let namespace = found.ok_or_else(|| odd("ns/pid"))?;
        // From the innermost out, until one is known, or the image ends.
        let mut chain = vec![namespace];
        while let Some(last) = chain.last() {
            if self.known.contains_key(&inode(last)?) || self.pid.is_empty() {
                break;
            }
            chain.push(sys::parent_namespace(last)?);
        }
        let mut parent = None;
        for namespace in chain.into_iter().rev() {
            let id = inode(&namespace)?;
            let at = match self.known.get(&id) {
                Some(at) => *at,
                None => {
                    let own = self.own.get("pid") != Some(&id);
                    self.pid.push(PidNamespace {
                        parent,
                        own,
                        user_namespace: match own {
                            true => self.owner(&namespace)?,
                            false => None,
                        },
                    });
                    self.known.insert(id, self.pid.len() - 1);
                    self.pid.len() - 1
                }
            };
            parent = Some(at.into());
        }
        parent.ok_or_else(|| odd("ns/pid"))
    }

    /// The position of a network namespace that was met; none within where it is the dumper's own.
    pub(super) fn net_with_inode(&self, id: Inode) -> Option<Option<NetNsIndex>> {
        match self.own.get("net") == Some(&id) {
            true => Some(None),
            false => self.known.get(&id).map(|at| Some((*at).into())),
        }
    }

    /// The position of a pid namespace that was met.
    pub(super) fn pid_with_inode(&self, id: Inode) -> Option<PidNsIndex> {
        self.known.get(&id).map(|at| (*at).into())
    }

    /// All others of a process. `names` is what uname(2) says in it.
    pub(super) fn homes(
        &mut self,
        target: &Target,
        names: (&[u8], &[u8]),
        obstacles: &mut Vec<TaskObstacle>,
    ) -> Result<Homes, SysError> {
        let mut homes = Homes::NONE;
        for (kind, name) in KINDS {
            let Some(id) = linked(target, name)? else {
                continue;
            };
            if self.own.get(name) == Some(&id) || kind == NamespaceKind::Pid {
                continue;
            }
            if kind == NamespaceKind::User {
                homes.user = Some(self.user(id)?);
                continue;
            }
            let at = match self.known.get(&id) {
                Some(at) => *at,
                None => {
                    let namespace = open(&target.directory, kind)?.ok_or_else(|| odd("ns"))?;
                    let owner = self.owner(&namespace)?;
                    let at = match kind {
                        NamespaceKind::Net => self.network(id, target, owner, obstacles)?,
                        _ => self.add(kind, target, owner, names)?,
                    };
                    self.known.insert(id, at);
                    at
                }
            };
            let home = match kind {
                NamespaceKind::Uts => &mut homes.uts,
                NamespaceKind::Ipc => &mut homes.ipc,
                NamespaceKind::Net => &mut homes.net,
                NamespaceKind::Cgroup => &mut homes.cgroup,
                _ => &mut homes.time,
            };
            *home = Some(at);
        }
        Ok(homes)
    }

    /// One that has ended keeps its credentials, and so its user namespace. Another reader of /proc may not be
    /// allowed to see it any more.
    pub(super) fn of_zombie(&self, target: &Target) -> Result<Homes, SysError> {
        let Some(namespace) = open(&target.directory, NamespaceKind::User)? else {
            return Ok(Homes::NONE);
        };
        let id = inode(&namespace)?;
        Ok(Homes {
            user: self.users.get(&id).copied(),
            ..Homes::NONE
        })
    }

    fn add(
        &mut self,
        kind: NamespaceKind,
        target: &Target,
        user_namespace: Option<UserNsIndex>,
        (host_name, domain_name): (&[u8], &[u8]),
    ) -> Result<usize, SysError> {
        Ok(match kind {
            NamespaceKind::Uts => push(
                &mut self.uts,
                UtsNamespace {
                    user_namespace,
                    host_name: host_name.to_vec(),
                    domain_name: domain_name.to_vec(),
                },
            ),
            NamespaceKind::Ipc => push(&mut self.ipc, IpcNamespace { user_namespace }),
            NamespaceKind::Cgroup => push(
                &mut self.cgroup,
                CgroupNamespace {
                    user_namespace,
                    // Where the first process is of those in it; the collector knows better.
                    roots: cgroups(target)?,
                },
            ),
            _ => {
                let text = read(&target.directory, "timens_offsets")?;
                let (monotonic, boottime) = offsets(&text).ok_or_else(|| odd("timens_offsets"))?;
                push(
                    &mut self.time,
                    TimeNamespace {
                        user_namespace,
                        monotonic,
                        boottime,
                    },
                )
            }
        })
    }

    /// What is in a network namespace the collector has found out.
    fn network(
        &mut self,
        id: Inode,
        target: &Target,
        user_namespace: Option<UserNsIndex>,
        obstacles: &mut Vec<TaskObstacle>,
    ) -> Result<usize, SysError> {
        let place = self.seen.iter().position(|it| it.id.0 == id);
        let place = place.ok_or_else(|| {
            SysError::new("find the network namespace among those seen", Errno::NOENT)
        })?;
        let seen = &self.seen[place];
        let obstacle = |what: &String| TaskObstacle {
            pid: target.pid,
            part: Part::Process,
            cause: TaskCause::Other(format!(
                "is in a network namespace with {what}, which cannot be dumped yet"
            )),
        };
        obstacles.extend(seen.obstacles.iter().map(obstacle));
        let loopback = seen.network.devices.first();
        let loopback_up = loopback.is_some_and(|it| it.flags & libc::IFF_UP as u32 != 0);
        self.places.push(place);
        let record = NetNamespace {
            user_namespace,
            loopback_up,
        };
        Ok(push(&mut self.net, record))
    }

    /// What is in those that were met, with their positions in the record.
    pub(super) fn networks(&self) -> Vec<Network> {
        let position = |seen: NetNsIndex| self.places.iter().position(|it| *it == seen.at());
        let network = |place: &usize| {
            let mut network = self.seen[*place].network.clone();
            network.namespace = position(network.namespace)?.into();
            for device in &mut network.devices {
                if let NetDeviceKind::Veth(VethPeer::Inside(namespace, _)) = &mut device.kind {
                    *namespace = position(*namespace)?.into();
                }
            }
            Some(network)
        };
        self.places.iter().filter_map(network).collect()
    }

    fn owner(&self, namespace: &OwnedFd) -> Result<Option<UserNsIndex>, SysError> {
        let owner = inode(&sys::owning_user_namespace(namespace)?)?;
        match self.own.get("user") == Some(&owner) {
            true => Ok(None),
            false => self.user(owner).map(Some),
        }
    }

    /// The collector has recorded all that processes are in.
    fn user(&self, id: Inode) -> Result<UserNsIndex, SysError> {
        let found = self.users.get(&id).copied();
        found.ok_or_else(|| SysError::new("find the user namespace in the record", Errno::NOENT))
    }
}

fn push<T>(table: &mut Vec<T>, record: T) -> usize {
    table.push(record);
    table.len() - 1
}

/// None where the kernel has no such kind, or the process has left it.
fn open(directory: &OwnedFd, kind: NamespaceKind) -> Result<Option<OwnedFd>, SysError> {
    match crux_mount::sys::open_process_namespace(directory.as_fd(), kind) {
        Ok(namespace) => Ok(Some(namespace)),
        Err(error) if error.errno() == Errno::NOENT => Ok(None),
        Err(error) => Err(error),
    }
}

/// The inode number of a namespace, by the link that leads to it: `uts:[4026531838]`. It stays the same while the process
/// is frozen. None if the kernel has no such namespaces.
pub(super) fn linked(target: &Target, name: &str) -> Result<Option<Inode>, SysError> {
    let path = format!("ns/{name}");
    let link = match rustix::fs::readlinkat(&target.directory, &path, Vec::new()) {
        Ok(link) => link.into_bytes(),
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(SysError::new(format!("readlinkat({path:?})"), errno)),
    };
    let number = link.split(|b| *b == b'[').nth(1);
    let number = number.and_then(|rest| rest.strip_suffix(b"]"));
    let found = number.and_then(super::proc_text::decimal);
    found.map(Some).ok_or_else(|| odd(&path))
}

fn inode(namespace: &OwnedFd) -> Result<Inode, SysError> {
    let stat = rustix::fs::fstat(namespace);
    stat.map(|stat| stat.st_ino)
        .map_err(|errno| SysError::new("fstat(a namespace)", errno))
}

/// Where a process is in each hierarchy.
pub(super) fn cgroups(target: &Target) -> Result<Vec<CgroupMembership>, SysError> {
    let text = read(&target.directory, "cgroup")?;
    memberships(&text).ok_or_else(|| odd("cgroup"))
}

/// Lines of `monotonic SECONDS NANOSECONDS`, likewise `boottime`.
fn offsets(text: &[u8]) -> Option<(i64, i64)> {
    let text = std::str::from_utf8(text).ok()?;
    let of = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let mut words = line.split_ascii_whitespace().map(|word| word.parse().ok());
        let (seconds, nanoseconds): (i64, i64) = (words.next()??, words.next()??);
        seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
    };
    Some((of("monotonic")?, of("boottime")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read() {
        assert_eq!(
            offsets(b"monotonic           1         5\nboottime           -1         0\n"),
            Some((1_000_000_005, -1_000_000_000))
        );
        assert_eq!(offsets(b"monotonic 1 5\n"), None);
    }
}
