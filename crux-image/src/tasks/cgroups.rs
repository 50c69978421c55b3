//! Settings of cgroups (cgroups(7)).
//!
//! Kind: pure.

use super::CgroupMembership;
use serde::{Deserialize, Serialize};

/// What a cgroup is set to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupSettings {
    /// Which.
    pub cgroup: CgroupMembership,
    /// Positions in [`CgroupFile::ALL`], ascending, and what was read there.
    pub values: Vec<(u32, Vec<u8>)>,
}

/// A file of a cgroup that gives back what was written to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CgroupFile {
    /// The file that is read.
    pub name: &'static str,
    /// How it is written.
    pub writing: CgroupWriting,
}

/// How what was read is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupWriting {
    /// As it was read.
    Whole,
    /// A line at a time.
    Lines,
    /// Words, each with a `+` in front: before there is anything beneath.
    Added,
}

impl CgroupFile {
    /// In the order in which they are written. Names of version 2 and of version 1.
    pub const ALL: [Self; 24] = {
        use CgroupWriting::{Added, Lines, Whole};
        const fn file(name: &'static str, writing: CgroupWriting) -> CgroupFile {
            CgroupFile { name, writing }
        }
        [
            file("cpuset.cpus", Whole),
            file("cpuset.mems", Whole),
            file("cgroup.subtree_control", Added),
            file("cgroup.max.depth", Whole),
            file("cgroup.max.descendants", Whole),
            file("cpu.weight", Whole),
            file("cpu.max", Whole),
            file("memory.max", Whole),
            file("memory.high", Whole),
            file("memory.low", Whole),
            file("memory.min", Whole),
            file("memory.swap.max", Whole),
            file("memory.oom.group", Whole),
            file("pids.max", Whole),
            file("io.max", Lines),
            file("cpu.shares", Whole),
            file("cpu.cfs_period_us", Whole),
            file("cpu.cfs_quota_us", Whole),
            file("memory.limit_in_bytes", Whole),
            file("memory.memsw.limit_in_bytes", Whole),
            file("memory.soft_limit_in_bytes", Whole),
            file("memory.swappiness", Whole),
            file("blkio.throttle.read_bps_device", Lines),
            file("blkio.throttle.write_bps_device", Lines),
        ]
    };
    /// The longest that is read.
    pub const LONGEST: usize = 4096;
}
