//! An image in a few lines.
//!
//! Kind: pure.

use super::tree::cut;
use super::words;
use crate::inventory::Inventory;
use crate::mounts::{Contents, External, ExternalRole, Mounts, Origin, Propagation, Wish};
use crate::path::Escaped;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// An [`Inventory`] for `--json`.
#[derive(Debug, Serialize)]
pub struct InventoryRecord {
    id: String,
    crux_version: String,
    kernel_release: String,
    architecture: String,
    created: u64,
    pid: u32,
    command: String,
    members: Vec<MemberRecord>,
}

#[derive(Debug, Serialize)]
struct MemberRecord {
    file: &'static str,
    length: u64,
    checksum: Option<String>,
}

/// A checked inventory, for `--json`.
pub fn inventory_record(inventory: &Inventory) -> InventoryRecord {
    let facts = &inventory.facts;
    let members = inventory.members.iter().filter_map(|entry| {
        let checksum = entry.checksum.map(|checksum| format!("{checksum:08x}"));
        entry.member().map(|m| MemberRecord {
            file: m.file_name(),
            length: entry.length,
            checksum,
        })
    });
    InventoryRecord {
        id: facts.id.to_string(),
        crux_version: facts.crux_version.clone(),
        kernel_release: facts.kernel_release.clone(),
        architecture: facts.architecture.clone(),
        created: facts.created,
        pid: facts.pid,
        command: Escaped(&facts.command).to_string(),
        members: members.collect(),
    }
}

/// What was dumped, where and when; what the image holds and what it asks for.
pub fn summary(inventory: &Inventory, mounts: &Mounts) -> String {
    let mut text = String::new();
    dump(&mut text, inventory);
    tables(&mut text, mounts);
    own_file_systems(&mut text, mounts);
    external_sources(&mut text, mounts);
    members(&mut text, inventory);
    text
}

fn field(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "{name:<14}{value}");
}

fn dump(text: &mut String, inventory: &Inventory) {
    let facts = &inventory.facts;
    field(text, "Image", &facts.id.to_string());
    field(
        text,
        "Process",
        &format!("{} ({})", Escaped(&facts.command), facts.pid),
    );
    field(
        text,
        "Dumped",
        &format!("{} by crux {}", date(facts.created), facts.crux_version),
    );
    field(
        text,
        "Kernel",
        &format!("{} {}", facts.kernel_release, facts.architecture),
    );
}

fn tables(text: &mut String, mounts: &Mounts) {
    let all = || {
        mounts
            .namespaces
            .iter()
            .flat_map(|namespace| &namespace.mounts)
    };
    let slaves = all()
        .filter(|mount| matches!(mount.propagation, Propagation::Slave(_)))
        .count();
    let mut line = words::count(all().count(), "mount");
    if mounts.namespaces.len() > 1 {
        let _ = write!(
            line,
            " in {}",
            words::count(mounts.namespaces.len(), "mount namespace")
        );
    }
    if !mounts.groups.is_empty() {
        let _ = write!(
            line,
            ", {}",
            words::count(mounts.groups.len(), "peer group")
        );
    }
    if slaves > 0 {
        let _ = write!(line, ", {}", words::count(slaves, "slave"));
    }
    if !mounts.user_namespaces.is_empty() {
        let users = words::count(mounts.user_namespaces.len(), "user namespace");
        let _ = write!(line, ", {users} of its own");
    }
    field(text, "Mounts", &line);
}

/// The container's own, each type once: `tmpfs 5 (1,204 entries)`.
fn own_file_systems(text: &mut String, mounts: &Mounts) {
    let mut types: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
    for origin in &mounts.origins {
        let Origin::Own(own) = origin else { continue };
        let (count, entries) = types.entry(own.fs_type.name()).or_default();
        *count += 1;
        if let Contents::Tree(section) = own.contents {
            *entries = entries.saturating_add(section.entries);
        }
    }
    let words = types.iter().map(|(name, (count, entries))| match entries {
        0 => format!("{count} {name}"),
        1 => format!("{count} {name} (1 file)"),
        entries => format!("{count} {name} ({entries} files)"),
    });
    let words: Vec<String> = words.collect();
    if !words.is_empty() {
        field(text, "Made anew", &words.join(", "));
    }
}

fn external_sources(text: &mut String, mounts: &Mounts) {
    let mut rows = Vec::new();
    for origin in &mounts.origins {
        let Origin::External(external) = origin else {
            continue;
        };
        rows.push([cut(&grant(external)), what(external), wishes(external)]);
    }
    if rows.is_empty() {
        return;
    }
    text.push_str("\nA restore needs from the host:\n");
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let (first, second) = (width(0).unwrap_or(0).min(60), width(1).unwrap_or(0).min(40));
    for [grant, what, wishes] in &rows {
        let line = format!("  {grant:<first$}  {what:<second$}  {wishes}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
}

/// How a grant for this source is written.
fn grant(external: &External) -> String {
    match external.role {
        ExternalRole::Root => "--root DIR".into(),
        ExternalRole::Bind => format!("--external {}=SOURCE", words::external_name(external)),
    }
}

fn what(external: &External) -> String {
    let kind = words::kind(external.kind);
    match external.fs_type.as_str() {
        "" => kind,
        fs_type => format!("{kind} on {}", Escaped(fs_type.as_bytes())),
    }
}

fn wishes(external: &External) -> String {
    let mut words = Vec::new();
    match &external.wish {
        Some(wish @ Wish::Path(_)) => words.push(format!("was {}", cut(&words::wish(wish)))),
        Some(wish @ Wish::Kernel { .. }) => {
            words.push(format!("{} will do", cut(&words::wish(wish))));
        }
        None => {}
    }
    if let Some(path) = &external.group_wish {
        words.push(format!("peer group of {}", cut(&path.to_string())));
    }
    words.join(", ")
}

fn members(text: &mut String, inventory: &Inventory) {
    text.push_str("\nFiles:\n");
    for entry in &inventory.members {
        if let Some(kind) = entry.member() {
            let _ = writeln!(text, "  {:<16}{}", kind.file_name(), size(entry.length));
        }
    }
}

/// `532 bytes`, `1.4 MiB`.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return words::count(usize::try_from(bytes).unwrap_or(0), "byte");
    }
    // Tenths, rounded down; what is left of a PiB and more stays in PiB.
    let mut tenths = bytes.saturating_mul(10) / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// Seconds since 1970 as a date, UTC (proleptic Gregorian calendar).
fn date(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    if days > 3_000_000 {
        return format!("{seconds} s after 1970");
    }
    // Years begin in March, so that the day added to a leap year is the last.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::{date, size};

    #[test]
    fn dates_are_right_around_leap_days() {
        assert_eq!(date(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(date(1_709_251_199), "2024-02-29 23:59:59 UTC");
        assert_eq!(date(1_767_225_600), "2026-01-01 00:00:00 UTC");
        assert_eq!(date(u64::MAX), format!("{} s after 1970", u64::MAX));
    }

    #[test]
    fn sizes_have_one_decimal() {
        assert_eq!(size(1), "1 byte");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(1 << 30), "1.0 GiB");
        assert!(size(u64::MAX).ends_with("PiB"));
    }
}
