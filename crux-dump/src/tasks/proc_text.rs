//! The small text files of `/proc/PID`: opening, reading, and what their lines say.
//!
//! Kind: effect where it reads, the parsers are pure. What a process chose itself (its name) may
//! hold anything; nothing here is taken for a number that is none.

use crux_mount::sys::{self, SysError};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

/// Longer than any of these files, but for lists of groups (65,536 numbers).
const LIMIT: u64 = 1 << 20;

/// Reads a file of `/proc/PID`.
pub(super) fn read(process: impl AsFd, name: &'static str) -> Result<Vec<u8>, SysError> {
    whole(sys::open_process_file(process.as_fd(), name)?, || {
        name.to_owned()
    })
}

/// Reads a file of `/proc/PID/task/TID`.
pub(super) fn read_of_thread(
    process: BorrowedFd<'_>,
    tid: u32,
    name: &'static str,
) -> Result<Vec<u8>, SysError> {
    let path = format!("task/{tid}/{name}");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = openat(process, &path, flags, Mode::empty())
        .map_err(|errno| SysError::new(format!("openat({path:?})"), errno))?;
    whole(File::from(file), || path.clone())
}

/// Reads all of such a file.
pub(super) fn whole(file: File, name: impl Fn() -> String) -> Result<Vec<u8>, SysError> {
    // Most are shorter: one read for all, and one for the end. Some are kept: no more than they need.
    let mut buffer = [0; 4096];
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < LIMIT {
        match rustix::io::read(&file, &mut buffer) {
            Ok(0) => break,
            Ok(length) => bytes.extend_from_slice(&buffer[..length]),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(SysError::new(format!("read({:?})", name()), errno)),
        }
    }
    Ok(bytes)
}

/// A file that does not say what it should.
pub(super) fn odd(name: &str) -> SysError {
    SysError::new(format!("parse({name:?})"), Errno::INVAL)
}

/// `/proc/PID/stat`, by the numbers of proc_pid_stat(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stat {
    /// Field 3.
    pub(super) state: u8,
    fields: Vec<i64>,
}

impl Stat {
    pub(super) fn read(process: BorrowedFd<'_>) -> Result<Self, SysError> {
        let text = read(process, "stat")?;
        // An empty one is that of a process which has just gone.
        Self::parse(&text).ok_or_else(|| SysError::new("read(\"stat\")", Errno::SRCH))
    }

    /// The name may hold anything, also parentheses: what counts comes after the last.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let after = text.iter().rposition(|&b| b == b')')? + 1;
        let text = std::str::from_utf8(&text[after..]).ok()?;
        let mut words = text.split_ascii_whitespace();
        let state = *words.next()?.as_bytes().first()?;
        // Addresses may be above i64::MAX; nobody asks for those here.
        let fields = words.map(|word| word.parse().unwrap_or(-1)).collect();
        Some(Self { state, fields })
    }

    /// A field, from 4 on.
    pub(super) fn field(&self, number: usize) -> Option<i64> {
        self.fields.get(number.checked_sub(4)?).copied()
    }

    pub(super) fn is_kernel_thread(&self) -> bool {
        const PF_KTHREAD: i64 = 0x0020_0000;
        self.field(9).is_some_and(|flags| flags & PF_KTHREAD != 0)
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

/// `/proc/PID/status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Status(String);

impl Status {
    pub(super) fn parse(text: &[u8]) -> Self {
        // Names are escaped in it, but may hold what is no UTF-8.
        Self(String::from_utf8_lossy(text).into_owned())
    }

    /// The value of a line.
    pub(super) fn line(&self, name: &str) -> Option<&str> {
        // The first line is the name, which has no line break in it.
        let mut lines = self.0.lines().filter_map(|line| line.split_once(":\t"));
        lines
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value.trim())
    }

    /// Numbers, separated by space.
    pub(super) fn numbers(&self, name: &str) -> Option<Vec<u32>> {
        let words = self.line(name)?.split_ascii_whitespace();
        words.map(|word| word.parse().ok()).collect()
    }

    /// One number.
    pub(super) fn number(&self, name: &str) -> Option<u32> {
        self.line(name)?.parse().ok()
    }

    /// A set, in hexadecimal digits.
    pub(super) fn set(&self, name: &str) -> Option<u64> {
        u64::from_str_radix(self.line(name)?, 16).ok()
    }
}

/// A number in hexadecimal digits, and nothing else but the end of the line.
pub(super) fn hexadecimal(text: &[u8]) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(text).ok()?.trim(), 16).ok()
}

/// A number, and nothing else but the end of the line.
pub(super) fn decimal<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_behind_the_name() {
        let stat = Stat::parse(b"7 (a) Z 1 (b)) S 42 7 8 0 -1 2097152 1\n").unwrap();
        assert_eq!(
            (stat.state, stat.field(4), stat.field(6)),
            (b'S', Some(42), Some(8))
        );
        assert!(stat.is_kernel_thread());
        assert!(!stat.has_ended());
        assert_eq!(stat.field(11), None);
        assert_eq!(Stat::parse(b""), None);
    }

    #[test]
    fn status_is_read_by_line() {
        let status = Status::parse(
            b"Name:\tx:\\nUid:\t9\nUid:\t0\t1\t2\t3\nSigCgt:\t00000000000000ff\nSeccomp:\t2\n",
        );
        assert_eq!(status.numbers("Uid"), Some(vec![0, 1, 2, 3]));
        assert_eq!(status.set("SigCgt"), Some(255));
        assert_eq!(status.number("Seccomp"), Some(2));
        assert_eq!(status.line("Groups"), None);
    }
}
