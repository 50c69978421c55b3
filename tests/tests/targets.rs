//! Targets that change or end while they are dumped, and a dumper or restorer that lacks a
//! capability, a disk, or its own life.

use anyhow::{Context as _, Result, ensure};
use crux_tests::tracing::{Fault, run};
use crux_tests::{Container, Lab, Output, Running, Setup, Site, Spec, Table, mounting, patience};
use nix::sched::CloneFlags;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const AUTO: [&str; 2] = ["--external", "auto"];

fn start(lab: &Lab, root: &str, inside: impl FnOnce() -> Result<()>) -> Result<Container> {
    let mut spec = Spec::new(lab.root(root)?);
    spec.namespaces = CloneFlags::CLONE_NEWPID;
    let build = |site: &Site<'_>| {
        site.mount("tmpfs", "none", "/run", "rw,relatime", "")?;
        fs::write(site.file("/run/note")?, "kept")?;
        Ok(())
    };
    Container::start(lab, &spec, build, inside)
}

fn dump(lab: &Lab, container: &Container, images: &Path) -> Result<Output> {
    lab.programs.dump(container.pid, images, &AUTO)
}

fn nothing_at(images: &Path) -> Result<()> {
    let partial = PathBuf::from(format!("{}.partial", images.display()));
    ensure!(
        !images.exists() && !partial.exists(),
        "something of the image is left"
    );
    Ok(())
}

#[test]
fn root_dump_of_a_table_that_changes_is_consistent_or_undone() {
    Lab::test(Setup::ROOT, |lab| {
        let container = start(lab, "busy", || {
            let script = "while :; do mount -t tmpfs x /tmp; umount /tmp; done";
            Command::new("/bin/sh").args(["-c", script]).spawn()?;
            Ok(())
        })?;
        let (images, host) = (lab.path("images"), Table::own()?);
        for _ in 0..12 {
            let output = dump(lab, &container, &images)?;
            match output.code() {
                Some(0) => {
                    lab.programs
                        .image("verify", &[&images])?
                        .success("verify")?;
                    let command = [&AUTO[..], &["--", "/bin/cat", "/run/note"]].concat();
                    let restored = lab.programs.restore(&images, &command)?.finish()?;
                    assert_eq!(restored.success("crux-restore")?.stdout, b"kept");
                    fs::remove_dir_all(&images)?;
                }
                Some(6) => {
                    ensure!(output.stderr.contains("chang"), "{}", output.stderr);
                    nothing_at(&images)?;
                }
                code => anyhow::bail!("{code:?}: {}", output.stderr),
            }
            ensure!(Table::own()? == host, "the host's table changed");
        }
        Ok(())
    });
}

#[test]
fn root_dump_of_a_target_that_ends_meanwhile_is_whole_or_nothing() {
    Lab::test(Setup::ROOT, |lab| {
        let (images, host) = (lab.path("images"), Table::own()?);
        for nth in (300..).step_by(97) {
            let container = start(lab, &format!("mortal-{nth}"), || Ok(()))?;
            let pid = container.pid.as_raw();
            let place = images.to_string_lossy();
            let number = pid.to_string();
            let fixed = ["--mounts-only", "--pid", &number, "--images", &place];
            let fault = Fault::KillOther { pid, nth };
            let traced = run(&lab.programs.dump, fixed.iter().chain(&AUTO), fault)?;
            match traced.output.code() {
                Some(0) => {
                    lab.programs
                        .image("verify", &[&images])?
                        .success("verify")?;
                    fs::remove_dir_all(&images)?;
                }
                Some(2 | 3 | 6) => nothing_at(&images)?,
                code => anyhow::bail!("ended at {nth}: {code:?}: {}", traced.output.stderr),
            }
            ensure!(Table::own()? == host, "the host's table changed");
            if traced.hit.is_none() {
                return Ok(());
            }
        }
        Ok(())
    });
}

