//! The mount tree as aligned text.
//!
//! Kind: pure.

use super::order::{GroupNumbers, Placed, display_order, name_of};
use super::words;
use crate::mounts::{Mounts, Namespace, Origin};
use std::fmt::Write;

const COLUMNS: [&str; 6] = [
    "MOUNT",
    "TYPE",
    "SOURCE [PART]",
    "ATTRIBUTES",
    "PROPAGATION",
    "FILE SYSTEM OPTIONS",
];
/// A cell that is longer does not widen its column; it pushes the rest of its row.
const WIDEST: [usize; 6] = [64, 14, 48, 44, 56, 0];
/// Longer names are cut in the middle.
const NAME_LIMIT: usize = 240;
/// Deeper mounts are not indented further.
const DEPTH_LIMIT: usize = 40;

type Row = [String; 6];

/// Every namespace with its mounts: one line each, parents above children.
pub fn tree(mounts: &Mounts) -> String {
    let numbers = GroupNumbers::new(mounts);
    let mut text = String::new();
    for (at, namespace) in mounts.namespaces.iter().enumerate() {
        if at > 0 {
            text.push('\n');
        }
        heading(&mut text, mounts, at, namespace);
        table(&mut text, &rows(mounts, &numbers, namespace));
    }
    text
}

fn heading(text: &mut String, mounts: &Mounts, at: usize, namespace: &Namespace) {
    let mut words = words::count(namespace.mounts.len(), "mount");
    if let Some(owner) = namespace.owner {
        let _ = write!(words, ", owned by user namespace {}", owner.0);
    }
    if namespace.root.at() != 0 {
        let _ = write!(
            words,
            ", root of its tasks: {}",
            name_of(namespace, namespace.root)
        );
    }
    if mounts.namespaces.len() == 1 {
        let _ = writeln!(text, "Mount namespace: {words}");
    } else {
        let _ = writeln!(text, "Mount namespace {at}: {words}");
    }
}

fn rows(mounts: &Mounts, numbers: &GroupNumbers, namespace: &Namespace) -> Vec<Row> {
    let mut rows = vec![COLUMNS.map(str::to_owned)];
    // Whether the ancestor at each depth has a sibling below it.
    let mut more_below: Vec<bool> = Vec::new();
    for placed in display_order(namespace) {
        let mount = &namespace.mounts[placed.mount.at()];
        let origin = &mounts.origins[mount.origin.at()];
        let options = match origin {
            Origin::Own(own) => words::superblock_options(own.flags, &own.options),
            Origin::External(_) => String::new(),
        };
        more_below.truncate(placed.depth);
        let branch = branch(&placed, &more_below);
        more_below.push(!placed.last);
        rows.push([
            branch + &cut(&name_of(namespace, placed.mount)),
            words::fs_type(origin),
            cut(&words::source(mount, origin)),
            words::attributes(&mount.attributes),
            cut(&words::propagation(mounts, numbers, mount.propagation)),
            cut(&options),
        ]);
    }
    rows
}

/// The lines that lead to a mount.
fn branch(placed: &Placed, more_below: &[bool]) -> String {
    if placed.depth == 0 {
        return String::new();
    }
    if placed.depth > DEPTH_LIMIT {
        return format!("{}… depth {}: ", "  ".repeat(DEPTH_LIMIT), placed.depth);
    }
    let mut lines: String = more_below[1..]
        .iter()
        .map(|more| if *more { "│ " } else { "  " })
        .collect();
    lines.push_str(if placed.last { "└─" } else { "├─" });
    lines
}

/// Cuts the middle out of what no line has room for.
pub(super) fn cut(words: &str) -> String {
    let length = words.chars().count();
    if length <= NAME_LIMIT {
        return words.to_owned();
    }
    let head: String = words.chars().take(NAME_LIMIT / 2).collect();
    let tail: String = words.chars().skip(length - NAME_LIMIT / 2).collect();
    format!("{head}…{tail}")
}

fn table(text: &mut String, rows: &[Row]) {
    let width = |column: usize| {
        let lengths = rows.iter().map(|row| row[column].chars().count());
        lengths
            .filter(|length| *length <= WIDEST[column])
            .max()
            .unwrap_or(0)
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}
