//! Large tables. What is bounded is how the time grows, and that it ends.

use anyhow::{Result, ensure};
use crux_tests::blueprint::many;
use crux_tests::{Lab, Setup, Table, differences, patience};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::time::{Duration, Instant};

const AUTO: [&str; 2] = ["--external", "auto"];

/// A dump and a restore with `cat` inside; the probe of every mount would take too long.
fn survives(lab: &Lab, count: usize, limit: Duration) -> Result<()> {
    let root = many::prepare(lab, count)?;
    let container = many::start(lab, &root, count)?;
    let images = lab.path("images");
    let (before, host) = (Table::of(container.pid)?, Table::own()?);
    ensure!(before.0.len() > count, "{} mounts", before.0.len());
    let start = Instant::now();
    let patience = patience(120).as_secs().to_string();
    let options = [&AUTO[..], &["--time-limit", &patience]].concat();
    lab.programs
        .dump(container.pid, &images, &options)?
        .success("crux-dump")?;
    drop(container);
    let options = [&options[..], &["--", "/bin/cat"]].concat();
    let (restored, pid) = lab.programs.restore(&images, &options)?.wait_for_cat()?;
    let took = start.elapsed();
    ensure!(took < limit, "{count} mounts took {took:?}");
    let different = differences(&before, &Table::of(pid)?, &host);
    ensure!(different.is_empty(), "{}", different.join("\n"));
    restored.finish()?.success("crux-restore")?;
    ensure!(Table::own()? == host, "the host's table is not what it was");
    Ok(())
}

#[test]
fn root_a_thousand_mounts_are_restored() {
    Lab::test(Setup::ROOT, |lab| survives(lab, 1_000, patience(20)));
}

/// The hard limit of a service can be low, and only a privilege that is not asked for raises it.
#[test]
fn root_more_mounts_than_descriptors_are_restored() {
    Lab::test(Setup::ROOT, |lab| {
        let limit = Some(200);
        let limits = Rlimit {
            current: limit,
            maximum: limit,
        };
        setrlimit(Resource::Nofile, limits)?;
        survives(lab, 1_000, patience(40))
    });
}

#[test]
fn userns_a_thousand_mounts_are_restored() {
    Lab::test(Setup::USERNS, |lab| survives(lab, 1_000, patience(20)));
}

#[test]
fn root_ten_thousand_mounts_are_restored() {
    Lab::test(Setup::ROOT, |lab| survives(lab, 10_000, patience(100)));
}
