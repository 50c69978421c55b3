//! `/proc/sys/net`: what a namespace has otherwise than a new one.
//!
//! Kind: effect where it reads; what counts is pure. The directory shows the namespace of whoever reads it.

use crux_image::tasks::NetSysctl;
use crux_mount::sys::{self, NamespaceKind, SysError};
use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, openat, statat};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const TOP: &str = "/proc/sys/net";
/// The longest value that is read: a bitmap of ports.
const VALUE: usize = 1 << 16;
/// `ipv4/conf/DEVICE/rp_filter` is four deep.
const DEPTH: usize = 6;
/// What acts when it is read or written, is a secret, or is the same as another by another unit.
const LEFT: [&[u8]; 6] = [
    b"flush",
    b"stable_secret",
    b"tcp_fastopen_key",
    b"retrans_time",
    b"base_reachable_time",
    b"mtu",
];

/// Values by path.
pub(crate) type Values = BTreeMap<Vec<u8>, Vec<u8>>;

/// Those of a namespace that is made for this, and is gone again; the caller is `home` again afterwards.
pub(crate) fn of_new(home: &OwnedFd) -> Result<Values, SysError> {
    sys::unshare_namespace(NamespaceKind::Net)?;
    let values = read();
    sys::setns(home, NamespaceKind::Net)?;
    Ok(values)
}

/// All that can be read in the namespace that the caller is in. What can only be written is left out: it
/// says so when it is written.
fn read() -> Values {
    let mut values = Values::new();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if let Ok(top) = openat(CWD, TOP, flags, Mode::empty()) {
        // There are a thousand of them, and the tasks stand still.
        let mut buffer = vec![0; VALUE];
        walk(&top, &[], 0, &mut values, &mut buffer);
    }
    values
}

/// What of the caller's namespace is not as in a new one, and can be written.
pub(super) fn kept(fresh: &Values) -> Vec<NetSysctl> {
    let mut kept = differing(&read(), fresh);
    kept.retain(|it| can_be_written(&it.name));
    kept
}

fn can_be_written(name: &[u8]) -> bool {
    let path = [TOP.as_bytes(), b"/", name].concat();
    let stat = statat(CWD, path, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
    stat.is_ok_and(|stat| stat.st_mode & 0o200 != 0)
}

fn walk(directory: &OwnedFd, path: &[u8], depth: usize, values: &mut Values, buffer: &mut [u8]) {
    let Ok(entries) = Dir::read_from(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." || LEFT.contains(&name) || depth > DEPTH {
            continue;
        }
        let path = match path {
            [] => name.to_vec(),
            path => [path, b"/", name].concat(),
        };
        if entry.file_type() == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            if let Ok(below) = openat(directory, entry.file_name(), flags, Mode::empty()) {
                walk(&below, &path, depth + 1, values, buffer);
            }
        } else if let Some(value) = value(directory.as_fd(), entry.file_name(), buffer) {
            values.insert(path, value);
        }
    }
}

fn value(directory: BorrowedFd<'_>, name: &std::ffi::CStr, buffer: &mut [u8]) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = openat(directory, name, flags, Mode::empty()).ok()?;
    // KERNEL: the first read gives all that fits, and any other nothing.
    let length = rustix::io::read(&file, &mut *buffer).unwrap_or(0);
    let mut bytes = &buffer[..length];
    while let Some(rest) = bytes.strip_suffix(b"\n") {
        bytes = rest;
    }
    Some(bytes.to_vec())
}

/// What is not as a namespace would have it that has just been made: for a device, one that has just been
/// made in this one.
fn differing(values: &Values, fresh: &Values) -> Vec<NetSysctl> {
    let differs = |(name, value): &(&Vec<u8>, &Vec<u8>)| {
        let expected = match fresh.get(*name) {
            Some(value) => Some(value),
            None => default_of(name).and_then(|name| values.get(&name)),
        };
        expected != Some(*value)
    };
    let kept = values.iter().filter(differs);
    let mut all: Vec<NetSysctl> = kept
        .map(|(name, value)| NetSysctl {
            name: name.clone(),
            value: value.clone(),
        })
        .collect();
    // Forwarding sets others; what is for all comes before what is for one.
    all.sort_by_key(|it| rank(&it.name));
    all
}

/// `ipv4/conf/eth0/rp_filter` begins as `ipv4/conf/default/rp_filter`.
fn default_of(name: &[u8]) -> Option<Vec<u8>> {
    let mut parts: Vec<&[u8]> = name.split(|b| *b == b'/').collect();
    match parts.as_mut_slice() {
        [_, b"conf" | b"neigh", device, _] => {
            *device = b"default";
            Some(parts.join(&b'/'))
        }
        _ => None,
    }
}

fn rank(name: &[u8]) -> u8 {
    let forwards = name.ends_with(b"/ip_forward") || name.ends_with(b"/forwarding");
    let part = |word: &[u8]| name.split(|b| *b == b'/').any(|it| it == word);
    match (forwards, part(b"all"), part(b"default")) {
        (true, true, _) => 1,
        (true, ..) if default_of(name).is_none() => 0,
        (_, true, _) => 2,
        (_, _, true) => 3,
        _ if default_of(name).is_some() => 5,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(all: &[(&str, &str)]) -> Values {
        let pair =
            |(name, value): &(&str, &str)| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        all.iter().map(pair).collect()
    }

    #[test]
    fn what_differs_is_kept_in_an_order_in_which_it_stays() {
        let fresh = values(&[
            ("ipv4/ip_forward", "0"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/default/rp_filter", "0"),
            ("ipv4/conf/lo/rp_filter", "0"),
        ]);
        let now = values(&[
            ("ipv4/conf/eth0/rp_filter", "1"),
            ("ipv4/conf/eth1/rp_filter", "2"),
            ("ipv4/conf/lo/rp_filter", "0"),
            ("ipv4/conf/default/rp_filter", "1"),
            ("ipv4/conf/all/rp_filter", "2"),
            ("ipv4/ip_forward", "1"),
        ]);
        let found = differing(&now, &fresh);
        let names: Vec<_> = found
            .iter()
            .map(|it| String::from_utf8_lossy(&it.name))
            .collect();
        assert_eq!(
            names,
            [
                "ipv4/ip_forward",
                "ipv4/conf/all/rp_filter",
                "ipv4/conf/default/rp_filter",
                "ipv4/conf/eth1/rp_filter"
            ]
        );
    }
}
