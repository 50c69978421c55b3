//! Tables that nobody thought of: random mount operations, dumped and restored.

use anyhow::{Result, ensure};
use crux_tests::random::{Operation, operations, prepare, run};
use crux_tests::{Container, Lab, Setup, Site, Spec, Table, differences, reach};
use nix::sched::CloneFlags;
use std::ops::Range;

const AUTO: [&str; 2] = ["--external", "auto"];
/// Each seed makes a container; more of them find more.
const SEEDS: u64 = 24;

/// The seeds: so many as `CRUX_RANDOM_SEEDS` says (`200`, or `100..200`), if it is set.
fn seeds() -> Range<u64> {
    let Ok(wanted) = std::env::var("CRUX_RANDOM_SEEDS") else {
        return 0..SEEDS;
    };
    let (first, end) = wanted.split_once("..").unwrap_or(("0", &wanted));
    first.parse().unwrap()..end.parse().unwrap()
}

fn container(lab: &Lab, operations: &[Operation]) -> Result<Container> {
    let mut spec = Spec::new(lab.root("random")?);
    spec.namespaces = CloneFlags::empty();
    prepare(&spec.root)?;
    let build = |site: &Site<'_>| {
        run(&site.at("/"), operations);
        Ok(())
    };
    Container::start(lab, &spec, build, || Ok(()))
}

fn listed(operations: &[Operation]) -> String {
    let lines: Vec<String> = operations.iter().map(Operation::to_string).collect();
    lines.join("\n")
}

/// Dumps, ends, restores and compares: first the tables, then what propagation does.
fn survives(lab: &Lab, operations: &[Operation]) -> Result<()> {
    let images = lab.path("images");
    let container = container(lab, operations)?;
    let pid = container.pid.as_raw().unsigned_abs();
    let (before, reached, host) = (Table::of(pid)?, reach(pid)?, Table::own()?);
    lab.programs
        .dump(pid, &images, &AUTO)?
        .success("crux-dump")?;
    drop(container);
    let options = [&AUTO[..], &["--", "/bin/cat"]].concat();
    let (restored, pid) = lab.programs.restore(&images, &options)?.wait_for_cat()?;
    let different = differences(&before, &Table::of(pid)?, &host);
    ensure!(
        different.is_empty(),
        "{}\nof\n{before}",
        different.join("\n")
    );
    ensure!(
        reach(pid)? == reached,
        "mounts appear elsewhere than before, of\n{before}"
    );
    restored.finish()?.success("crux-restore")?;
    ensure!(Table::own()? == host, "the host's table is not what it was");
    Ok(())
}

fn every_seed_survives(setup: Setup) {
    let mut failures = Vec::new();
    for seed in seeds() {
        let operations = operations(seed, 40);
        let outcome = Lab::run(setup, |lab| survives(lab, &operations).map(|()| Vec::new()));
        if let Err(error) = outcome {
            let listed = listed(&operations);
            failures.push(format!("seed {seed}: {error:#}\nafter\n{listed}"));
        }
    }
    let count = failures.len();
    assert!(
        failures.is_empty(),
        "{count} failed\n{}",
        failures.join("\n\n")
    );
}

#[test]
fn root_random_tables_are_restored() {
    every_seed_survives(Setup::ROOT);
}

#[test]
fn userns_random_tables_are_restored() {
    every_seed_survives(Setup::USERNS);
}

/// So that the two above say something: the tables are large and varied.
#[test]
fn userns_random_tables_are_worth_restoring() {
    let mut mounts = 0;
    for seed in 0..SEEDS {
        let operations = operations(seed, 40);
        let answer = Lab::run(Setup::USERNS, |lab| {
            let table = Table::of(container(lab, &operations)?.pid)?;
            Ok(table.to_string().into_bytes())
        });
        let table = Table::parse(&answer.unwrap()).unwrap();
        mounts += table.0.len();
    }
    assert!(
        mounts > 8 * usize::try_from(SEEDS).unwrap(),
        "{mounts} mounts in all"
    );
}
