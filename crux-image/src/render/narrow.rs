//! The mount tree for a terminal: what says nothing is left out, and the options of
//! file systems; a line that is still too long is cut.
//!
//! Kind: pure. All of it is in [`tree`](super::tree()) and in the JSON.

use super::order::{GroupNumbers, display_order};
use super::tree::{branches, cut_to, heading};
use super::words;
use crate::mounts::{External, Mount, Mounts, Namespace, Origin, Propagation};
use crate::path::{Escaped, RelPath};
use std::fmt::Write;

const COLUMNS: [&str; 4] = ["MOUNT", "FILE SYSTEM", "PROPAGATION", "ATTRIBUTES"];
/// The middle of a longer cell is cut out.
const WIDEST: [usize; 4] = [32, 25, 24, 60];
/// Narrower than this nothing can be read.
const NARROWEST: usize = 40;

type Row = [String; 4];

/// Every namespace with its mounts, in lines of at most `width` characters.
pub fn narrow_tree(mounts: &Mounts, width: usize) -> String {
    let width = width.max(NARROWEST);
    let numbers = GroupNumbers::new(mounts);
    let mut text = String::new();
    for (at, namespace) in mounts.namespaces.iter().enumerate() {
        if at > 0 {
            text.push('\n');
        }
        heading(&mut text, mounts, at, namespace);
        table(&mut text, &rows(mounts, &numbers, namespace), width);
    }
    text.push_str("(← is \"slave of\"; --width 0 or --json shows everything, also options)\n");
    text
}

fn rows(mounts: &Mounts, numbers: &GroupNumbers, namespace: &Namespace) -> Vec<Row> {
    let mut rows = vec![COLUMNS.map(str::to_owned)];
    let order = display_order(namespace);
    for (placed, branch) in order.iter().zip(branches(&order)) {
        let mount = &namespace.mounts[placed.mount.at()];
        let origin = &mounts.origins[mount.origin.at()];
        let path = namespace.path_of(placed.mount);
        rows.push([
            branch + &name(mount),
            file_system(mount, origin, &path),
            propagation(mounts, numbers, mount),
            words::attributes_and_lock(mount),
        ]);
    }
    for row in &mut rows {
        for (cell, widest) in row.iter_mut().zip(WIDEST) {
            *cell = cut_to(cell, widest);
        }
    }
    rows
}

/// The path beneath the parent, which stands above.
fn name(mount: &Mount) -> String {
    match (mount.parent, mount.mountpoint.is_root()) {
        (None, _) => "/".to_owned(),
        (Some(_), true) => "(on top)".to_owned(),
        (Some(_), false) => mount.mountpoint.to_string(),
    }
}

/// Type, source where that says more, and the part shown.
fn file_system(mount: &Mount, origin: &Origin, path: &RelPath) -> String {
    let fs_type = words::fs_type(origin);
    let mut words = match origin {
        Origin::External(external) if is_named_after(external, path) => {
            format!("{fs_type} external")
        }
        Origin::Own(own) if says_nothing(&own.source, &fs_type) => fs_type,
        Origin::Own(own) => format!("{fs_type} {}", Escaped(&own.source)),
        Origin::External(external) => {
            format!("{fs_type} external {}", words::external_name(external))
        }
    };
    if !mount.root.is_root() {
        let _ = write!(words, "[{}]", mount.root);
    }
    if mount.deleted {
        words.push_str(" deleted");
    }
    words
}

fn says_nothing(source: &[u8], fs_type: &str) -> bool {
    source == fs_type.as_bytes() || matches!(source, b"" | b"none")
}

fn is_named_after(external: &External, path: &RelPath) -> bool {
    words::external_name(external) == Escaped(&path.to_absolute()).to_string()
}

/// Private is the default; an outside group is most often that of the source itself.
fn propagation(mounts: &Mounts, numbers: &GroupNumbers, mount: &Mount) -> String {
    if mount.propagation == Propagation::Private {
        return String::new();
    }
    let all = words::propagation(mounts, numbers, mount.propagation);
    let own = words::outside(mounts, mount.origin);
    let short = match all.strip_suffix(&own) {
        Some(link) => format!("{link}outside"),
        None => all,
    };
    short.replace(") slave of ", ") ← ")
}

fn table(text: &mut String, rows: &[Row], width: usize) {
    let widths: [usize; 4] = std::array::from_fn(|column| column_width(rows, column));
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths).filter(|(_, width)| *width > 0) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        let line = line.trim_end();
        match line.char_indices().nth(width) {
            None => text.push_str(line),
            Some(_) => {
                text.extend(line.chars().take(width - 1));
                text.push('…');
            }
        }
        text.push('\n');
    }
}

/// 0 where no mount has anything in it.
fn column_width(rows: &[Row], column: usize) -> usize {
    let length = |row: &Row| row[column].chars().count();
    match rows[1..].iter().any(|row| !row[column].is_empty()) {
        true => rows.iter().map(length).max().unwrap_or(0),
        false => 0,
    }
}
