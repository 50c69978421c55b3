//! Compares what restored processes look like with the record.
//!
//! Kind: pure. Only what is certain: numbers, threads, masks, actions, capabilities, and
//! which addresses are mapped how. The texts are of tasks that an image made: no line is trusted.

use crux_image::tasks::{
    Area, Process, ProcessIndex, ProcessState, Protection, SeccompState, Sharing, Tasks,
};
use std::collections::BTreeMap;

/// What differs, in words. `texts` are `maps` and `status` of each process, in its order.
pub(crate) fn differences(
    tasks: &Tasks,
    found: &[(ProcessIndex, u32)],
    texts: &[Vec<u8>],
) -> Vec<String> {
    let mut differences = Vec::new();
    let found: BTreeMap<_, _> = found
        .iter()
        .zip(texts.chunks(2))
        .map(|((process, _), texts)| (*process, texts))
        .collect();
    for (at, process) in tasks.processes.iter().enumerate() {
        if matches!(process.state, ProcessState::Zombie(_)) {
            continue;
        }
        let mut differs = match found.get(&ProcessIndex::from(at)) {
            Some([maps, status]) => {
                let mut differs = status_differs(tasks, process, status);
                differs.extend(maps_differ(tasks, process, maps));
                differs
            }
            _ => vec!["is not there".to_owned()],
        };
        let pid = process.threads.first().and_then(|it| it.pids.first());
        let name = format!("task {}", pid.copied().unwrap_or(0));
        differences.extend(differs.drain(..).map(|it| format!("{name}: {it}")));
    }
    differences
}

/// The fields of `/proc/PID/status`.
fn fields(text: &[u8]) -> BTreeMap<&str, Vec<&str>> {
    let lines = text.split(|byte| *byte == b'\n');
    let lines = lines.filter_map(|line| std::str::from_utf8(line).ok());
    lines
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key, value.split_ascii_whitespace().collect()))
        .collect()
}

fn status_differs(tasks: &Tasks, process: &Process, text: &[u8]) -> Vec<String> {
    let fields = fields(text);
    let mut differs = Vec::new();
    let mut compare = |key: &str, wanted: Vec<String>| {
        let found = fields.get(key).map_or(&[][..], Vec::as_slice);
        if found != wanted {
            let (found, wanted) = (found.join(" "), wanted.join(" "));
            differs.push(format!("{key} is {found:?}, and was {wanted:?}"));
        }
    };
    let Some(leader) = process.threads.first() else {
        return differs;
    };
    let set = |bits: u64| vec![format!("{bits:016x}")];
    let with = |test: fn(u64) -> bool| {
        let actions = process.actions.iter().filter(|it| test(it.handler));
        let signals = actions.filter(|it| (1..=64).contains(&it.signal));
        signals.fold(0_u64, |bits, it| bits | 1 << (it.signal - 1))
    };
    compare("Threads", vec![process.threads.len().to_string()]);
    compare("SigBlk", set(leader.mask & !UNBLOCKABLE));
    compare("SigIgn", set(with(|handler| handler == 1)));
    compare("SigCgt", set(with(|handler| handler > 1)));
    let credentials = &leader.credentials;
    compare(
        "NoNewPrivs",
        vec![u8::from(credentials.no_new_privs).to_string()],
    );
    let (seccomp, filters) = match leader.seccomp {
        SeccompState::Off => (0, 0),
        SeccompState::Filters(index) => {
            let chain = tasks.seccomp_chains.get(index.at());
            (2, chain.map_or(0, |chain| chain.filters.len()))
        }
    };
    compare("Seccomp", vec![seccomp.to_string()]);
    compare("Seccomp_filters", vec![filters.to_string()]);
    let capabilities = &credentials.capabilities;
    compare("CapInh", set(capabilities.inheritable));
    compare("CapPrm", set(capabilities.permitted));
    compare("CapEff", set(capabilities.effective));
    compare("CapBnd", set(capabilities.bounding));
    compare("CapAmb", set(capabilities.ambient));
    // Ids are shown as the reader's user namespace has them.
    if process.user_namespace.is_none() {
        compare("Uid", credentials.uids.map(|id| id.to_string()).into());
        compare("Gid", credentials.gids.map(|id| id.to_string()).into());
    }
    let shown = fields.get("NSpid").map_or(&[][..], Vec::as_slice);
    let pids: Vec<_> = leader.pids.iter().map(u32::to_string).collect();
    let pids: Vec<_> = pids.iter().map(String::as_str).collect();
    // In front of them are those of pid namespaces further out.
    if !shown.ends_with(&pids) {
        let (shown, pids) = (shown.join(" "), pids.join(" "));
        differs.push(format!("its numbers are {shown:?}, and were {pids:?}"));
    }
    differs
}

