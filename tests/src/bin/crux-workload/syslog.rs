//! A program of busybox that others log to: its socket is where its standard input would be.
//!
//! Kind: effect.

use super::Verify;
use std::process::{Command, Stdio};

const LOG: &str = "/tmp/messages";

fn busybox(words: &[&str]) -> Command {
    let mut command = Command::new("/bin/busybox");
    let nothing = || Stdio::null();
    command.args(words).stdin(nothing());
    command.stdout(nothing()).stderr(nothing());
    command
}

/// What is logged arrives.
pub(crate) fn daemon() -> Verify {
    let mut daemon = busybox(&["syslogd", "-n", "-O", LOG])
        .spawn()
        .expect("syslogd");
    while !std::path::Path::new("/dev/log").exists() {
        std::thread::yield_now();
    }
    let mut round = 0;
    Box::new(move || {
        if let Ok(Some(status)) = daemon.try_wait() {
            return vec![format!("syslogd: {status}")];
        }
        round += 1;
        let words = format!("round {round}");
        let logged = busybox(&["logger", &words]).status();
        if !logged.as_ref().is_ok_and(|status| status.success()) {
            return vec![format!("logger: {logged:?}")];
        }
        // A daemon that does not listen never writes it.
        let since = std::time::Instant::now();
        while since.elapsed().as_secs() < 20 {
            if std::fs::read_to_string(LOG).is_ok_and(|text| text.contains(&words)) {
                return Vec::new();
            }
            std::thread::yield_now();
        }
        vec![format!("{words:?} was not logged")]
    })
}
