//! What processes look like from outside: all of /proc that a dump and a restore have to leave as it was.
//!
//! Kind: effect. Numbers of the machine's own (inodes, pids outside) are left out, and so is what
//! only counts how the kernel is doing.

use crate::programs::children;
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Each thing by its name: those of a process begin with its number in the innermost pid namespace.
pub type Looks = BTreeMap<String, String>;

/// Lines of `status` that need not stay.
const COUNTS: [&str; 26] = [
    // Who is let go by a tracer is on his way for a moment.
    "State",
    "Tgid",
    "Ngid",
    "Pid",
    "PPid",
    "FDSize",
    "NStgid",
    "NSpid",
    "NSpgid",
    "NSsid",
    "VmPeak",
    "VmHWM",
    "VmRSS",
    "RssAnon",
    "RssFile",
    "RssShmem",
    "VmPTE",
    "VmSwap",
    "SigQ",
    "SigPnd",
    // Children that stop tell of it.
    "ShdPnd",
    "Mems_allowed",
    "Mems_allowed_list",
    "HugetlbPages",
    "voluntary_ctxt_switches",
    "nonvoluntary_ctxt_switches",
];
/// Files of a process that stay as they are.
const FILES: [&str; 11] = [
    "limits",
    "personality",
    "coredump_filter",
    "oom_score_adj",
    "comm",
    "cmdline",
    "environ",
    "auxv",
    "uid_map",
    "gid_map",
    "setgroups",
];
/// Lines of `fdinfo`, likewise.
const FDINFO: [&str; 7] = [
    "pos",
    "flags",
    "eventfd-count",
    "sigmask",
    "clockid",
    "settime",
    "it_interval",
];

/// A process and its descendants, all of which are stopped.
pub fn looks(first: u32) -> Result<Looks> {
    let (mut looks, mut open) = (Looks::new(), vec![first]);
    while let Some(pid) = open.pop() {
        process(pid, &mut looks).with_context(|| format!("process {pid}"))?;
        open.extend(children(pid));
    }
    Ok(looks)
}

fn process(pid: u32, looks: &mut Looks) -> Result<()> {
    let place = format!("/proc/{pid}");
    let status = fs::read_to_string(format!("{place}/status"))?;
    let own = innermost(&status);
    let mut note = |what: String, text: String| looks.insert(format!("{own} {what}"), text);
    if status.contains("State:\tZ") {
        let stat = fs::read_to_string(format!("{place}/stat"))?;
        let status = stat.split_whitespace().next_back().unwrap_or_default();
        note("zombie".into(), status.to_owned());
        return Ok(());
    }
    for name in FILES {
        let bytes = fs::read(format!("{place}/{name}")).unwrap_or_default();
        note(name.into(), bytes.escape_ascii().to_string());
    }
    for name in ["exe", "cwd", "root"] {
        note(name.into(), link(&format!("{place}/{name}")));
    }
    let timers = fs::read_to_string(format!("{place}/timers")).unwrap_or_default();
    let timers = timers
        .lines()
        .map(|line| line.split_once("id.").map_or(line, |(kept, _)| kept));
    note("timers".into(), timers.collect::<Vec<_>>().join("\n"));
    let smaps = fs::read_to_string(format!("{place}/smaps"))?;
    for (area, text) in areas(&smaps) {
        note(format!("area {area}"), text);
    }
    for entry in fs::read_dir(format!("{place}/fd"))? {
        let number = entry?.file_name().to_string_lossy().into_owned();
        // The standard streams are those of whoever restores.
        if ["0", "1", "2"].contains(&number.as_str()) {
            continue;
        }
        let info = fs::read_to_string(format!("{place}/fdinfo/{number}"))?;
        let kept = lines(&info, |name| FDINFO.contains(&name));
        let target = link(&format!("{place}/fd/{number}"));
        note(format!("descriptor {number}"), format!("{target}\n{kept}"));
    }
    for entry in fs::read_dir(format!("{place}/task"))? {
        let place = entry?.path();
        let status = fs::read_to_string(place.join("status"))?;
        let name = format!("thread {}", innermost(&status));
        let kept = lines(&status, |name| !COUNTS.contains(&name));
        let sched = fs::read_to_string(place.join("sched")).unwrap_or_default();
        let sched = lines(&sched.replace(' ', ""), |name| {
            matches!(name, "policy" | "prio")
        });
        let slack = fs::read_to_string(place.join("timerslack_ns")).unwrap_or_default();
        note(name, format!("{kept}{sched}slack {slack}"));
    }
    Ok(())
}

/// The number in the innermost pid namespace.
fn innermost(status: &str) -> String {
    let line = status.lines().find(|line| line.starts_with("NSpid:"));
    let number = line.and_then(|line| line.split_whitespace().next_back());
    number.unwrap_or("?").to_owned()
}

fn lines(text: &str, wanted: impl Fn(&str) -> bool) -> String {
    let kept = text.lines().filter(|line| {
        let name = line.split([':', ' ']).next().unwrap_or_default();
        line.contains(':') && wanted(name.trim())
    });
    kept.map(|line| format!("{line}\n")).collect()
}

/// Where it leads, without numbers of inodes.
fn link(path: &str) -> String {
    let target = fs::read_link(Path::new(path)).unwrap_or_default();
    let text = target.as_os_str().as_bytes().escape_ascii().to_string();
    match text.split_once(":[") {
        Some((kind, _)) => kind.to_owned(),
        None => text,
    }
}

/// Of each mapping its addresses, protection, offset and file, and its flags but for what the kernel counts with.
fn areas(smaps: &str) -> Vec<(String, String)> {
    let mut areas: Vec<(String, String)> = Vec::new();
    for line in smaps.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["VmFlags:", flags @ ..] => {
                let flags = flags.iter().filter(|it| !["sd", "um", "uw"].contains(it));
                // KERNEL: on 6.1, what nobody may touch any more but could be written once is still accounted.
                let touched = ["rd", "wr", "ex"]
                    .iter()
                    .any(|it| flags.clone().any(|flag| flag == it));
                let flags = flags.filter(|it| touched || **it != "ac");
                let flags: Vec<&str> = flags.copied().collect();
                if let Some((_, text)) = areas.last_mut() {
                    text.push_str(&flags.join(" "));
                }
            }
            [range, protection, offset, _, _, file @ ..] if !range.ends_with(':') => {
                let file = file.join(" ");
                let text = format!("{protection} {offset} {file}\n");
                areas.push(((*range).to_owned(), text));
            }
            _ => {}
        }
    }
    areas
}

/// What differs, in words.
pub fn changes(before: &Looks, after: &Looks) -> Vec<String> {
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let names = names
        .into_iter()
        .filter(|&it| before.get(it) != after.get(it));
    let words = |name: &String| {
        let text = |looks: &Looks| looks.get(name).cloned().unwrap_or_else(|| "nothing".into());
        let (was, is) = (text(before), text(after));
        let differs = |of: &str, other: &str| -> Vec<String> {
            let lines = of
                .lines()
                .filter(|line| !other.lines().any(|it| it == *line));
            lines.map(str::to_owned).collect()
        };
        let (was, is) = (differs(&was, &is), differs(&is, &was));
        format!("{name}: {is:?} where {was:?} was")
    };
    names.map(words).collect()
}
