//! Bad input: the exit code says what kind, one line says what, and nothing is left.

use anyhow::{Result, ensure};
use crux_tests::blueprint::vivid;
use crux_tests::{Container, Lab, Output, Setup, Spec, Table};
use nix::sched::CloneFlags;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const AUTO: [&str; 2] = ["--external", "auto"];
const UNSUPPORTED: &[i32] = &[3];
const USAGE: &[i32] = &[2];

/// A process that is a zombie as long as this lives.
fn zombie() -> Result<std::process::Child> {
    let mut child = Command::new("/bin/true").stdout(Stdio::piped()).spawn()?;
    let mut end = child.stdout.take().expect("it was piped");
    // The end of the pipe closes before the process is a zombie: wait without reaping.
    std::io::copy(&mut end, &mut std::io::sink())?;
    let id = rustix::process::WaitId::Pid(rustix::process::Pid::from_child(&child));
    let keep = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
    rustix::process::waitid(id, keep)?;
    Ok(child)
}

/// Exit code, one line that begins with "Error: ", and the host as it was.
fn refused(output: &Output, codes: &[i32], host: &Table) -> Result<()> {
    let code = output.code().unwrap_or(-1);
    ensure!(
        codes.contains(&code),
        "exit code {code}, not {codes:?}: {}",
        output.stderr
    );
    let mut lines = output.stderr.lines();
    let first = lines.next().unwrap_or_default();
    ensure!(first.starts_with("Error: failed to "), "{}", output.stderr);
    ensure!(
        lines.all(|line| line.starts_with("  ")),
        "{}",
        output.stderr
    );
    ensure!(!output.stderr.contains("panicked"), "{}", output.stderr);
    assert_eq!(&Table::own()?, host, "the host's table changed");
    Ok(())
}

fn dump_is_refused(lab: &Lab, pid: u32, codes: &[i32]) -> Result<()> {
    let (host, images) = (Table::own()?, lab.path("images"));
    let output = lab.programs.dump(pid, &images, &AUTO)?;
    refused(&output, codes, &host)?;
    ensure!(!images.exists(), "there is an image directory");
    ensure!(
        !partial(&images).exists(),
        "there is a partial image directory"
    );
    Ok(())
}

fn partial(images: &Path) -> PathBuf {
    PathBuf::from(format!("{}.partial", images.display()))
}

/// An image of a small container: one tmpfs, and a root that has to be granted.
fn small_image(lab: &Lab) -> Result<PathBuf> {
    let images = lab.path("images");
    let container = small(lab)?;
    lab.programs
        .dump(container.pid, &images, &AUTO)?
        .success("crux-dump")?;
    Ok(images)
}

fn small(lab: &Lab) -> Result<Container> {
    let mut spec = Spec::new(lab.root("small")?);
    spec.namespaces = CloneFlags::empty();
    let build =
        |site: &crux_tests::Site<'_>| site.mount("tmpfs", "none", "/run", "rw,relatime", "");
    Container::start(lab, &spec, build, || Ok(()))
}

#[test]
fn root_dump_of_a_pid_that_is_gone_is_refused() {
    Lab::test(Setup::ROOT, |lab| {
        let mut child = Command::new("/bin/true").spawn()?;
        child.wait()?;
        dump_is_refused(lab, child.id(), USAGE)
    });
}

#[test]
fn root_dump_of_a_zombie_is_refused() {
    Lab::test(Setup::ROOT, |lab| {
        let mut zombie = zombie()?;
        dump_is_refused(lab, zombie.id(), UNSUPPORTED)?;
        zombie.wait()?;
        Ok(())
    });
}

#[test]
fn root_dump_of_a_kernel_thread_is_refused() {
    // kthreadd is 2 wherever kernel threads can be seen.
    let name = fs::read_to_string("/proc/2/comm").unwrap_or_default();
    assert_eq!(name.trim(), "kthreadd", "no kernel thread can be seen here");
    Lab::test(Setup::ROOT, |lab| dump_is_refused(lab, 2, UNSUPPORTED));
}

#[test]
fn root_dump_into_a_directory_that_exists_is_refused_and_leaves_it() {
    Lab::test(Setup::ROOT, |lab| {
        let (host, images) = (Table::own()?, lab.path("images"));
        fs::create_dir(&images)?;
        fs::write(images.join("mine"), "untouched")?;
        let container = small(lab)?;
        let output = lab.programs.dump(container.pid, &images, &AUTO)?;
        refused(&output, USAGE, &host)?;
        assert_eq!(fs::read_dir(&images)?.count(), 1);
        assert_eq!(fs::read(images.join("mine"))?, b"untouched");
        ensure!(!partial(&images).exists());
        Ok(())
    });
}