#[test]
fn root_missing_capabilities_are_named_with_what_they_are_for() {
    Lab::test(Setup::ROOT, |lab| {
        let container = start(lab, "small", || Ok(()))?;
        let private = container.path("/run/private");
        fs::create_dir(&private)?;
        fs::set_permissions(&private, fs::Permissions::from_mode(0o700))?;
        nix::unistd::chown(&private, Some(nix::unistd::Uid::from_raw(77)), None)?;
        let images = lab.path("images");
        dump(lab, &container, &images)?.success("crux-dump")?;
        let (pid, place, again) = (
            container.pid.to_string(),
            text(&images),
            text(&lab.path("again")),
        );
        let dump = ["--mounts-only", "--pid", &pid, "--images", &again];
        let restore = ["--mounts-only", "--images", &place];
        let cases = [
            (&lab.programs.dump, &dump[..], "sys_admin"),
            (&lab.programs.dump, &dump, "sys_ptrace"),
            (&lab.programs.dump, &dump, "sys_chroot"),
            (&lab.programs.dump, &dump, "dac_read_search"),
            (&lab.programs.restore, &restore, "sys_admin"),
            (&lab.programs.restore, &restore, "sys_chroot"),
            (&lab.programs.restore, &restore, "chown"),
        ];
        let host = Table::own()?;
        for (program, arguments, capability) in cases {
            let without = format!("-{capability}");
            let program = text(program);
            let words = ["--bounding-set", &without, &program]
                .into_iter()
                .chain(arguments.iter().copied())
                .chain(AUTO);
            let output = Running::start(Path::new("/usr/bin/setpriv"), words)?.finish()?;
            ensure!(
                output.code() == Some(4),
                "{capability}: {:?}: {}",
                output.status,
                output.stderr
            );
            let name = format!("CAP_{}", capability.to_uppercase());
            ensure!(output.stderr.contains(&name), "{}", output.stderr);
            ensure!(output.stderr.contains("needed to"), "{}", output.stderr);
            ensure!(Table::own()? == host, "the host's table changed");
        }
        nothing_at(&lab.path("again"))
    });
}

#[test]
fn root_a_dump_needs_no_capability_that_the_target_does_not_ask_for() {
    Lab::test(Setup::ROOT, |lab| {
        let spec = Spec::new(lab.root("plain")?);
        let container = Container::start(lab, &spec, |_| Ok(()), || Ok(()))?;
        let (pid, images) = (container.pid.to_string(), lab.path("images"));
        let (program, place) = (text(&lab.programs.dump), text(&images));
        let without = "-sys_admin,-sys_chroot,-dac_read_search,-dac_override,-fowner,-setpcap";
        let words = ["--bounding-set", without, &program, "--mounts-only"]
            .into_iter()
            .chain(["--pid", &pid, "--images", &place])
            .chain(AUTO);
        let output = Running::start(Path::new("/usr/bin/setpriv"), words)?.finish()?;
        // It looks at a process that holds more than it does.
        output.success("crux-dump with SYS_PTRACE alone")?;
        let restored = lab.programs.restore(&images, &AUTO)?;
        restored.finish()?.success("crux-restore")?;
        Ok(())
    });
}

