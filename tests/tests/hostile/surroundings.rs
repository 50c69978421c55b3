//! Races, stray descriptors, and a /proc that is none.

use super::{AUTO, refused, restore, small_image};
use anyhow::{Result, ensure};
use crux_tests::{Lab, Running, Setup, Table};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn root_cve_2021_30465_a_mountpoint_swapped_for_a_symlink_is_never_followed() {
    Lab::test(Setup::ROOT, |lab| {
        let images = small_image(lab)?;
        let (outside, aside) = (lab.path("outside"), lab.path("small/aside"));
        fs::create_dir(&outside)?;
        // Whoever follows the link beneath the root finds a directory there, too.
        let inside = lab.path("small").join(outside.strip_prefix("/")?);
        fs::create_dir_all(inside)?;
        symlink(&outside, &aside)?;
        let host = Table::own()?;
        let (run, stop) = (lab.path("small/run"), AtomicBool::new(false));
        let (codes, swaps) = std::thread::scope(|scope| {
            let swaps = scope.spawn(|| swap_until(&run, &aside, &stop));
            let codes = restore_often(lab, &images, &host);
            stop.store(true, Ordering::Relaxed);
            let swaps = swaps.join().expect("the swapper does not panic");
            codes.map(|codes| (codes, swaps))
        })?;
        ensure!(codes.iter().all(|code| [0, 6].contains(code)), "{codes:?}");
        // The directory was met as well as the link.
        let met = [0, 6].map(|code| codes.contains(&code));
        ensure!(met == [true; 2] && swaps > 1, "{swaps} swaps: {codes:?}");
        Ok(())
    });
}

/// How often they were swapped.
fn swap_until(one: &Path, other: &Path, stop: &AtomicBool) -> usize {
    let mut swaps = 0;
    while !stop.load(Ordering::Relaxed) {
        // EBUSY, while it is a mountpoint in a namespace of this process.
        let swapped = renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE);
        swaps += usize::from(swapped.is_ok());
    }
    swaps
}

fn restore_often(lab: &Lab, images: &Path, host: &Table) -> Result<Vec<i32>> {
    let options = [&AUTO[..], &["--", "/bin/cat", "/proc/self/mountinfo"]].concat();
    let mut codes = Vec::new();
    for round in 0..300 {
        if round >= 60 && [0, 6].iter().all(|code| codes.contains(code)) {
            break;
        }
        let output = restore(lab, images, &options)?;
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(!shown.contains("/outside"), "{shown}");
        ensure!(&Table::own()? == host, "the host's table changed");
        codes.push(output.code().unwrap_or(-1));
    }
    Ok(codes)
}

#[test]
fn root_cve_2024_21626_command_gets_no_descriptor_and_no_directory_of_the_host() {
    Lab::test(Setup::ROOT, |lab| {
        let images = small_image(lab)?;
        let restore = lab.programs.restore.display();
        let place = images.display();
        let inside = "ls /proc/self/fd; echo at; /bin/busybox readlink /proc/self/cwd";
        // The shell leaves a directory and a file of the host open, and stays in one.
        let script = format!(
            "cd /etc && exec 7</ 9</etc/passwd && exec {restore} --mounts-only --images {place} \
             --external auto -- /bin/sh -c '{inside}'"
        );
        let output = Running::start(Path::new("/bin/sh"), ["-c", &script])?.finish()?;
        let output = output.success("crux-restore")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let (descriptors, cwd) = said.split_once("at\n").unwrap_or_default();
        // 3 is the directory that ls reads.
        let known = ["0", "1", "2", "3"];
        ensure!(
            descriptors.lines().all(|number| known.contains(&number)),
            "{said}"
        );
        ensure!(cwd == "/\n", "{said}");
        Ok(())
    });
}

#[test]
fn root_cve_2025_52881_a_proc_that_is_no_procfs_is_refused() {
    Lab::test(Setup::ROOT, |lab| {
        let images = small_image(lab)?;
        let table = fs::read("/proc/self/mountinfo")?;
        crux_tests::mounting::new("tmpfs", "fake", Path::new("/proc"), "rw", "")?;
        for at in ["self", "thread-self", "self/fd"] {
            fs::create_dir(Path::new("/proc").join(at))?;
        }
        fs::write("/proc/self/mountinfo", table)?;
        let mut restored = lab.programs.restore(&images, &AUTO)?;
        let status = loop {
            if let Some(status) = restored.ended()? {
                break status;
            }
            std::thread::yield_now();
        };
        crux_tests::mounting::detach(Path::new("/proc"))?;
        let said = String::from_utf8_lossy(&restored.complained()?).into_owned();
        ensure!(status.code() == Some(4), "{status}: {said}");
        ensure!(said.contains("/proc is not a proc file system"), "{said}");
        let host = Table::own()?;
        refused(
            &restore(lab, &images, &["--external", "no=/such"])?,
            2,
            &host,
        )
    });
}
