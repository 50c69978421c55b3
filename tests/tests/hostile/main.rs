//! Hostile images, hostile roots and hostile surroundings: what is refused, what is never
//! touched, and what COMMAND does not get. docs/threat-model.md says which test is for what.

mod forge;
mod surroundings;

use anyhow::{Context as _, Result, ensure};
use crux_image::mounts::{MountIndex, Origin, Wish};
use crux_image::path::{HostPath, RelPath};
use crux_tests::blueprint::vivid;
use crux_tests::tracing::{Fault, run};
use crux_tests::{Container, Lab, Output, Setup, Spec, Table};
use nix::sched::CloneFlags;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

const AUTO: [&str; 2] = ["--external", "auto"];

/// An image of the vivid container, which has ended.
fn vivid_image(lab: &Lab) -> Result<PathBuf> {
    dumped(lab, vivid::start(lab)?)
}

fn dumped(lab: &Lab, container: Container) -> Result<PathBuf> {
    let images = lab.path("images");
    lab.programs
        .dump(container.pid, &images, &AUTO)?
        .success("crux-dump")?;
    Ok(images)
}

/// An image of a container that has a proc, a sysfs, and a tmpfs on /run.
fn small_image(lab: &Lab) -> Result<PathBuf> {
    let mut spec = Spec::new(lab.root("small")?);
    spec.namespaces = CloneFlags::CLONE_NEWNET;
    let build = |site: &crux_tests::Site<'_>| {
        site.mount(
            "proc",
            "proc",
            "/proc",
            "rw,nosuid,nodev,noexec,relatime",
            "",
        )?;
        site.mount(
            "sysfs",
            "sysfs",
            "/sys",
            "rw,nosuid,nodev,noexec,relatime",
            "",
        )?;
        site.bind(Path::new("/dev/null"), "/etc/masked", "rw,relatime")?;
        site.mount("tmpfs", "none", "/run", "rw,relatime", "")
    };
    dumped(lab, Container::start(lab, &spec, build, || Ok(()))?)
}

/// The code, one Error line, nothing that moves a cursor, and the host as it was.
fn refused(output: &Output, code: i32, host: &Table) -> Result<()> {
    ensure!(
        output.code() == Some(code),
        "{:?}: {}",
        output.status,
        output.stderr
    );
    harmless(output)?;
    ensure!(
        output.stderr.starts_with("Error: failed to "),
        "{}",
        output.stderr
    );
    ensure!(
        output
            .stderr
            .lines()
            .skip(1)
            .all(|line| line.starts_with("  ")),
        "{}",
        output.stderr
    );
    ensure!(&Table::own()? == host, "the host's table changed");
    Ok(())
}

fn harmless(output: &Output) -> Result<()> {
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &output.stderr;
    ensure!(
        !said.chars().any(|c| c.is_control() && c != '\n'),
        "control characters: {said:?}"
    );
    ensure!(!said.contains("panicked"), "{said}");
    Ok(())
}

fn restore(lab: &Lab, images: &Path, options: &[&str]) -> Result<Output> {
    lab.programs.restore(images, options)?.finish()
}

#[test]
fn root_no_path_of_an_image_is_touched_without_a_grant() {
    Lab::test(Setup::ROOT, |lab| {
        let images = vivid_image(lab)?;
        let secret = HostPath::new(b"/etc/shadow")?;
        forge::mounts(&images, |mounts| {
            for origin in &mut mounts.origins {
                if let Origin::External(external) = origin {
                    external.wish = Some(Wish::Path(secret.clone()));
                    external.group_wish = external.group_wish.as_ref().map(|_| secret.clone());
                }
            }
        })?;
        let host = Table::own()?;
        let place = images.to_string_lossy();
        let traced = run(
            &lab.programs.restore,
            ["--mounts-only", "--images", &place],
            Fault::None,
        )?;
        refused(&traced.output, 3, &host)?;
        ensure!(
            traced.output.stderr.contains("/etc/shadow"),
            "{}",
            traced.output.stderr
        );
        ensure!(!traced.paths.is_empty());
        let touched = traced
            .paths
            .iter()
            .filter(|path| path.windows(6).any(|it| it == b"shadow"));
        assert_eq!(touched.count(), 0);
        // Granted, it is looked at, and is no directory.
        refused(&restore(lab, &images, &AUTO)?, 2, &host)
    });
}