#[test]
fn root_an_image_may_go_into_a_directory_of_somebody_else() {
    Lab::test(Setup::ROOT, |lab| {
        let container = start(lab, "small", || Ok(()))?;
        let home = lab.path("home");
        fs::create_dir(&home)?;
        nix::unistd::chown(&home, Some(nix::unistd::Uid::from_raw(77)), None)?;
        dump(lab, &container, &home.join("images"))?.success("crux-dump")?;
        let again = dump(lab, &container, &home.join("images"))?;
        ensure!(again.code() == Some(2), "{}", again.stderr);
        // What has to be removed is removed.
        let more = home.join("more");
        let failed = lab.programs.dump(4_194_304, &more, &AUTO)?;
        ensure!(failed.code() == Some(2), "{}", failed.stderr);
        nothing_at(&more)
    });
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[test]
fn root_dump_into_a_read_only_directory_is_undone() {
    Lab::test(Setup::ROOT, |lab| {
        let container = start(lab, "small", || Ok(()))?;
        let disk = lab.path("disk");
        fs::create_dir(&disk)?;
        mounting::new("tmpfs", "disk", &disk, "ro", "")?;
        let host = Table::own()?;
        let output = dump(lab, &container, &disk.join("images"))?;
        ensure!(
            output.code() == Some(6),
            "{:?}: {}",
            output.status,
            output.stderr
        );
        ensure!(
            output.stderr.contains("Read-only file system"),
            "{}",
            output.stderr
        );
        ensure!(Table::own()? == host, "the host's table changed");
        Ok(())
    });
}

#[test]
fn root_dump_onto_disks_of_any_size_is_whole_or_nothing() {
    Lab::test(Setup::ROOT, |lab| {
        let container = start(lab, "small", || Ok(()))?;
        fs::write(container.path("/run/more"), vec![3; 30_000])?;
        let disk = lab.path("disk");
        fs::create_dir(&disk)?;
        for pages in 1..24 {
            let size = format!("size={}k", pages * 4);
            mounting::new("tmpfs", "disk", &disk, "rw", &size)?;
            let images = disk.join("images");
            let output = dump(lab, &container, &images)?;
            match output.code() {
                Some(0) => drop(
                    lab.programs
                        .image("verify", &[&images])?
                        .success("verify")?,
                ),
                Some(6) => {
                    ensure!(
                        output.stderr.to_lowercase().contains("no space left"),
                        "{}",
                        output.stderr
                    );
                    assert_eq!(fs::read_dir(&disk)?.count(), 0);
                }
                code => anyhow::bail!("{size}: {code:?}: {}", output.stderr),
            }
            mounting::detach(&disk)?;
        }
        Ok(())
    });
}

#[test]
fn root_restore_killed_at_any_moment_leaves_nothing() {
    Lab::test(Setup::ROOT, |lab| {
        let container = start(lab, "small", || Ok(()))?;
        // Every lab has the same paths: the processes of another one's restore, in a test
        // that runs at the same time, are not to be taken for what this one leaves.
        let images = lab.path(&lab.name());
        dump(lab, &container, &images)?.success("crux-dump")?;
        drop(container);
        let host = Table::own()?;
        let options = [&AUTO[..], &["--", "/bin/cat"]].concat();
        for round in 0..40 {
            let restored = lab.programs.restore(&images, &options)?;
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_micros(300 * round) {
                std::hint::spin_loop();
            }
            // SIGKILL; what it started is told by the kernel and ends a moment later.
            drop(restored);
            gone(&images).with_context(|| format!("killed after {round} x 300 us"))?;
            ensure!(Table::own()? == host, "the host's table changed");
        }
        Ok(())
    });
}

/// Waits until no process names the image on its command line.
fn gone(images: &Path) -> Result<()> {
    let begun = Instant::now();
    loop {
        let left = naming(images)?;
        if left.is_empty() {
            return Ok(());
        }
        ensure!(
            begun.elapsed() < patience(10),
            "a process is left:\n{}",
            left.join("\n")
        );
        std::thread::yield_now();
    }
}

/// The processes that name a path on their command lines, with what they are doing.
fn naming(path: &Path) -> Result<Vec<String>> {
    let wanted = path.as_os_str().as_encoded_bytes();
    let names = |line: &[u8]| line.split(|&b| b == 0).any(|word| word == wanted);
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if names(&line) {
            let text = |name| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            found.push(format!("{line}\n{}{}", text("stat"), text("wchan")));
        }
    }
    Ok(found)
}

#[test]
fn root_output_that_cannot_be_written_is_an_exit_code() {
    Lab::test(Setup::ROOT, |lab| {
        let container = start(lab, "small", || Ok(()))?;
        let images = lab.path("images");
        dump(lab, &container, &images)?.success("crux-dump")?;
        let (place, again) = (text(&images), text(&lab.path("again")));
        let (dump, restore) = (text(&lab.programs.dump), text(&lab.programs.restore));
        let restore = format!("{restore} --mounts-only --external auto --images {place}");
        let dump = format!(
            "{dump} --mounts-only --external auto --pid {} --images {again}",
            container.pid
        );
        let cases = [
            (format!("{restore} --dry-run > /dev/full"), 6),
            (format!("{restore} --json > /dev/full"), 6),
            (format!("{restore} --dry-run 2>&- >&-"), 0),
            (format!("{restore} --nonsense 2> /dev/full"), 2),
            (format!("{dump} --dry-run > /dev/full"), 6),
            (format!("{dump} --json > /dev/full"), 7),
        ];
        let host = Table::own()?;
        for (script, code) in cases {
            let output = Running::start(Path::new("/bin/sh"), ["-c", &script])?.finish()?;
            ensure!(
                output.code() == Some(code),
                "{script}: {:?}: {}",
                output.status,
                output.stderr
            );
            ensure!(!output.stderr.contains("panicked"), "{}", output.stderr);
            ensure!(Table::own()? == host, "the host's table changed");
        }
        Ok(())
    });
}
