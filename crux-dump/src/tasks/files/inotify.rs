//! inotify: what is watched, and where that is.
//!
//! Kind: effect; parsers are pure. /proc tells a handle of each inode (name_to_handle_at(2)). It is opened in a mount of
//! its file system, and where that leads is the path.

use super::Seen;
use super::fdinfo::fields;
use super::pipes::duplicate;
use super::sys::open_handle;
use crate::sys::pipe_bytes;
use crate::tasks::removed::{DELETED, directory};
use crate::tasks::{Places, Target};
use crux_image::tasks::{Location, OpenTarget, Watch};
use crux_mount::sys::SysError;
use rustix::fs::{CWD, fstat, readlinkat};
use std::os::fd::{AsFd as _, AsRawFd as _};

/// A line of /proc.
#[derive(Debug, PartialEq, Eq)]
struct Marked {
    number: u32,
    inode: u64,
    device: (u32, u32),
    mask: u32,
    kind: i32,
    handle: Vec<u8>,
}

/// The watches of a descriptor; in words, if they cannot be made again.
pub(super) fn target(
    target: &Target,
    seen: &Seen,
    places: &Places,
) -> Result<Result<OpenTarget, String>, SysError> {
    let copy = duplicate(target, seen.number)?;
    let waiting = pipe_bytes(copy.as_fd())?;
    if waiting > 0 {
        return Ok(Err(format!(
            "has {waiting} bytes of events that nobody has read, which cannot be dumped yet"
        )));
    }
    let mut watches = Vec::new();
    for line in fields(&seen.text, "inotify wd") {
        let Some(marked) = parse(line) else {
            return Ok(Err("watches what this kernel does not tell".to_owned()));
        };
        let number = marked.number;
        if number > Watch::LAST {
            let last = Watch::LAST;
            return Ok(Err(format!(
                "has a watch of number {number}, where {last} is the limit"
            )));
        }
        let Some(location) = locate(target, places, &marked) else {
            return Ok(Err(format!(
                "watches (number {number}) inode {} of device {}:{}, of which no path is found",
                marked.inode, marked.device.0, marked.device.1
            )));
        };
        watches.push(Watch {
            number,
            location,
            mask: marked.mask & Watch::MASK,
        });
    }
    watches.sort_unstable_by_key(|watch| watch.number);
    Ok(Ok(OpenTarget::Inotify(watches)))
}

fn locate(target: &Target, places: &Places, marked: &Marked) -> Option<Location> {
    for (mount, mountpoint) in places.of_device(marked.device) {
        let Some(root) = directory(target, mount, mountpoint) else {
            continue;
        };
        let Ok(found) = open_handle(root.as_fd(), marked.kind, &marked.handle) else {
            continue;
        };
        let same = fstat(&found).is_ok_and(|stat| stat.st_ino == marked.inode);
        let link = format!("/proc/self/fd/{}", found.as_raw_fd());
        let path = readlinkat(CWD, link, Vec::new()).ok()?.into_bytes();
        // A handle opens what was removed as well.
        if !same || path.ends_with(DELETED) {
            continue;
        }
        if let Some(location) = places.locate(mount, &path) {
            return Some(location);
        }
    }
    None
}

/// What stands behind `inotify wd:`.
fn parse(line: &str) -> Option<Marked> {
    let mut words = line.split_ascii_whitespace();
    let number = u32::from_str_radix(words.next()?, 16).ok()?;
    let words: Vec<&str> = words.collect();
    let value = |name: &str| {
        let mut words = words.iter();
        words.find_map(|word| word.strip_prefix(name)?.strip_prefix(':'))
    };
    let hex = |name: &str| u64::from_str_radix(value(name)?, 16).ok();
    let device = hex("sdev")? as u32;
    let handle = value("f_handle")?.as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    Some(Marked {
        number,
        inode: hex("ino")?,
        // As the kernel has it: 20 bits of minor number.
        device: (device >> 20, device & 0xf_ffff),
        mask: hex("mask")? as u32,
        kind: hex("fhandle-type")? as i32,
        handle: handle.chunks(2).map(byte).collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_have_handles() {
        let line = "3 ino:9e7e sdev:800013 mask:800afce ignored_mask:0 fhandle-bytes:8 \
            fhandle-type:1 f_handle:7e9e0000640d1b6d";
        let wanted = Marked {
            number: 3,
            inode: 0x9e7e,
            device: (8, 19),
            mask: 0x0800_afce,
            kind: 1,
            handle: vec![0x7e, 0x9e, 0, 0, 0x64, 0x0d, 0x1b, 0x6d],
        };
        assert_eq!(parse(line), Some(wanted));
        assert_eq!(parse("3 ino:9e7e sdev:800013 mask:800afce"), None);
    }
}
