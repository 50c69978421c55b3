//! Namespaces other than those of mounts and users (namespaces(7)), and cgroups.
//!
//! Kind: pure. User and mount namespaces are in the record of mounts.

use super::{PidNsIndex, ProcessIndex};
use crate::mounts::UserNsIndex;
use serde::{Deserialize, Serialize};

/// pid_namespaces(7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PidNamespace {
    /// The one that it is in. None for the first of the image.
    pub parent: Option<PidNsIndex>,
    /// Whether it is the container's own. Only the first may be the caller's: then pids
    /// are those of the caller's namespace.
    pub own: bool,
    /// Its owner; none: the caller's user namespace.
    pub user_namespace: Option<UserNsIndex>,
}

/// A process whose children begin in another pid namespace than its own (unshare(2), setns(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PidForChildren {
    /// Which process.
    pub process: ProcessIndex,
    /// Where its children begin.
    pub namespace: PidNsIndex,
}

/// uts_namespaces(7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UtsNamespace {
    /// Its owner; none: the caller's user namespace.
    pub user_namespace: Option<UserNsIndex>,
    /// sethostname(2).
    pub host_name: Vec<u8>,
    /// setdomainname(2).
    pub domain_name: Vec<u8>,
}

/// ipc_namespaces(7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpcNamespace {
    /// Its owner; none: the caller's user namespace.
    pub user_namespace: Option<UserNsIndex>,
}

/// network_namespaces(7). An own one is made empty, but for a loopback device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetNamespace {
    /// Its owner; none: the caller's user namespace.
    pub user_namespace: Option<UserNsIndex>,
    /// Whether its loopback device is up.
    pub loopback_up: bool,
}

/// cgroup_namespaces(7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupNamespace {
    /// Its owner; none: the caller's user namespace.
    pub user_namespace: Option<UserNsIndex>,
    /// Its root in each hierarchy.
    pub roots: Vec<CgroupMembership>,
}

/// time_namespaces(7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeNamespace {
    /// Its owner; none: the caller's user namespace.
    pub user_namespace: Option<UserNsIndex>,
    /// What is added to `CLOCK_MONOTONIC`, in nanoseconds.
    pub monotonic: i64,
    /// What is added to `CLOCK_BOOTTIME`, in nanoseconds.
    pub boottime: i64,
}

/// A line of `/proc/PID/cgroup`, as seen from the caller's cgroup namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CgroupMembership {
    /// The controllers of a version 1 hierarchy (or `name=...`); empty for version 2.
    pub controllers: Vec<u8>,
    /// Where, from the root of the hierarchy.
    pub path: Vec<u8>,
}
