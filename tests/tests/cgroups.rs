//! Tasks come back into their cgroups, which are made again where they have gone.

use anyhow::{Context as _, Result, ensure};
use crux_tests::workload::{ask, dump, images, start, verify};
use crux_tests::{CGROUP_ROOT, Cgroups, Container, Lab, Running, Setup, children, patience};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Of version 1, with and without processors that have to be given to a new cgroup, and of version 2.
const HIERARCHIES: [&str; 4] = ["pids", "cpuset", "systemd", "unified"];

/// The workload's first process is in the cgroup of this lab, its child in one beneath it.
fn start_in_cgroups(lab: &Lab) -> Result<(Container, Cgroups, Vec<PathBuf>)> {
    // Newer kernels are without some of version 1.
    let here = |name: &&str| Path::new(CGROUP_ROOT).join(name).exists();
    let hierarchies: Vec<&str> = HIERARCHIES.into_iter().filter(here).collect();
    let cgroups = Cgroups::new(&lab.name(), &hierarchies)?;
    let mut container = start(lab, "cgroups")?;
    let first = container.pid.as_raw().unsigned_abs();
    let child = *children(first).first().context("no child")?;
    let mut below = Vec::new();
    for path in cgroups.paths() {
        give_processors(path)?;
        let deeper = path.join("deeper");
        fs::create_dir(&deeper)?;
        give_processors(&deeper)?;
        fs::write(path.join("cgroup.procs"), first.to_string())?;
        fs::write(deeper.join("cgroup.procs"), child.to_string())?;
        below.push(deeper);
    }
    ask(&mut container)?;
    Ok((container, cgroups, below))
}

/// KERNEL: nobody can be in a cpuset of version 1 that has none.
fn give_processors(path: &Path) -> Result<()> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let above = path.parent().map(|above| above.join(name));
        if let Some(text) = above.and_then(|above| fs::read_to_string(above).ok())
            && path.join(name).exists()
            && path.starts_with(Path::new(CGROUP_ROOT).join("cpuset"))
        {
            fs::write(path.join(name), text)?;
        }
    }
    Ok(())
}

/// Once nobody is in them.
fn remove(below: &[PathBuf]) {
    for path in below.iter().flat_map(|below| below.ancestors().take(2)) {
        remove_one(path);
    }
}

fn remove_one(path: &Path) {
    let since = Instant::now();
    while fs::remove_dir(path).is_err() && path.exists() {
        assert!(since.elapsed() < patience(5), "{path:?} is still there");
        std::thread::yield_now();
    }
}

/// A container that has been dumped and has ended, and its cgroups with it.
fn dumped(lab: &Lab) -> Result<(Cgroups, Vec<PathBuf>)> {
    let (container, cgroups, below) = start_in_cgroups(lab)?;
    dump(lab, &container, &[])?;
    drop(container);
    remove(&below);
    Ok((cgroups, below))
}

fn restore(lab: &Lab, root: &str, grants: &[&str]) -> Result<Running> {
    let root = format!("--root={}", lab.path(root).display());
    let options = [&[root.as_str()], grants].concat();
    lab.programs.restore_tasks(&images(lab), &options)
}

#[test]
fn root_tasks_come_back_into_their_cgroups_and_these_are_made_again() {
    Lab::test(Setup::ROOT, |lab| {
        let (cgroups, below) = dumped(lab)?;
        let restored = restore(lab, "root", &["--external=auto"])?;
        verify(restored, 2)?;
        let made = below.iter().all(|path| path.exists());
        remove(&below);
        drop(cgroups);
        ensure!(made, "they were not made");
        Ok(())
    });
}

/// The obstacle tells the options that grant them; with these it goes.
#[test]
fn root_cgroups_are_joined_and_made_only_where_that_is_granted() {
    Lab::test(Setup::ROOT, |lab| {
        let (cgroups, below) = dumped(lab)?;
        let sources = restore(lab, "root", &[])?.finish()?;
        ensure!(sources.code() == Some(3), "{}", sources.stderr);
        let mut lines = sources.stderr.lines().map(str::trim);
        let last = lines.rfind(|line| line.starts_with("--"));
        let sources: Vec<&str> = last.unwrap_or_default().split(' ').collect();
        let refused = restore(lab, "root", &sources)?.finish()?;
        ensure!(refused.code() == Some(3), "{}", refused.stderr);
        let left = below.iter().any(|path| path.exists());
        ensure!(!left, "they were made: {}", refused.stderr);
        let words = refused.stderr.split_whitespace();
        let grants: Vec<&str> = words.filter(|it| it.starts_with("--cgroup=")).collect();
        ensure!(!grants.is_empty(), "{}", refused.stderr);
        let restored = restore(lab, "root", &[sources, grants].concat())?;
        verify(restored, 2)?;
        remove(&below);
        drop(cgroups);
        Ok(())
    });
}

