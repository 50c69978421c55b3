//! `cargo xtask demo`: the container of the request, dumped and restored.
//!
//! Kind: shell. Everything happens in a lab: the machine's own mounts are not touched.

use crate::cargo::{Profile, build};
use crate::packages::{DEMO, ensure_installed};
use anyhow::{Context as _, Result, bail, ensure};
use crux_tests::blueprint::vivid;
use crux_tests::{Container, Lab, Programs, Running, Setup, Table, differences, mounting, reach};
use std::io::{IsTerminal as _, stdout};
use std::path::Path;
use std::time::Instant;

const AUTO: [&str; 2] = ["--external", "auto"];

pub(crate) fn run() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("the demo makes a container, which needs root: `sudo -E cargo xtask demo`");
    }
    ensure_installed(DEMO)?;
    let programs = Programs::beneath(&build(Profile::Debug)?)?;
    Lab::with_programs(Setup::ROOT, programs, |lab| show(lab).map(|()| Vec::new()))?;
    Ok(())
}

fn show(lab: &Lab) -> Result<()> {
    let host = Table::own()?;
    say(
        "A container like that of LXC 1.1 on Ubuntu Vivid: 21 mounts, five of them slaves of the host's.",
    );
    let container = vivid::start(lab)?;
    let pid = container.pid.as_raw().unsigned_abs();
    let before = Table::of(pid)?;
    let reached = reach(pid)?;
    let with_masters = Table::own()?;
    let tree = dump(lab, pid)?;
    print!("{}", shown(lab, &lab.path("images"))?);
    end(container);
    let (restored, pid) = restore(lab)?;
    compare(lab, pid, &before, &with_masters, &tree)?;
    ensure!(
        reach(pid)? == reached,
        "new mounts appear elsewhere than before"
    );
    say("New mounts, tried in every mount, appear in the same places as before.");
    mount_on_host(pid)?;
    restored.finish()?.success("crux-restore")?;
    ensure!(
        Table::own()? == with_masters,
        "something is left on the host"
    );
    ensure!(
        host.0.len() < with_masters.0.len(),
        "the host has no masters"
    );
    say("The container is gone, and the host's mount table is what it was.");
    Ok(())
}

fn dump(lab: &Lab, pid: u32) -> Result<String> {
    let images = lab.path("images");
    let start = Instant::now();
    lab.programs
        .dump(pid, &images, &AUTO)?
        .success("crux-dump")?;
    say(&format!(
        "crux-dump --pid {pid} --images images --mounts-only --external auto   ({})",
        milliseconds(start)
    ));
    tree(lab, &images)
}

/// What `crux-image tree` shows in a terminal of this width.
fn shown(lab: &Lab, images: &Path) -> Result<String> {
    let arguments = ["tree".as_ref(), "--width=100".as_ref(), images.as_os_str()];
    let output = Running::start(&lab.programs.image, arguments)?.finish()?;
    let output = output.success("crux-image tree")?;
    String::from_utf8(output.stdout).context("crux-image tree prints text")
}

/// The tree with everything in it, to compare.
fn tree(lab: &Lab, images: &Path) -> Result<String> {
    let output = lab
        .programs
        .image("tree", &[images])?
        .success("crux-image tree")?;
    String::from_utf8(output.stdout).context("crux-image tree prints text")
}

fn end(container: Container) {
    let pid = container.pid;
    drop(container);
    say(&format!(
        "The container's process {pid} is killed; its mounts are gone with it."
    ));
}

fn restore(lab: &Lab) -> Result<(Running, u32)> {
    let options = ["--external", "auto", "--", "/bin/cat"];
    let start = Instant::now();
    let restored = lab
        .programs
        .restore(&lab.path("images"), &options)?
        .wait_for_cat()?;
    say(&format!(
        "crux-restore --images images --mounts-only --external auto -- /bin/cat   ({})",
        milliseconds(start)
    ));
    Ok(restored)
}

/// Dumps the restored container as well: its tree has to be the same text.
fn compare(lab: &Lab, pid: u32, before: &Table, host: &Table, tree_before: &str) -> Result<()> {
    let again = lab.path("images-again");
    lab.programs
        .dump(pid, &again, &AUTO)?
        .success("crux-dump of the restored container")?;
    let tree_after = tree(lab, &again)?;
    print!("{}", shown(lab, &again)?);
    let different = differences(before, &Table::of(pid)?, host);
    ensure!(
        different.is_empty(),
        "the table is different:\n{}",
        different.join("\n")
    );
    ensure!(tree_before == tree_after, "the trees differ");
    let count = before.0.len();
    say(&format!(
        "The same: all {count} mounts, up to ids, by a comparison that shares no code with crux."
    ));
    Ok(())
}

/// The host mounts something in each master's group; it has to appear inside.
fn mount_on_host(pid: u32) -> Result<()> {
    for (fs, at, _) in vivid::HOST_MOUNTS {
        mounting::new("tmpfs", "from-the-host", Path::new(at), "rw", "")?;
        let inside = Table::of(pid)?;
        let seen = inside
            .at(at)
            .is_some_and(|entry| entry.source == "from-the-host");
        mounting::detach(Path::new(at))?;
        ensure!(
            seen,
            "a mount on the host's {at} does not appear in the container"
        );
        let gone = Table::of(pid)?
            .at(at)
            .is_some_and(|entry| entry.fs_type == fs);
        ensure!(
            gone,
            "an unmount of the host's {at} does not reach the container"
        );
    }
    say(
        "A tmpfs mounted on the host's pstore, debugfs, ... appears in the restored container, and goes with it.",
    );
    Ok(())
}

fn milliseconds(since: Instant) -> String {
    format!("{:.0} ms", since.elapsed().as_secs_f64() * 1000.0)
}

fn say(line: &str) {
    match stdout().is_terminal() {
        true => println!("\x1b[1;36m==\x1b[0m \x1b[1m{line}\x1b[0m"),
        false => println!("== {line}"),
    }
}
