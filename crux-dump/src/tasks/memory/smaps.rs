//! `/proc/PID/smaps`, understood: the mappings, and what mmap(2) and madvise(2) made of them.
//!
//! Kind: pure. A name may hold anything, so lines are told apart by how they begin: a header
//! with a hexadecimal range, every other with a word and a colon.

use std::str;

/// A mapping as smaps shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) start: u64,
    pub(super) end: u64,
    /// `rwxp` or `rwxs`.
    pub(super) permissions: [u8; 4],
    pub(super) offset: u64,
    pub(super) device: (u32, u32),
    pub(super) inode: u64,
    /// The path of a file, a name in brackets, or nothing.
    pub(super) name: Vec<u8>,
    /// `KernelPageSize`, in bytes.
    pub(super) page_size: u64,
    /// `VmFlags`: two letters each.
    pub(super) flags: Vec<[u8; 2]>,
}

impl Mapping {
    pub(super) fn is_shared(&self) -> bool {
        self.permissions[3] == b's'
    }

    pub(super) fn has(&self, flag: &[u8; 2]) -> bool {
        self.flags.contains(flag)
    }
}

/// Parses all of smaps; gives the line that is not understood otherwise.
pub(super) fn parse(text: &[u8]) -> Result<Vec<Mapping>, Vec<u8>> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in text.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
        if let Some(mapping) = header(line) {
            mappings.push(mapping);
            continue;
        }
        let mapping = mappings.last_mut().ok_or(line)?;
        if let Some(rest) = line.strip_prefix(b"VmFlags:") {
            let words = rest.split(|&b| b == b' ');
            mapping.flags = words.filter_map(|word| word.try_into().ok()).collect();
        } else if let Some(rest) = line.strip_prefix(b"KernelPageSize:") {
            mapping.page_size = kilobytes(rest).ok_or(line)?;
        }
    }
    Ok(mappings)
}

fn kilobytes(field: &[u8]) -> Option<u64> {
    let text = str::from_utf8(field).ok()?.trim().strip_suffix(" kB")?;
    text.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// `start-end perms offset major:minor inode   name`. Fields of smaps begin with a capital letter.
fn header(line: &[u8]) -> Option<Mapping> {
    let mut rest = line;
    let mut field = || {
        let end = rest.iter().position(|&b| b == b' ').unwrap_or(rest.len());
        let (field, after) = rest.split_at(end);
        rest = after.strip_prefix(b" ").unwrap_or(after);
        str::from_utf8(field).ok()
    };
    let (start, end) = field()?.split_once('-')?;
    let permissions = field()?.as_bytes().try_into().ok()?;
    let offset = hex(field()?)?;
    let (major, minor) = field()?.split_once(':')?;
    let inode = field()?.parse().ok()?;
    let device = (hex(major)?.try_into().ok()?, hex(minor)?.try_into().ok()?);
    let (start, end) = (hex(start)?, hex(end)?);
    Some(Mapping {
        start,
        end,
        permissions,
        offset,
        device,
        inode,
        name: unescape(rest.trim_ascii_start()),
        page_size: 4096,
        flags: Vec::new(),
    })
}

fn hex(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    u64::from_str_radix(text, 16).ok().filter(|_| digits)
}

/// Of all bytes, only a newline is escaped (`show_map_vma()` of the kernel).
fn unescape(name: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&first, after)) = rest.split_first() {
        match rest.strip_prefix(b"\\012") {
            Some(behind) => {
                bytes.push(b'\n');
                rest = behind;
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_flags_are_read_and_names_may_be_anything() {
        let text = b"7f00-8f00 rw-p 00001000 fd:01 42                 /a b: c\\012d\n\
            Size:                  4 kB\nKernelPageSize:     2048 kB\nVmFlags: rd wr mr ac hg \n\
            8f00-9f00 r-xs 00000000 00:00 0 \nVmFlags: rd ex \n";
        let all = parse(text).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].name, b"/a b: c\nd");
        assert_eq!((all[0].start, all[0].end), (0x7f00, 0x8f00));
        assert_eq!((all[0].device, all[0].inode), ((0xfd, 1), 42));
        assert_eq!(all[0].page_size, 2 << 20);
        assert!(all[0].has(b"hg") && !all[0].has(b"nh") && !all[0].is_shared());
        assert!(all[1].is_shared() && all[1].name.is_empty());
    }

    #[test]
    fn what_is_no_smaps_is_given_back() {
        assert_eq!(parse(b"Size: 4 kB\n"), Err(b"Size: 4 kB".to_vec()));
        assert!(parse(b"zz-8f00 rw-p 0 0:0 0\n").is_err());
    }
}