/// SIGKILL and SIGSTOP.
const UNBLOCKABLE: u64 = 1 << 8 | 1 << 18;

/// Addresses that are mapped in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range<'a> {
    start: u64,
    end: u64,
    protection: &'a [u8],
}

fn maps_differ(tasks: &Tasks, process: &Process, text: &[u8]) -> Option<String> {
    let space = tasks.spaces.get(process.space?.at())?;
    let wanted: Vec<_> = space.areas.iter().map(|area| (area, shown(area))).collect();
    let wanted = wanted.iter().map(|(area, shown)| Range {
        start: area.start,
        end: area.end,
        protection: shown,
    });
    let lines = text.split(|byte| *byte == b'\n');
    let found = lines.filter_map(range);
    let (wanted, found) = (joined(wanted), joined(found));
    let more = found.iter().find(|range| !wanted.contains(range));
    let less = wanted.iter().find(|range| !found.contains(range));
    let say = |range: &Range<'_>| {
        let protection = String::from_utf8_lossy(range.protection);
        format!("{:x}-{:x} {protection}", range.start, range.end)
    };
    match (more, less) {
        (None, None) => None,
        (Some(more), None) => Some(format!("{} is mapped, and was not", say(more))),
        (None, Some(less)) => Some(format!("{} is not mapped", say(less))),
        (Some(more), Some(less)) => Some(format!("{} is mapped, and was {}", say(more), say(less))),
    }
}

fn shown(area: &Area) -> [u8; 4] {
    let Protection {
        read,
        write,
        execute,
    } = area.protection;
    let letter = |is: bool, letter: u8| if is { letter } else { b'-' };
    let sharing = match area.sharing {
        Sharing::Private => b'p',
        Sharing::Shared => b's',
    };
    [
        letter(read, b'r'),
        letter(write, b'w'),
        letter(execute, b'x'),
        sharing,
    ]
}

/// A line of maps, but for the page that the kernel shows in every process.
fn range(line: &[u8]) -> Option<Range<'_>> {
    let mut words = line.split(|byte| *byte == b' ');
    let (addresses, protection) = (words.next()?, words.next()?);
    let (start, end) = std::str::from_utf8(addresses).ok()?.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    let start = number(start).filter(|start| *start < 1 << 63)?;
    Some(Range {
        start,
        end: number(end)?,
        protection,
    })
}

/// The kernel joins neighbours at other moments than those at which they were made.
fn joined<'a>(ranges: impl Iterator<Item = Range<'a>>) -> Vec<Range<'a>> {
    let mut joined: Vec<Range<'a>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if last.end == range.start && last.protection == range.protection => {
                last.end = range.end;
            }
            _ => joined.push(range),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_that_are_mapped_alike_are_one() {
        let maps = b"1000-2000 r--p 0 0:0 0\n2000-3000 r--p 1000 0:0 7 /a b\n\
            3000-4000 rw-p 0 0:0 0\nffffffffff600000-ffffffffff601000 --xp 0 00:00 0 [vsyscall]\n";
        let found = joined(maps.split(|byte| *byte == b'\n').filter_map(range));
        let ends: Vec<_> = found.iter().map(|it| (it.start, it.end)).collect();
        assert_eq!(ends, [(0x1000, 0x3000), (0x3000, 0x4000)]);
    }

    #[test]
    fn fields_are_words_behind_their_key() {
        let fields = fields(b"Name:\ta:b\nUid:\t1\t2\t3\t4\n\xff\nThreads:\t1\n");
        assert_eq!(fields["Uid"], ["1", "2", "3", "4"]);
        assert_eq!(fields["Name"], ["a:b"]);
    }
}