#[test]
fn root_dump_without_externals_names_every_option_that_is_needed() {
    Lab::test(Setup::ROOT, |lab| {
        let container = vivid::start(lab)?;
        let host = Table::own()?;
        let output = lab
            .programs
            .dump(container.pid, &lab.path("images"), &[""; 0])?;
        refused(&output, UNSUPPORTED, &host)?;
        for (_, at, _) in vivid::HOST_MOUNTS {
            ensure!(
                output.stderr.contains(at),
                "{at} is not in: {}",
                output.stderr
            );
        }
        ensure!(output.stderr.contains("--external"), "{}", output.stderr);
        ensure!(!lab.path("images").exists());
        Ok(())
    });
}

#[test]
fn root_dump_onto_a_full_disk_leaves_no_partial_directory() {
    Lab::test(Setup::ROOT, |lab| {
        let container = small(lab)?;
        let run = container.path("/run/large");
        fs::write(run, vec![7; 1 << 20])?;
        let disk = lab.path("disk");
        fs::create_dir(&disk)?;
        crux_tests::mounting::new("tmpfs", "small", &disk, "rw", "size=64k")?;
        let host = Table::own()?;
        let output = lab
            .programs
            .dump(container.pid, &disk.join("images"), &AUTO)?;
        refused(&output, &[6], &host)?;
        assert_eq!(fs::read_dir(&disk)?.count(), 0);
        Ok(())
    });
}

#[test]
fn root_restore_onto_a_root_that_is_no_directory_is_refused() {
    Lab::test(Setup::ROOT, |lab| {
        let images = small_image(lab)?;
        let (file, link) = (lab.path("file"), lab.path("link"));
        fs::write(&file, "")?;
        symlink(lab.path("small"), &link)?;
        let host = Table::own()?;
        for root in [&file, &link, &lab.path("nowhere")] {
            let root = root.to_string_lossy();
            let options = ["--external", "auto", "--root", &root, "--", "/bin/true"];
            let output = lab.programs.restore(&images, &options)?.finish()?;
            refused(&output, USAGE, &host)?;
        }
        Ok(())
    });
}

#[test]
fn root_restore_with_a_grant_for_an_unknown_name_is_refused() {
    Lab::test(Setup::ROOT, |lab| {
        let images = small_image(lab)?;
        let host = Table::own()?;
        let options = ["--external", "auto", "--external", "no-such-name=/tmp"];
        let output = lab.programs.restore(&images, &options)?.finish()?;
        refused(&output, USAGE, &host)?;
        ensure!(output.stderr.contains("no-such-name"), "{}", output.stderr);
        Ok(())
    });
}

#[test]
fn root_restore_of_no_image_is_refused() {
    Lab::test(Setup::ROOT, |lab| {
        let empty = lab.path("empty");
        fs::create_dir(&empty)?;
        let host = Table::own()?;
        for images in [&empty, &lab.path("nowhere")] {
            let output = lab.programs.restore(images, &AUTO)?.finish()?;
            refused(&output, &[5], &host)?;
        }
        Ok(())
    });
}

#[test]
fn root_restore_of_an_image_with_a_flipped_bit_is_refused() {
    Lab::test(Setup::ROOT, |lab| {
        let images = small_image(lab)?;
        let host = Table::own()?;
        for member in fs::read_dir(&images)?.collect::<Result<Vec<_>, _>>()? {
            let good = fs::read(member.path())?;
            let Some(middle) = good.len().checked_sub(1).map(|last| last / 2) else {
                continue;
            };
            let mut bad = good.clone();
            bad[middle] ^= 4;
            fs::write(member.path(), &bad)?;
            let output = lab.programs.restore(&images, &AUTO)?.finish()?;
            refused(&output, &[5], &host)?;
            fs::write(member.path(), &good)?;
        }
        Ok(())
    });
}

#[test]
fn root_restore_of_an_image_whose_member_is_a_symlink_or_fifo_is_refused() {
    Lab::test(Setup::ROOT, |lab| {
        let images = small_image(lab)?;
        let host = Table::own()?;
        for member in fs::read_dir(&images)?.collect::<Result<Vec<_>, _>>()? {
            let aside = lab.path("aside");
            fs::rename(member.path(), &aside)?;
            symlink(&aside, member.path())?;
            let output = lab.programs.restore(&images, &AUTO)?.finish()?;
            refused(&output, &[5], &host)?;
            fs::remove_file(member.path())?;
            nix::unistd::mkfifo(&member.path(), nix::sys::stat::Mode::S_IRWXU)?;
            let output = lab.programs.restore(&images, &AUTO)?.finish()?;
            refused(&output, &[5], &host)?;
            fs::remove_file(member.path())?;
            fs::copy(&aside, member.path())?;
            fs::remove_file(&aside)?;
        }
        Ok(())
    });
}
