//! Measures dump and restore of two trees in a tmpfs against `cp -a` of the same
//! tree to and from the same place, in the same run: one file of 1 GiB, and 100,000
//! small files. Run as root: `cargo run --release -p crux-tests --example contents_speed`.
//!
//! Kind: shell. The place is a directory in the current one, and is removed.

use anyhow::{Context as _, Result, ensure};
use crux_image::contents::{ContentsReader, ContentsWriter};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use std::fs::{self, File};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const ROUNDS: usize = 3;

fn main() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?;
    let place = tempfile::tempdir_in(".")?;
    measure("one file of 1 GiB", place.path(), |root| {
        let block = vec![0x5a; 1 << 20];
        let mut file = File::create(root.join("file"))?;
        (0..1024).try_for_each(|_| std::io::Write::write_all(&mut file, &block))
    })?;
    measure("100,000 small files", place.path(), |root| {
        (0..100_000).try_for_each(|i| {
            let dir = root.join(format!("dir {}", i / 1000));
            if i % 1000 == 0 {
                fs::create_dir(&dir)?;
            }
            fs::write(dir.join(format!("file {i}")), vec![b'x'; i * 37 % 6000])
        })
    })?;
    println!("peak memory of this process: {} KiB", peak_kib()?);
    Ok(())
}

/// The fastest of some rounds each, one after the other in turn.
fn measure(name: &str, place: &Path, fill: impl Fn(&Path) -> std::io::Result<()>) -> Result<()> {
    let (source, target) = (place.join("source"), place.join("target"));
    tmpfs(&source)?;
    fill(&source)?;
    let (mut dump, mut copy_out, mut restore, mut copy_in) =
        (Duration::MAX, Duration::MAX, Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        let copy = place.join("copy");
        copy_out = copy_out.min(timed(|| cp(&source, &copy))?);
        let mut section = None;
        dump = dump.min(timed(|| {
            let [index, data] = ["index", "data"].map(|n| File::create_new(place.join(n)));
            let mut writer = ContentsWriter::new(index?, data?)?;
            section = Some(crux_dump::contents::collect(
                open(&source)?.as_fd(),
                &[],
                &mut writer,
            )?);
            writer.finish()?;
            Ok(())
        })?);
        tmpfs(&target)?;
        copy_in = copy_in.min(timed(|| cp(&copy.join("."), &target))?);
        umount(&target)?;
        tmpfs(&target)?;
        let section = section.context("no section")?;
        restore = restore.min(timed(|| {
            let [index, data] = ["index", "data"].map(|n| File::open(place.join(n)));
            let mut reader = ContentsReader::new(index?, data?)?;
            Ok(crux_restore::contents::apply(
                open(&target)?.as_fd(),
                section,
                &mut reader,
            )?)
        })?);
        umount(&target)?;
        fs::remove_dir_all(copy)?;
        fs::remove_file(place.join("index"))?;
        fs::remove_file(place.join("data"))?;
    }
    umount(&source)?;
    let ratio = |ours: Duration, theirs: Duration| ours.as_secs_f64() / theirs.as_secs_f64();
    println!(
        "{name}: dump {dump:?}, cp -a {copy_out:?}: ratio {:.2}",
        ratio(dump, copy_out)
    );
    println!(
        "{name}: restore {restore:?}, cp -a {copy_in:?}: ratio {:.2}",
        ratio(restore, copy_in)
    );
    Ok(())
}

fn timed(run: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let start = Instant::now();
    run()?;
    Ok(start.elapsed())
}

fn tmpfs(at: &Path) -> Result<()> {
    fs::create_dir_all(at)?;
    Ok(mount(
        "tmpfs",
        at,
        "tmpfs",
        MountFlags::empty(),
        c"size=2g,nr_inodes=200k",
    )?)
}

fn umount(at: &Path) -> Result<()> {
    Ok(rustix::mount::unmount(
        at,
        rustix::mount::UnmountFlags::empty(),
    )?)
}

fn cp(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg("-a").args([from, to]).status()?;
    ensure!(status.success(), "cp -a: {status}");
    Ok(())
}

fn open(path: &Path) -> Result<OwnedFd> {
    Ok(openat(
        CWD,
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

fn peak_kib() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix("VmHWM:"))
        .context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
