//! Filters of system calls that stand in the way of a dump: named, and nothing is done.

use anyhow::{Result, ensure};
use crux_tests::workload::{ask, dump, images, start};
use crux_tests::{Lab, Setup};

/// The dump says why not, and the workload does not notice.
fn is_refused(scenario: &str, words: &str) {
    Lab::test(Setup::ROOT, |lab| {
        let mut container = start(lab, scenario)?;
        ask(&mut container)?;
        let refused = dump(lab, &container, &[]);
        let said = refused.err().map(|error| format!("{error:#}"));
        said_so(said, words)?;
        ensure!(!images(lab).exists(), "there is an image");
        ask(&mut container)
    });
}

fn said_so(said: Option<String>, words: &str) -> Result<()> {
    let said = said.unwrap_or_default();
    ensure!(said.contains(words), "{said:?} has not {words:?}");
    Ok(())
}

#[test]
fn root_a_filter_that_asks_a_listener_is_refused() {
    is_refused(
        "seccomp-listener",
        "asks another process (SECCOMP_RET_USER_NOTIF)",
    );
}

#[test]
fn root_who_may_not_be_asked_is_refused() {
    is_refused(
        "seccomp-silent",
        "its seccomp filter does not allow sigaltstack, which it has to be asked",
    );
}

#[test]
fn root_strict_mode_is_refused() {
    is_refused("seccomp-strict", "seccomp's strict mode");
}
