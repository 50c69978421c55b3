//! Measurements and what they are held against.
//!
//! Kind: pure.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One line of a report.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Row {
    /// What was measured.
    pub(super) name: String,
    /// What crux took.
    pub(super) crux: f64,
    /// What the same costs without it.
    pub(super) bare: Option<f64>,
    /// `s`, or `MiB`.
    pub(super) unit: String,
    /// What it may take.
    pub(super) target: Target,
}

/// The most that something may take.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum Target {
    /// So many times the bare cost, and so many seconds.
    Times(f64, f64),
    /// So much.
    Most(f64),
    /// Nothing is required.
    None,
}

impl Row {
    /// A time and what it is compared with.
    pub(super) fn seconds(name: String, crux: f64, bare: f64, target: Target) -> Self {
        Self {
            name,
            crux,
            bare: Some(bare),
            unit: "s".into(),
            target,
        }
    }

    /// A time that is compared with nothing.
    pub(super) fn alone(name: String, crux: f64, target: Target) -> Self {
        Self {
            name,
            crux,
            bare: None,
            unit: "s".into(),
            target,
        }
    }

    /// A size, with a limit.
    pub(super) fn mebibytes(name: String, crux: f64, target: Target) -> Self {
        Self {
            name,
            crux,
            bare: None,
            unit: "MiB".into(),
            target,
        }
    }

    /// Whether the target is met, where there is one.
    pub(super) fn verdict(&self) -> Option<bool> {
        match (self.target, self.bare) {
            (Target::Times(times, plus), Some(bare)) => Some(self.crux <= bare * times + plus),
            (Target::Most(most), _) => Some(self.crux <= most),
            _ => None,
        }
    }

    fn amount(&self, value: f64) -> String {
        match self.unit.as_str() {
            "s" => format!("{:.2} ms", value * 1000.0),
            unit => format!("{value:.1} {unit}"),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bare = self.bare.map(|bare| self.amount(bare)).unwrap_or_default();
        let ratio = self
            .bare
            .map(|bare| format!("{:.2}", self.crux / bare))
            .unwrap_or_default();
        let crux = self.amount(self.crux);
        write!(f, "{:<34} {crux:>12} {bare:>12} {ratio:>8}  ", self.name)?;
        match self.target {
            Target::Times(times, 0.0) => write!(f, "at most {times} times")?,
            Target::Times(times, plus) => {
                write!(f, "at most {times} times + {:.0} ms", plus * 1000.0)?;
            }
            Target::Most(most) => write!(f, "at most {}", self.amount(most))?,
            Target::None => {}
        }
        match self.verdict() {
            Some(true) => write!(f, ": met"),
            Some(false) => write!(f, ": MISSED"),
            None => Ok(()),
        }
    }
}

/// From a thousand to ten thousand of something.
const GROWTH: f64 = 12.0;

/// How the time of `what` has grown from one row to another; none if either is missing.
pub(super) fn growth(rows: &[Row], what: &str, small: &str, large: &str) -> Option<Row> {
    let find = |name: &str| rows.iter().find(|row| row.name == name);
    let (small, large) = (find(small)?, find(large)?);
    let target = Target::Times(GROWTH, 0.0);
    let name = format!("{what}: 10,000 against 1,000");
    Some(Row::seconds(name, large.crux, small.crux, target))
}

/// Measures two things in turn, so that whatever else the machine does meanwhile
/// befalls both: the medians of both, after one run of each that does not count.
pub(super) fn in_turn(
    runs: u32,
    mut crux: impl FnMut() -> Result<f64>,
    mut bare: impl FnMut() -> Result<f64>,
) -> Result<(f64, f64)> {
    bare()?;
    crux()?;
    let pairs = (0..runs).map(|_| Ok((crux()?, bare()?)));
    let (crux, bare) = pairs.collect::<Result<(Vec<_>, Vec<_>)>>()?;
    Ok((median(crux), median(bare)))
}

/// The middle one.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_is_met_up_to_its_limit() {
        let row = |crux| Row::seconds("x".into(), crux, 1.0, Target::Times(3.0, 0.5));
        assert_eq!(row(3.5).verdict(), Some(true));
        assert_eq!(row(3.6).verdict(), Some(false));
    }

    #[test]
    fn median_is_the_middle_of_the_sorted_values() {
        assert_eq!(median(vec![5.0, 1.0, 3.0]), 3.0);
    }

    #[test]
    fn both_run_in_turn_and_the_first_of_each_does_not_count() {
        let order = std::cell::RefCell::new(String::new());
        let run = |name| {
            order.borrow_mut().push(name);
            Ok(order.borrow().len() as f64)
        };
        let medians = in_turn(3, || run('c'), || run('b')).unwrap();
        assert_eq!((order.borrow().as_str(), medians), ("bccbcbcb", (5.0, 6.0)));
    }
}