#[test]
fn root_paths_that_lead_upwards_are_refused() {
    Lab::test(Setup::ROOT, |lab| {
        let images = small_image(lab)?;
        let good = lab.path("good");
        fs::rename(&images, &good)?;
        let host = Table::own()?;
        for name in [b"../", b"a/.", b"/ab", b"a\0b"] {
            copy(&good, &images)?;
            forge::replace(&images, b"run", name)?;
            refused(&restore(lab, &images, &AUTO)?, 5, &host)?;
            fs::remove_dir_all(&images)?;
        }
        Ok(())
    });
}

#[test]
fn root_trees_with_cycles_and_indexes_beyond_their_tables_are_refused() {
    Lab::test(Setup::ROOT, |lab| {
        let images = small_image(lab)?;
        let good = lab.path("good");
        fs::rename(&images, &good)?;
        let host = Table::own()?;
        for forgery in 0..5 {
            copy(&good, &images)?;
            forge::mounts(&images, |mounts| {
                let origins = mounts.origins.len();
                let table = &mut mounts.namespaces[0].mounts;
                let last = table.len() - 1;
                match forgery {
                    0 => table[1].parent = Some(MountIndex::from(last)),
                    1 => table[last].parent = Some(MountIndex::from(last)),
                    2 => table[last].parent = Some(MountIndex(u32::MAX)),
                    3 => table[last].origin = origins.into(),
                    _ => mounts.namespaces[0].root = MountIndex(u32::MAX),
                }
            })?;
            refused(&restore(lab, &images, &AUTO)?, 5, &host)
                .with_context(|| format!("forgery {forgery}"))?;
            fs::remove_dir_all(&images)?;
        }
        Ok(())
    });
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

#[test]
fn root_huge_counts_are_refused_without_memory() {
    Lab::test(Setup::ROOT, |lab| {
        let images = small_image(lab)?;
        let good = lab.path("good");
        fs::rename(&images, &good)?;
        let host = Table::own()?;
        // Eight bytes of ones, wherever a count may be.
        for at in (0..160).step_by(4) {
            copy(&good, &images)?;
            forge::payload(&images, |payload| payload[at..at + 8].fill(0xff))?;
            refused(&restore(lab, &images, &AUTO)?, 5, &host)
                .with_context(|| format!("at {at}"))?;
            fs::remove_dir_all(&images)?;
        }
        Ok(())
    });
}

#[test]
fn root_flipped_bits_with_right_checksums_end_in_an_exit_code() {
    Lab::test(Setup::ROOT, |lab| {
        let images = small_image(lab)?;
        let good = lab.path("good");
        fs::rename(&images, &good)?;
        let (host, mut seed) = (Table::own()?, 0x9e37_79b9_7f4a_7c15_u64);
        for round in 0..150 {
            copy(&good, &images)?;
            forge::payload(&images, |payload| {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                let bit = seed as usize % (payload.len() * 8);
                payload[bit / 8] ^= 1 << (bit % 8);
            })?;
            let output = restore(lab, &images, &[&AUTO[..], &["--", "/bin/true"]].concat())?;
            harmless(&output)?;
            let code = output.code().context("a signal")?;
            ensure!(
                [0, 2, 3, 5, 6].contains(&code),
                "round {round}: {code}: {}",
                output.stderr
            );
            ensure!(
                Table::own()? == host,
                "round {round}: the host's table changed"
            );
            fs::remove_dir_all(&images)?;
        }
        Ok(())
    });
}

#[test]
fn root_names_that_look_like_options_or_move_the_cursor_are_only_names() {
    Lab::test(Setup::ROOT, |lab| {
        let images = vivid_image(lab)?;
        let good = lab.path("good");
        fs::rename(&images, &good)?;
        let host = Table::own()?;
        for (name, code) in [
            ("--root", 3),
            ("-x", 3),
            ("auto", 5),
            ("\u{1b}[2J", 5),
            ("a\nError: b", 5),
            ("\u{202e}x", 5),
        ] {
            copy(&good, &images)?;
            forge::mounts(&images, |mounts| {
                let externals = mounts.origins.iter_mut().filter_map(|origin| match origin {
                    Origin::External(external) => Some(external),
                    Origin::Own(_) => None,
                });
                externals.last().expect("the vivid container has some").name = name.to_owned();
            })?;
            refused(&restore(lab, &images, &[])?, code, &host)
                .with_context(|| format!("{name:?}"))?;
            for verb in ["show", "tree", "graph", "verify"] {
                harmless(&lab.programs.image(verb, &[&images])?)?;
            }
            fs::remove_dir_all(&images)?;
        }
        Ok(())
    });
}

#[test]
fn root_mountpoints_with_control_characters_are_shown_escaped() {
    Lab::test(Setup::ROOT, |lab| {
        let images = small_image(lab)?;
        let evil = RelPath::from_absolute(b"/\x1b]0;x\x07\nError: done")?;
        forge::mounts(&images, |mounts| {
            for mount in mounts.namespaces[0].mounts.iter_mut().skip(1) {
                if mount.mountpoint.as_bytes() == b"run" {
                    mount.mountpoint = evil.clone();
                }
            }
        })?;
        let host = Table::own()?;
        // There is no such directory.
        let output = restore(lab, &images, &AUTO)?;
        refused(&output, 6, &host)?;
        ensure!(output.stderr.contains("\\033]0;x"), "{}", output.stderr);
        for verb in ["show", "tree", "graph", "verify"] {
            harmless(&lab.programs.image(verb, &[&images])?)?;
        }
        Ok(())
    });
}

#[test]
fn root_cve_2019_19921_proc_and_sys_that_are_symlinks_are_not_followed() {
    Lab::test(Setup::ROOT, |lab| {
        let images = small_image(lab)?;
        for outside in ["outside", "small/outside", "small/srv/outside"] {
            fs::create_dir_all(lab.path(outside))?;
        }
        let host = Table::own()?;
        // CVE-2023-27561 is the same again, with a relative link.
        for (name, to) in [
            ("proc", "/srv/outside"),
            ("sys", "../outside"),
            ("run", "dev"),
            ("proc", "."),
        ] {
            let place = lab.path("small").join(name);
            fs::remove_dir(&place)?;
            symlink(to, &place)?;
            let options = [&AUTO[..], &["--", "/bin/true"]].concat();
            let output = restore(lab, &images, &options)?;
            refused(&output, 6, &host).with_context(|| format!("{name} -> {to}"))?;
            // Where it leads there is a directory: whoever follows it mounts, and differs later.
            let refusal = [
                format!("at /{name} of"),
                "move_mount(".into(),
                "EINVAL".into(),
            ];
            let named = refusal.iter().all(|words| output.stderr.contains(words));
            ensure!(named, "{name} -> {to}: {}", output.stderr);
            fs::remove_file(&place)?;
            fs::create_dir(&place)?;
        }
        Ok(())
    });
}

#[test]
fn root_cve_2025_31133_a_dev_null_that_is_another_file_masks_nothing() {
    Lab::test(Setup::ROOT, |lab| {
        let images = small_image(lab)?;
        let fakes = [
            lab.path("regular"),
            lab.path("link"),
            PathBuf::from("/dev/zero"),
        ];
        fs::write(&fakes[0], "")?;
        symlink("/proc/sys/kernel/core_pattern", &fakes[1])?;
        let host = Table::own()?;
        for fake in &fakes {
            let source = format!("/etc/masked={}", fake.display());
            let options = [
                "--external",
                "auto",
                "--external",
                &source,
                "--",
                "/bin/true",
            ];
            refused(&restore(lab, &images, &options)?, 2, &host).with_context(|| source.clone())?;
        }
        // The host's own /dev/null is another one now.
        crux_tests::mounting::bind(
            &fakes[0],
            Path::new("/dev/null"),
            crux_tests::mounting::Depth::One,
        )?;
        let host = Table::own()?;
        refused(&restore(lab, &images, &AUTO)?, 2, &host)
    });
}
