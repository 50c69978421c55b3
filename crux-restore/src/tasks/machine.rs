//! What the compiler has to know of the machine and of whoever restores.
//!
//! Kind: effect. Of the process itself, before any image is open.

use super::compile::Machine;
use crate::files::Held;
use crux_image::tasks::{CgroupMembership, Clocks};
use crux_mount::hierarchies::memberships;
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::capabilities;
use rustix::time::ClockId;
use std::collections::BTreeMap;

/// `RLIM_NLIMITS`.
const RESOURCES: u32 = 16;

/// What can be found out. What cannot is empty, and an obstacle where a task needs it.
pub(crate) fn observe() -> Machine {
    Machine {
        vdso: vdso().unwrap_or_default(),
        limits: limits(),
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        capabilities: capabilities(None).map_or(0, |sets| sets.permitted.bits()),
        clocks: clocks(),
        oom_score_adj: oom_score_adj().unwrap_or(0),
        numbers: numbers(),
        cgroups: cgroups().unwrap_or_default(),
        descriptors: Held::default().facts(),
        links: links(),
        groups: groups(),
        ..Machine::default()
    }
}

fn groups() -> Vec<u32> {
    let groups = rustix::process::getgroups().unwrap_or_default();
    groups.into_iter().map(|it| it.as_raw()).collect()
}

fn cgroups() -> Option<Vec<CgroupMembership>> {
    memberships(&std::fs::read("/proc/self/cgroup").ok()?)
}

fn oom_score_adj() -> Option<i16> {
    let text = std::fs::read_to_string("/proc/self/oom_score_adj").ok()?;
    text.trim().parse().ok()
}

/// Of all processes and their threads.
fn numbers() -> Vec<u32> {
    let mut all = Vec::new();
    for process in entries("/proc") {
        all.extend(entries(&format!("/proc/{process}/task")));
    }
    all.sort_unstable();
    all
}

/// Entries of a directory that are numbers.
fn entries(path: &str) -> Vec<u32> {
    let directory = std::fs::read_dir(path).into_iter().flatten();
    let number =
        |entry: std::io::Result<std::fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
    directory.filter_map(number).collect()
}

fn vdso() -> Option<Vec<u8>> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|line| line.ends_with("[vdso]"))?;
    let (start, end) = line.split_once(' ')?.0.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    let (start, end) = (number(start)?, number(end)?);
    let mut bytes = vec![0; usize::try_from(end - start).ok()?];
    // /proc/self/mem is root's in a process that has its capabilities from its file.
    let own = crux_trace::Tid::new(std::process::id())?;
    crux_trace::read_memory(own, start, &mut bytes).ok()?;
    Some(bytes)
}

fn clocks() -> Clocks {
    let now = |clock| {
        let time = rustix::time::clock_gettime(clock);
        (time.tv_sec as u64).saturating_mul(1_000_000_000) + time.tv_nsec as u64
    };
    Clocks {
        realtime: now(ClockId::Realtime),
        monotonic: now(ClockId::Monotonic),
        boottime: now(ClockId::Boottime),
    }
}

/// Of the network namespace that this process is in: a sysfs shows the one of whoever mounted it.
fn links() -> BTreeMap<Vec<u8>, u32> {
    let text = std::fs::read("/proc/thread-self/net/dev").unwrap_or_default();
    let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
    let Ok(socket) = socket_with(family, kind, SocketFlags::CLOEXEC, None) else {
        return BTreeMap::new();
    };
    let link = |line: &[u8]| {
        let end = line.iter().rposition(|b| *b == b':')?;
        let name = line[..end].trim_ascii();
        let index = name_to_index(&socket, std::str::from_utf8(name).ok()?).ok()?;
        Some((name.to_vec(), index))
    };
    text.split(|b| *b == b'\n')
        .skip(2)
        .filter_map(link)
        .collect()
}

fn limits() -> Vec<u64> {
    (0..RESOURCES).map(super::sys::hard_limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_seen() {
        let machine = observe();
        assert_eq!(machine.vdso.get(..4), Some(&b"\x7fELF"[..]));
        assert_eq!(machine.limits.len(), 16);
        let own = std::process::id();
        assert!(machine.numbers.binary_search(&own).is_ok());
    }
}
