//! Calls that read better than by their arguments: those of which restores are made.
//!
//! Kind: pure. Each gives None where the arguments are not what it expects.

use super::words::{Words, flags, quoted};
use crate::calls::{Form, Kind};
use crate::ids::DataRef;
use crate::line::Argument;

const PAGE: u64 = 4096;

/// A call in its own words, if it has some.
pub(super) fn nice(words: &Words<'_>, form: &Form) -> Option<String> {
    match words.call.number.into() {
        libc::SYS_mmap => mmap(words, form),
        libc::SYS_munmap => Some(format!("munmap {}", range(words)?)),
        libc::SYS_mprotect => {
            let protection = protection(words.number(2)?);
            Some(format!("mprotect {} {protection}", range(words)?))
        }
        libc::SYS_mremap => mremap(words),
        libc::SYS_madvise => {
            let advice = words.argument(2, form.arguments[2].1);
            Some(format!("madvise {} {advice}", range(words)?))
        }
        libc::SYS_preadv => preadv(words),
        libc::SYS_clone3 => clone3(words),
        libc::SYS_sendto => super::netlink::netlink(words),
        libc::SYS_openat => openat(words, form),
        libc::SYS_close => Some(format!("close {}", words.argument(0, Kind::Fd))),
        libc::SYS_dup3 => dup3(words),
        libc::SYS_umask => Some(format!("umask {:#o}", words.number(0)?)),
        libc::SYS_rt_sigaction if words.number(1).is_none() => rt_sigaction(words),
        _ => None,
    }
}

impl Words<'_> {
    fn number(&self, index: usize) -> Option<u64> {
        match self.call.arguments[index] {
            Argument::Literal(value) => Some(value),
            _ => None,
        }
    }

    fn place(&self, index: usize) -> Option<DataRef> {
        match self.call.arguments[index] {
            Argument::Data(place) => Some(place),
            _ => None,
        }
    }
}

fn span(start: u64, len: u64) -> String {
    format!("{start:#x}-{:#x}", start.saturating_add(len))
}

fn pages(len: u64) -> String {
    match (len % PAGE, len / PAGE) {
        (0, 1) => "1 page".to_owned(),
        (0, count) => format!("{count} pages"),
        _ => format!("{len} bytes"),
    }
}

/// Of the first two arguments.
fn range(words: &Words<'_>) -> Option<String> {
    let (start, len) = (words.number(0)?, words.number(1)?);
    Some(format!("{} {}", span(start, len), pages(len)))
}

/// `rwx`, as in /proc/PID/maps.
fn protection(bits: u64) -> String {
    let letters = [(1, 'r'), (2, 'w'), (4, 'x')];
    let letters = letters.map(|(bit, letter)| if bits & bit != 0 { letter } else { '-' });
    letters.iter().collect()
}

fn mmap(words: &Words<'_>, form: &Form) -> Option<String> {
    let (start, len) = (words.number(0)?, words.number(1)?);
    let bits = words.number(3)?;
    let shared = if bits & libc::MAP_SHARED as u64 != 0 {
        's'
    } else {
        'p'
    };
    let source = match bits & libc::MAP_ANONYMOUS as u64 {
        0 => format!(
            "from {}+{:#x}",
            words.argument(4, Kind::Fd),
            words.number(5)?
        ),
        _ => "anonymous".to_owned(),
    };
    let shown = libc::MAP_SHARED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let shown = (shown | libc::MAP_FIXED_NOREPLACE) as u64;
    let more = match (bits & !shown, form.arguments[3].1) {
        (0, _) => String::new(),
        (bits, Kind::Flags(names)) => format!(" {}", flags(bits, names)),
        _ => return None,
    };
    let protection = protection(words.number(2)?);
    let (span, pages) = (span(start, len), pages(len));
    Some(format!(
        "mmap {span} {protection}{shared} {pages} {source}{more}"
    ))
}

fn mremap(words: &Words<'_>) -> Option<String> {
    let (old, old_len) = (words.number(0)?, words.number(1)?);
    let (new, new_len) = (words.number(4)?, words.number(2)?);
    let (old, new) = (span(old, old_len), span(new, new_len));
    Some(format!("mremap {old} {} to {new}", pages(old_len)))
}

fn preadv(words: &Words<'_>) -> Option<String> {
    let (vectors, count) = (words.place(1)?, words.number(2)?);
    let mut total = 0_u64;
    let mut spans = Vec::new();
    for index in 0..usize::try_from(count).ok()? {
        let (start, len) = (
            words.member(vectors, index * 16)?,
            words.member(vectors, index * 16 + 8)?,
        );
        total = total.checked_add(len)?;
        spans.push(span(start, len));
    }
    let source = words.argument(0, Kind::Fd);
    let offset = words.argument(3, Kind::UpTo(u64::MAX));
    let offset = if offset == "0" {
        "0x0".to_owned()
    } else {
        offset
    };
    Some(format!(
        "preadv {} {} from {source}+{offset}",
        spans.join(", "),
        pages(total)
    ))
}

