//! What came out on a kernel.
//!
//! Kind: pure, but for printing. A test without a result has not passed.

use super::events::Verdict;
use super::suite::Suite;
use std::fmt;
use std::time::Duration;

/// More tests than these that passed only when they were run again are no success.
const LATER: usize = 3;

/// Why the results are not complete, or not to be relied on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nothing happened for so long.
    Silent(Duration),
    /// The machine ended too early, and the kernel did not say why: QEMU failed.
    Gone,
    /// All tests have ended, but after so long the machine has not.
    Up(Duration),
    /// The kernel panicked or oopsed, in this line of its console.
    Kernel(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(time) => write!(f, "nothing happened for {} s", time.as_secs()),
            Self::Gone => f.write_str("the machine ended before its tests"),
            Self::Up(time) => write!(
                f,
                "the machine was still up {} s after its tests, and was stopped",
                time.as_secs()
            ),
            Self::Kernel(line) => write!(f, "the kernel failed: {line}"),
        }
    }
}

/// What is known of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Ended(Verdict),
}

/// The results on one kernel.
#[derive(Debug)]
pub(super) struct Report {
    kernel: String,
    states: Vec<State>,
    absent: usize,
    /// Until the machine was up.
    pub(super) boot: Duration,
    /// From start to end of the machine.
    pub(super) whole: Duration,
    /// What went wrong with the machine, and the end of its console.
    pub(super) trouble: Option<(Trouble, String)>,
}

impl Report {
    pub(super) fn new(kernel: &str, suite: &Suite) -> Self {
        Self {
            kernel: kernel.to_owned(),
            states: vec![State::Waiting; suite.tests.len()],
            absent: suite.absent.len(),
            boot: Duration::ZERO,
            whole: Duration::ZERO,
            trouble: None,
        }
    }

    pub(super) fn started(&mut self, test: usize) {
        self.set(test, State::Running);
    }

    pub(super) fn ended(&mut self, test: usize, verdict: Verdict) {
        self.set(test, State::Ended(verdict));
    }

    fn set(&mut self, test: usize, state: State) {
        if let Some(at) = self.states.get_mut(test) {
            *at = state;
        }
    }

    pub(super) fn passed(&self) -> bool {
        let later = self.count(State::Ended(Verdict::Later));
        let passed = self.count(State::Ended(Verdict::Passed)) + later;
        self.trouble.is_none() && passed == self.states.len() && later <= LATER
    }

    fn count(&self, state: State) -> usize {
        self.states.iter().filter(|&&found| found == state).count()
    }

    /// Every test that did not pass, and the console's end if that is of interest.
    pub(super) fn print(&self, suite: &Suite) {
        println!();
        for (test, state) in suite.tests.iter().zip(&self.states) {
            match state {
                State::Ended(Verdict::Passed) => {}
                State::Ended(Verdict::Later) => println!("  AT THE SECOND TRY  {test}"),
                State::Ended(Verdict::Failed) => println!("  failed     {test}"),
                State::Ended(Verdict::TimedOut) => println!("  timed out  {test}"),
                State::Running => println!("  UNFINISHED {test}"),
                State::Waiting => println!("  NO RESULT  {test}"),
            }
        }
        for (test, why) in &suite.absent {
            println!("  NOT RUN    {test}: it lacks {why}");
        }
        if let Some((trouble, console)) = &self.trouble {
            println!("  {trouble}; the console's last lines:\n{console}\n");
        }
        println!("{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passed = self.count(State::Ended(Verdict::Passed));
        let missing = self.count(State::Waiting) + self.count(State::Running);
        let later = self.count(State::Ended(Verdict::Later));
        let failed = self.states.len() - passed - missing - later;
        write!(
            f,
            "kernel {}: {passed} passed, {failed} failed",
            self.kernel
        )?;
        if later > 0 {
            write!(f, ", {later} AT THE SECOND TRY ({LATER} at most)")?;
        }
        if missing > 0 {
            write!(f, ", {missing} WITHOUT RESULT")?;
        }
        if self.absent > 0 {
            write!(f, ", {} NOT RUN", self.absent)?;
        }
        if let Some((trouble, _)) = &self.trouble {
            write!(f, " ({trouble})")?;
        }
        let (boot, whole) = (self.boot.as_secs_f64(), self.whole.as_secs_f64());
        write!(f, "; {whole:.0} s, {boot:.0} s of them to come up")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_result_is_no_success() {
        let mut report = Report::new("6.1", &Suite::of(2));
        report.ended(0, Verdict::Passed);
        report.started(1);
        assert!(!report.passed());
        assert!(report.to_string().contains("1 passed, 0 failed, 1 WITHOUT"));
        report.ended(1, Verdict::Passed);
        assert!(report.passed());
    }

    #[test]
    fn few_may_need_a_second_try() {
        let mut report = Report::new("6.1", &Suite::of(LATER + 1));
        for test in 0..LATER {
            report.ended(test, Verdict::Later);
        }
        report.ended(LATER, Verdict::Passed);
        assert!(report.passed());
        assert!(
            report
                .to_string()
                .contains("1 passed, 0 failed, 3 AT THE SECOND TRY")
        );
        report.ended(LATER, Verdict::Later);
        assert!(!report.passed());
    }

    #[test]
    fn trouble_after_the_last_test_is_no_success() {
        let mut report = Report::new("6.1", &Suite::of(1));
        report.ended(0, Verdict::Passed);
        assert!(report.passed());
        let cases = [
            (Trouble::Gone, "(the machine ended before its tests)"),
            (Trouble::Up(Duration::from_secs(7)), "still up 7 s after"),
            (
                Trouble::Kernel("Oops: 0".into()),
                "the kernel failed: Oops: 0",
            ),
        ];
        for (trouble, told) in cases {
            report.trouble = Some((trouble, String::new()));
            assert!(!report.passed());
            assert!(report.to_string().contains(told), "{report}");
        }
    }

    #[test]
    fn numbers_of_no_test_are_ignored() {
        let mut report = Report::new("6.1", &Suite::of(1));
        report.ended(7, Verdict::Passed);
        assert!(!report.passed());
    }
}
