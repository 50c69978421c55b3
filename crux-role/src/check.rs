//! `--check`: what this process and this kernel have for the work of an executable.
//!
//! Kind: effect ([`Report::now`]); the report is data that is printed as text or as JSON.

use crate::capabilities::Held;
use crate::grounds::Grounds;
use crate::need::{Need, Without, lacking};
use crux_mount::survey::{self, State, survey};
use serde::Serialize;
use std::fmt;

/// What there is, and what not.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether everything is there that any work needs.
    pub complete: bool,
    /// In the order in which an executable lists them.
    pub capabilities: Vec<CapabilityRow>,
    /// How to grant what is missing.
    pub grant: Option<String>,
    /// The rows of docs/kernel-features.md.
    pub features: Vec<FeatureRow>,
}

/// A capability.
#[derive(Debug, Serialize)]
pub struct CapabilityRow {
    /// As in capabilities(7).
    pub name: String,
    /// Whether this process holds it.
    pub held: bool,
    /// Whether there is work that is not done without it.
    pub needed: bool,
    /// What it is for.
    pub purpose: &'static str,
}

/// A feature of the kernel.
#[derive(Debug, Serialize)]
pub struct FeatureRow {
    /// What it is called.
    pub name: &'static str,
    /// The release of Linux that brought it.
    pub since: &'static str,
    /// "present", "absent", or "unknown" where it cannot be tried without CAP_SYS_ADMIN.
    pub state: &'static str,
    /// Whether nothing works without it.
    pub needed: bool,
    /// What it is for.
    pub used_for: &'static str,
    /// What happens without it.
    pub without: &'static str,
}

impl Report {
    /// Tries everything, and leaves nothing of that.
    pub fn now(needs: &[Need]) -> Self {
        let held = Held::now();
        let capabilities = needs.iter().map(|need| CapabilityRow {
            name: need.capability.to_string(),
            held: held.has(need.capability),
            needed: need.without == Without::Nothing,
            purpose: need.purpose,
        });
        let features = survey().into_iter().map(|(row, state)| FeatureRow {
            name: row.name,
            since: row.since,
            state: word(state),
            needed: row.need == survey::Need::Required,
            used_for: row.used_for,
            without: row.without,
        });
        let missing = lacking(needs.iter().copied());
        let mut report = Self {
            complete: false,
            capabilities: capabilities.collect(),
            grant: (!missing.is_empty()).then(|| Grounds::now().advice(&missing, needs)),
            features: features.collect(),
        };
        let held = report.capabilities.iter().all(|it| it.held || !it.needed);
        let there = |it: &FeatureRow| it.state == word(State::Present) || !it.needed;
        report.complete = held && report.features.iter().all(there);
        report
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Present => "present",
        State::Absent => "absent",
        State::Unknown => "unknown",
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Capabilities of this process:")?;
        for row in &self.capabilities {
            let state = match (row.held, row.needed) {
                (true, _) => "held",
                (false, true) => "MISSING",
                (false, false) => "missing",
            };
            writeln!(f, "  {state:<8} {:<20} to {}", row.name, row.purpose)?;
        }
        if let Some(grant) = &self.grant {
            writeln!(f, "  To grant what is missing: {grant}.")?;
        }
        writeln!(f, "Features of this kernel:")?;
        for row in &self.features {
            let state = match (row.state, row.needed) {
                ("absent", true) => "ABSENT",
                (state, _) => state,
            };
            writeln!(
                f,
                "  {state:<8} {} (Linux {}): {}",
                row.name, row.since, row.used_for
            )?;
            if row.state != word(State::Present) && !row.without.is_empty() {
                writeln!(f, "           without it: {}", row.without)?;
            }
        }
        let all = match self.complete {
            true => "All that is needed is there.",
            false => "Not all that may be needed is there.",
        };
        writeln!(f, "{all}")
    }
}
