//! docs/privileges.md, to hold live processes against.
//!
//! Kind: pure.

use crate::tracing::Sight;
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeSet;

const DOCUMENT: &str = include_str!("../../docs/privileges.md");

/// What it says of one executable.
#[derive(Debug, Clone, Copy)]
pub struct Document(&'static str);

type Row = Vec<String>;

impl Document {
    /// The section of an executable.
    ///
    /// # Panics
    /// If there is none.
    pub fn of(program: &str) -> Self {
        let heading = format!("\n## {program}\n");
        let begin = DOCUMENT.find(&heading).expect("the section of a program") + heading.len();
        let section = &DOCUMENT[begin..];
        Self(section.find("\n## ").map_or(section, |end| &section[..end]))
    }

    /// The rows of the first table whose first column has this heading.
    fn table(self, heading: &str) -> Vec<Row> {
        let cells = |line: &str| -> Row {
            let cells = line.trim_matches('|').split('|');
            cells.map(|cell| cell.trim().to_owned()).collect()
        };
        let head = format!("| {heading} |");
        let lines = self.0.lines().skip_while(|line| !line.starts_with(&head));
        let rows = lines.skip(2).take_while(|line| line.starts_with('|'));
        rows.map(cells).collect()
    }

    /// The capabilities that it gives to a role.
    ///
    /// # Panics
    /// If it has no table of them.
    pub fn capabilities(self, role: &str) -> BTreeSet<String> {
        let rows = self.table("capability");
        assert!(!rows.is_empty());
        let of_role = rows.into_iter().filter(|row| row[1] == role);
        of_role.map(|row| format!("CAP_{}", row[0])).collect()
    }

    /// Whether a live process is as the row of its role says, with these capabilities, a bit each. `whole` is the
    /// caller's bounding set, which is left to a role without a filter.
    pub fn check(self, role: &str, sight: &Sight, kept: u64, whole: u64) -> Result<()> {
        let rows = [self.table("role"), self.table("with tasks")].concat();
        let row = rows.into_iter().find(|row| row[0] == role);
        let row = row.with_context(|| format!("no row {role}"))?;
        let filtered = row[2] == "filter";
        // The bounding set of a role that executes nothing goes as well.
        let dropped = filtered || row[2].contains("bounding set dropped");
        for (set, wanted) in [
            ("CapEff", kept),
            ("CapPrm", kept),
            ("CapInh", 0),
            ("CapAmb", 0),
            ("CapBnd", if dropped { kept } else { whole }),
        ] {
            let found = sight.capabilities(set)?;
            ensure!(
                found == wanted,
                "{set} of {role}: {found:x}, not {wanted:x}"
            );
        }
        let filter = if filtered { "2" } else { "0" };
        ensure!(sight.line("Seccomp") == filter, "Seccomp of {role}");
        let privileges = if row[3] == "yes" { "1" } else { "0" };
        ensure!(
            sight.line("NoNewPrivs") == privileges,
            "NoNewPrivs of {role}"
        );
        Ok(())
    }
}
