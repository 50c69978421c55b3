//! docs/scripts.md says of the lists what the table says.
//!
//! Kind: tests.

use super::{Kind, Purpose, list};
use std::collections::BTreeMap;

const PAGE: &str = include_str!("../../../docs/scripts.md");

/// The calls of a list, and with which options, as Markdown.
fn documented(purpose: Purpose) -> String {
    let mut calls: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for form in list(purpose) {
        let options = calls.entry(form.name).or_default();
        let names = form.arguments.iter().filter_map(|(_, kind)| match kind {
            Kind::Is(name, _) if name.starts_with(|c: char| c.is_ascii_uppercase()) => Some(*name),
            _ => None,
        });
        options.extend(names);
    }
    let (plain, optional): (Vec<_>, Vec<_>) = calls.into_iter().partition(|(_, it)| it.is_empty());
    let plain: Vec<_> = plain.iter().map(|(name, _)| format!("`{name}`")).collect();
    let mut text = plain.join(", ") + ".\n\n";
    for (name, mut options) in optional {
        options.dedup();
        text += &format!("- `{name}`: {}\n", options.join(", "));
    }
    text
}

#[test]
fn the_documented_lists_are_the_table() {
    for purpose in [Purpose::Dump, Purpose::Restore] {
        let text = documented(purpose);
        assert!(
            PAGE.contains(&text),
            "docs/scripts.md is to say of {purpose:?}:\n{text}"
        );
    }
}
