//! `cargo xtask demo`: a whole container, with the mounts of the request of 2015, dumped and restored.
//!
//! Kind: shell. Everything happens in a lab: the machine's own mounts are not touched.

mod inside;

use crate::cargo::{Profile, build};
use crate::packages::{DEMO, ensure_installed};
use anyhow::{Context as _, Result, bail, ensure};
use crux_tests::blueprint::vivid;
use crux_tests::{
    Container, Detached, Lab, Programs, Running, Setup, Table, differences, mounting, reach,
};
use inside::State;
use std::fs;
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

/// What the container was before it was ended.
struct Before {
    host: Table,
    table: Table,
    reached: crux_tests::Reach,
    state: State,
    tree: String,
}

fn show(lab: &Lab) -> Result<()> {
    say(
        "A container like that of LXC 1.1 on Ubuntu Vivid: 21 mounts, five of them slaves of the host's.",
    );
    let (container, before) = dump_and_end(lab)?;
    let pid = restore(lab)?;
    // The lab has it as a child as soon as crux-restore has ended: nobody else waits for it.
    let restored = Detached::new(pid)?;
    goes_on(&before, pid)?;
    mounts_are_the_same(lab, pid, &before)?;
    mount_on_host(pid)?;
    restored.end()?;
    drop(container);
    ensure!(
        Table::own()? == before.host,
        "something is left on the host"
    );
    say("The container is gone, and the host's mount table is what it was.");
    Ok(())
}

fn dump_and_end(lab: &Lab) -> Result<(Container, Before)> {
    let container = inside::start(lab)?;
    let pid = container.pid.as_raw().unsigned_abs();
    let state = inside::look(pid)?;
    say("In it a counter, a pipe, a pair of sockets, a terminal, and a small HTTP server:");
    let state_before = state.goes_on(pid)?;
    print_lines(&state.table(&state_before));
    println!(
        "  http://127.0.0.1/counter says {}",
        inside::page(pid, "/counter")?
    );
    let (table, reached, host) = (Table::of(pid)?, reach(pid)?, Table::own()?);
    let images = lab.path("images");
    let start = Instant::now();
    let output = lab.programs.dump_tasks(pid, &images, &AUTO)?;
    let output = output.success("crux-dump")?;
    say(&format!(
        "crux-dump --pid {pid} --images images --external auto   ({}, {})",
        milliseconds(start),
        size(&images)?
    ));
    print_lines(
        &output
            .stderr
            .lines()
            .map(|line| format!("  {line}"))
            .collect::<Vec<_>>(),
    );
    print!("{}", view(lab, "show", &images)?);
    say("The processes have ended, and their mounts are gone with them. The image's mounts:");
    let tree = view(lab, "tree", &images)?;
    print!("{}", narrow(lab, &images)?);
    let before = Before {
        host,
        table,
        reached,
        // Nothing goes on after this, so what the files said last is how far it was.
        state: state_before,
        tree,
    };
    Ok((container, before))
}

fn restore(lab: &Lab) -> Result<u32> {
    let pidfile = lab.path("pid");
    let root = format!("--root={}", vivid::root(lab).display());
    let pid = format!("--pidfile={}", pidfile.display());
    let options = ["--external=auto", "--detach", &root, &pid];
    let start = Instant::now();
    let restored = lab.programs.restore_tasks(&lab.path("images"), &options)?;
    restored.finish()?.success("crux-restore")?;
    say(&format!(
        "crux-restore --images images --external auto --root rootfs --detach --pidfile pid   ({})",
        milliseconds(start)
    ));
    let text = fs::read_to_string(&pidfile).context("the file with the pid")?;
    text.trim().parse().context("the file with the pid")
}

/// Everything in the container is further than it was.
fn goes_on(before: &Before, pid: u32) -> Result<()> {
    let now = before.state.goes_on(pid)?;
    say(&format!(
        "The container runs, as process {pid} of the host. Everything goes on where it was:"
    ));
    print_lines(&before.state.table(&now));
    println!(
        "  http://127.0.0.1/counter says {}",
        inside::page(pid, "/counter")?
    );
    Ok(())
}

/// Dumps the mounts of the restored container as well: their tree has to be the same text.
fn mounts_are_the_same(lab: &Lab, pid: u32, before: &Before) -> Result<()> {
    let again = lab.path("images-again");
    let output = lab.programs.dump(pid, &again, &AUTO)?;
    output.success("crux-dump of the restored container")?;
    let different = differences(&before.table, &Table::of(pid)?, &before.host);
    ensure!(
        different.is_empty(),
        "the table is different:\n{}",
        different.join("\n")
    );
    ensure!(
        before.tree == view(lab, "tree", &again)?,
        "the trees differ"
    );
    let count = before.table.0.len();
    say(&format!(
        "All {count} mounts are the same, up to ids, by a comparison that shares no code with crux."
    ));
    ensure!(
        reach(pid)? == before.reached,
        "new mounts appear elsewhere than before"
    );
    say("New mounts, tried in every mount, appear in the same places as before.");
    Ok(())
}

/// What `crux-image tree` shows in a terminal of this width.
fn narrow(lab: &Lab, images: &Path) -> Result<String> {
    let arguments = ["tree".as_ref(), "--width=100".as_ref(), images.as_os_str()];
    let output = Running::start(&lab.programs.image, arguments)?.finish()?;
    let output = output.success("crux-image tree")?;
    String::from_utf8(output.stdout).context("crux-image tree prints text")
}

/// What `crux-image VERB` shows.
fn view(lab: &Lab, verb: &str, images: &Path) -> Result<String> {
    let output = lab.programs.image(verb, &[images])?;
    let output = output.success(verb)?;
    String::from_utf8(output.stdout).context("crux-image prints text")
}

/// The size of the image, for people.
fn size(images: &Path) -> Result<String> {
    let mut bytes = 0;
    for entry in fs::read_dir(images)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)))
}

fn print_lines(lines: &[String]) {
    for line in lines {
        println!("{line}");
    }
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
