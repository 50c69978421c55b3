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

pub(super) fn heading(text: &mut String, mounts: &Mounts, at: usize, namespace: &Namespace) {
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
    let order = display_order(namespace);
    for (placed, branch) in order.iter().zip(branches(&order)) {
        let mount = &namespace.mounts[placed.mount.at()];
        let origin = &mounts.origins[mount.origin.at()];
        let options = match origin {
            Origin::Own(own) => words::superblock_options(own.flags, &own.options),
            Origin::External(_) => String::new(),
        };
        rows.push([
            branch + &cut(&name_of(namespace, placed.mount)),
            words::fs_type(origin),
            cut(&words::source(mount, origin)),
            words::attributes_and_lock(mount),
            cut(&words::propagation(mounts, numbers, mount.propagation)),
            cut(&options),
        ]);
    }
    rows
}

/// The lines that lead to each mount.
pub(super) fn branches(order: &[Placed]) -> impl Iterator<Item = String> {
    // Whether the ancestor at each depth has a sibling below it.
    let mut more_below: Vec<bool> = Vec::new();
    order.iter().map(move |placed| {
        more_below.truncate(placed.depth);
        let lines = branch(placed, &more_below);
        more_below.push(!placed.last);
        lines
    })
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
    cut_to(words, NAME_LIMIT)
}

/// Cuts the middle out of what is longer than `limit` characters.
pub(super) fn cut_to(words: &str, limit: usize) -> String {
    let length = words.chars().count();
    if length <= limit {
        return words.to_owned();
    }
    let head: String = words.chars().take(limit / 2).collect();
    let tail: String = words.chars().skip(length + 1 - limit.div_ceil(2)).collect();
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
