//! Mount tables as the kernel prints them: for tests and for showing what was observed.
//!
//! Kind: pure.

use super::entry::{Entry, Unknown};
use super::escape::{OPTION_KEY, OPTION_VALUE, PATH, SOURCE, escape};
use crux_image::mounts::Atime;

/// Prints entries so that [`super::parse`] gives the same again.
pub fn format(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        line(entry, &mut out);
    }
    out
}

fn line(entry: &Entry, out: &mut Vec<u8>) {
    out.extend(format!("{} {} {} ", entry.id, entry.parent, entry.device).bytes());
    escape(&entry.root.path, PATH, out);
    if entry.root.deleted {
        out.extend(b"//deleted");
    }
    out.push(b' ');
    escape(&entry.mountpoint, PATH, out);
    out.push(b' ');
    attributes(entry, out);
    fields(entry, out);
    out.extend(b" - ");
    escape(&entry.fs_type, PATH, out);
    out.push(b' ');
    escape(&entry.source, SOURCE, out);
    out.push(b' ');
    super_options(entry, out);
    out.push(b'\n');
}

fn attributes(entry: &Entry, out: &mut Vec<u8>) {
    let shown = &entry.attributes;
    out.extend(if shown.readonly { b"ro" } else { b"rw" });
    let words = [
        (shown.nosuid, ",nosuid"),
        (shown.nodev, ",nodev"),
        (shown.noexec, ",noexec"),
        (shown.atime == Atime::Noatime, ",noatime"),
        (shown.nodiratime, ",nodiratime"),
        (shown.atime == Atime::Relatime, ",relatime"),
        (shown.nosymfollow, ",nosymfollow"),
        (entry.idmapped, ",idmapped"),
    ];
    words
        .iter()
        .filter(|(set, _)| *set)
        .for_each(|(_, word)| out.extend(word.bytes()));
    for unknown in &entry.unknown {
        if let Unknown::Attribute(word) = unknown {
            out.push(b',');
            escape(word, OPTION_VALUE, out);
        }
    }
}

fn fields(entry: &Entry, out: &mut Vec<u8>) {
    let groups = [
        (entry.shared, "shared"),
        (entry.master, "master"),
        (entry.propagate_from, "propagate_from"),
    ];
    for (group, name) in groups {
        if let Some(group) = group {
            out.extend(format!(" {name}:{group}").bytes());
        }
    }
    if entry.unbindable {
        out.extend(b" unbindable");
    }
    for unknown in &entry.unknown {
        if let Unknown::Field(field) = unknown {
            out.push(b' ');
            escape(field, PATH, out);
        }
    }
}

fn super_options(entry: &Entry, out: &mut Vec<u8>) {
    let flags = entry.flags;
    out.extend(if flags.readonly { b"ro" } else { b"rw" });
    let words = [
        (flags.sync, ",sync"),
        (flags.dirsync, ",dirsync"),
        (flags.lazytime, ",lazytime"),
    ];
    words
        .iter()
        .filter(|(set, _)| *set)
        .for_each(|(_, word)| out.extend(word.bytes()));
    for option in &entry.options {
        out.push(b',');
        escape(&option.key, OPTION_KEY, out);
        if let Some(value) = &option.value {
            out.push(b'=');
            escape(value, OPTION_VALUE, out);
        }
    }
}