#[test]
fn root_cgroups_that_a_failed_restore_has_made_go_again() {
    Lab::test(Setup::ROOT, |lab| {
        let (_cgroups, below) = dumped(lab)?;
        fs::create_dir(lab.path("empty"))?;
        let output = restore(lab, "empty", &["--external=auto"])?.finish()?;
        ensure!(!output.status.success(), "it was restored");
        ensure!(output.code() == Some(6), "{}", output.stderr);
        let left = below.iter().any(|path| path.exists());
        let left = left
            || below
                .iter()
                .any(|path| path.parent().is_some_and(Path::exists));
        ensure!(!left, "cgroups are left: {}", output.stderr);
        Ok(())
    });
}

/// The first process has moved deeper than the root of its cgroup namespace, as systemd does.
#[test]
fn root_the_root_of_a_cgroup_namespace_is_where_it_was() {
    Lab::test(Setup::ROOT, |lab| {
        let cgroups = Cgroups::new(&lab.name(), &["pids", "unified"])?;
        let mut container = start(lab, "cgroup-namespace")?;
        let first = container.pid.as_raw().unsigned_abs();
        for path in cgroups.paths() {
            fs::write(path.join("cgroup.procs"), first.to_string())?;
        }
        // It makes a namespace, and a child.
        ask(&mut container)?;
        let child = *children(first).first().context("no child")?;
        let mut below = Vec::new();
        for path in cgroups.paths() {
            for (name, pid) in [("init", first), ("service", child)] {
                let deeper = path.join(name);
                fs::create_dir(&deeper)?;
                fs::write(deeper.join("cgroup.procs"), pid.to_string())?;
                below.push(deeper);
            }
        }
        ask(&mut container)?;
        dump(lab, &container, &[])?;
        drop(container);
        for path in &below {
            remove_one(path);
        }
        let restored = restore(lab, "root", &["--external=auto"])?;
        let verified = verify(restored, 2);
        for path in &below {
            remove_one(path);
        }
        drop(cgroups);
        verified
    });
}

/// Those of the root of the container's namespace, and of one beneath that nobody is in.
#[test]
fn root_settings_of_cgroups_come_back_with_them() {
    const SET: [(&str, &str, &str, &str); 3] = [
        ("pids", "", "pids.max", "77\n"),
        ("pids", "service", "pids.max", "7\n"),
        ("unified", "", "cgroup.max.depth", "9\n"),
    ];
    Lab::test(Setup::ROOT, |lab| {
        let cgroups = Cgroups::new(&lab.name(), &["pids", "unified"])?;
        let tops: Vec<PathBuf> = cgroups.paths().map(Path::to_path_buf).collect();
        let place = |hierarchy: &str, below: &str| {
            let mut tops = tops.iter();
            let top = tops.find(|it| it.parent().is_some_and(|it| it.ends_with(hierarchy)));
            top.map(|it| it.join(below)).context("no such hierarchy")
        };
        fs::create_dir(place("pids", "service")?)?;
        for (hierarchy, below, file, value) in SET {
            fs::write(place(hierarchy, below)?.join(file), value)?;
        }
        let mut container = start(lab, "cgroup-namespace")?;
        let first = container.pid.as_raw().unsigned_abs();
        for top in &tops {
            fs::write(top.join("cgroup.procs"), first.to_string())?;
        }
        // It makes a namespace, and a child.
        ask(&mut container)?;
        dump(lab, &container, &[])?;
        drop(container);
        remove_one(&place("pids", "service")?);
        tops.iter().for_each(|top| remove_one(top));
        let mut restored = restore(lab, "root", &["--external=auto"])?;
        let start = Instant::now();
        let found = loop {
            if restored.ended()?.is_some() {
                restored.finish()?.success("crux-restore")?;
                anyhow::bail!("it did not wait");
            }
            let read = |(hierarchy, below, file, _): (&str, &str, &str, &str)| -> Option<String> {
                fs::read_to_string(place(hierarchy, below).ok()?.join(file)).ok()
            };
            let found = SET.map(read);
            if found
                .iter()
                .zip(SET)
                .all(|(found, set)| found.as_deref() == Some(set.3))
                || start.elapsed() > patience(5)
            {
                break found;
            }
        };
        verify(restored, 1)?;
        for (found, set) in found.iter().zip(SET) {
            assert_eq!(found.as_deref(), Some(set.3), "{set:?}");
        }
        Ok(())
    });
}