/// Bits of clone3(2) that say what the child is.
const CLONE: &[(&str, u64)] = &[
    ("CLONE_THREAD", libc::CLONE_THREAD as u64),
    ("CLONE_VM", libc::CLONE_VM as u64),
    ("CLONE_FS", libc::CLONE_FS as u64),
    ("CLONE_FILES", libc::CLONE_FILES as u64),
    ("CLONE_SIGHAND", libc::CLONE_SIGHAND as u64),
    ("CLONE_SYSVSEM", libc::CLONE_SYSVSEM as u64),
    ("CLONE_PARENT", libc::CLONE_PARENT as u64),
    ("CLONE_PIDFD", libc::CLONE_PIDFD as u64),
    ("CLONE_SETTLS", libc::CLONE_SETTLS as u64),
    ("CLONE_PARENT_SETTID", libc::CLONE_PARENT_SETTID as u64),
    ("CLONE_CHILD_SETTID", libc::CLONE_CHILD_SETTID as u64),
    ("CLONE_CHILD_CLEARTID", libc::CLONE_CHILD_CLEARTID as u64),
    ("CLONE_NEWNS", libc::CLONE_NEWNS as u64),
    ("CLONE_NEWCGROUP", libc::CLONE_NEWCGROUP as u64),
    ("CLONE_NEWUTS", libc::CLONE_NEWUTS as u64),
    ("CLONE_NEWIPC", libc::CLONE_NEWIPC as u64),
    ("CLONE_NEWUSER", libc::CLONE_NEWUSER as u64),
    ("CLONE_NEWPID", libc::CLONE_NEWPID as u64),
    ("CLONE_NEWNET", libc::CLONE_NEWNET as u64),
    ("CLONE_NEWTIME", 0x80),
    ("CLONE_IO", libc::CLONE_IO as u32 as u64),
    ("CLONE_CLEAR_SIGHAND", 0x1_0000_0000),
    ("CLONE_INTO_CGROUP", 0x2_0000_0000),
];

fn clone3(words: &Words<'_>) -> Option<String> {
    let place = words.place(0)?;
    let child = &words.arena.get(words.call.child?)?.name;
    let mut text = format!("clone3 {}", super::words::printable(child));
    let ids = set_tid(words, place)?;
    if !ids.is_empty() {
        text += &format!(" as {}", ids.join(" in "));
    }
    match words.member(place, 0)? {
        0 => {}
        bits => text += &format!(" {}", flags(bits, CLONE)),
    }
    Some(text)
}

/// The ids that the child is to have, from the innermost namespace outwards.
fn set_tid(words: &Words<'_>, place: DataRef) -> Option<Vec<String>> {
    let count = usize::try_from(words.member(place, 72)?).ok()?;
    let block = words.arena.get_block(place.block)?;
    let at = place.offset.checked_add(64)?;
    let Some(to) = block.pointers.iter().find(|it| it.at == at).map(|it| it.to) else {
        return Some(Vec::new());
    };
    let ids = words.bytes(to).chunks_exact(4).take(count);
    let id = |bytes: &[u8]| bytes.try_into().map(i32::from_le_bytes).unwrap_or(0);
    Some(ids.map(|bytes| id(bytes).to_string()).collect())
}

fn openat(words: &Words<'_>, form: &Form) -> Option<String> {
    let path = quoted(words.bytes(words.place(1)?), usize::MAX);
    let bits = match words.argument(2, form.arguments[2].1) {
        none if none == "0" => "O_RDONLY".to_owned(),
        some => some,
    };
    let within = match words.argument(0, Kind::DirFd) {
        here if here == "AT_FDCWD" => String::new(),
        directory => format!(" in {directory}"),
    };
    let mode = match words.number(3)? {
        0 => String::new(),
        mode => format!(" mode {mode:#o}"),
    };
    Some(format!("openat {path} {bits}{mode}{within}"))
}

fn dup3(words: &Words<'_>) -> Option<String> {
    let (old, new) = (words.argument(0, Kind::Fd), words.argument(1, Kind::Value));
    let more = match words.number(2)? {
        0 => "",
        _ => " O_CLOEXEC",
    };
    Some(format!("dup3 {old} to {new}{more}"))
}

const SA: &[(&str, u64)] = &[
    ("SA_NOCLDSTOP", 1),
    ("SA_NOCLDWAIT", 2),
    ("SA_SIGINFO", 4),
    ("SA_RESTORER", 0x0400_0000),
    ("SA_ONSTACK", 0x0800_0000),
    ("SA_RESTART", 0x1000_0000),
    ("SA_NODEFER", 0x4000_0000),
    ("SA_RESETHAND", 0x8000_0000),
];

/// The kernel's struct sigaction: handler, flags, restorer, mask.
fn rt_sigaction(words: &Words<'_>) -> Option<String> {
    let (signal, place) = (words.number(0)?, words.place(1)?);
    let handler = match words.member(place, 0)? {
        0 => "SIG_DFL".to_owned(),
        1 => "SIG_IGN".to_owned(),
        address => format!("{address:#x}"),
    };
    let mut text = format!("rt_sigaction {} {handler}", signal_name(signal));
    match words.member(place, 8)? {
        0 => {}
        bits => text += &format!(" {}", flags(bits, SA)),
    }
    match words.member(place, 24)? {
        0 => {}
        mask => text += &format!(" mask {mask:#x}"),
    }
    Some(text)
}

/// Its name, as in kill -l.
fn signal_name(signal: u64) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    let index = usize::try_from(signal)
        .ok()
        .and_then(|it| it.checked_sub(1));
    match index.and_then(|it| NAMES.get(it)) {
        Some(name) => format!("SIG{name}"),
        None => format!("signal {signal}"),
    }
}
