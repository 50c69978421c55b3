//! `cargo xtask deb`: a Debian package that installs what `cargo xtask install` does.
//!
//! Kind: shell. It is made with dpkg-deb, which every Debian has; cargo-deb takes
//! minutes to build and would want the lists of capabilities a second time, in a script.

use crate::cargo::{Profile, build, succeed, target, workspace};
use crate::executables::{self, Executable, GROUP};
use anyhow::{Context as _, Result};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where the package goes; target/deb if nothing is said
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

const DOCUMENTS: [&str; 4] = ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"];

pub(crate) fn run(options: &Options) -> Result<()> {
    let built = build(Profile::Release)?;
    let output = options
        .output
        .clone()
        .unwrap_or_else(|| target().join("deb"));
    let package = make(&built, &output, Compression::Small)?;
    println!("{}", package.display());
    Ok(())
}

/// What the package is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Compression {
    /// To be kept.
    Small,
    /// To be used once, at once.
    #[cfg(test)]
    None,
}

/// Makes the package of the executables in `built`, and says where it is.
fn make(built: &Path, output: &Path, compression: Compression) -> Result<PathBuf> {
    let tree = output.join("tree");
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    for executable in executables::all() {
        let mode = executable.mode();
        let from = built.join(executable.name);
        put(
            &tree.join("usr/bin").join(executable.name),
            &fs::read(from)?,
            mode,
        )?;
    }
    for name in DOCUMENTS {
        let text = fs::read(workspace().join(name))?;
        put(&tree.join("usr/share/doc/crux").join(name), &text, 0o644)?;
    }
    put(
        &tree.join("usr/share/doc/crux/copyright"),
        COPYRIGHT.as_bytes(),
        0o644,
    )?;
    put(
        &tree.join("DEBIAN/control"),
        control(built)?.as_bytes(),
        0o644,
    )?;
    put(&tree.join("DEBIAN/postinst"), postinst().as_bytes(), 0o755)?;
    let package = output.join(format!("crux_{VERSION}_{}.deb", architecture()));
    let mut command = Command::new("dpkg-deb");
    // Files belong to root until the postinst has made the group.
    command.arg("--root-owner-group").args(match compression {
        Compression::Small => ["-Zxz", "--build"],
        #[cfg(test)]
        Compression::None => ["-Znone", "--build"],
    });
    succeed(
        command
            .arg(&tree)
            .arg(&package)
            .stdout(std::process::Stdio::null()),
    )?;
    fs::remove_dir_all(&tree)?;
    Ok(package)
}

fn put(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let directory = path.parent().unwrap_or(path);
    fs::create_dir_all(directory).with_context(|| format!("mkdir {}", directory.display()))?;
    fs::write(path, bytes).with_context(|| format!("write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    // Whatever the umask is, others may look into the directories.
    for directory in path.ancestors().skip(1).take(4) {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

const COPYRIGHT: &str = "\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: the crux developers
License: MIT or Apache-2.0
 See LICENSE-MIT in this directory and /usr/share/common-licenses/Apache-2.0.
";

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn control(built: &Path) -> Result<String> {
    let libc = newest_libc(built)?;
    Ok(format!(
        "\
Package: crux
Version: {VERSION}
Architecture: {}
Maintainer: the crux developers <crux@localhost>
Section: admin
Priority: optional
Depends: libc6 (>= {libc}), libgcc-s1, libcap2-bin, passwd
Description: checkpoints and restores Linux containers
 crux-dump writes a running container to a directory, crux-restore brings it back,
 crux-image shows what is in such a directory. Members of the group crux may dump
 and restore; that is not far from being root.
",
        architecture()
    ))
}

/// The newest version of glibc that a symbol of the executables asks for.
fn newest_libc(built: &Path) -> Result<String> {
    const MARK: &[u8] = b"GLIBC_2.";
    let mut newest = 0;
    for executable in executables::all() {
        let bytes = fs::read(built.join(executable.name))?;
        let found = bytes
            .windows(MARK.len() + 2)
            .filter(|it| it.starts_with(MARK));
        let minor = found.filter_map(|it| {
            let digits = String::from_utf8_lossy(&it[MARK.len()..]).into_owned();
            digits
                .trim_end_matches(|c: char| !c.is_ascii_digit())
                .parse::<u32>()
                .ok()
        });
        newest = minor.fold(newest, u32::max);
    }
    Ok(format!("2.{newest}"))
}

/// The group stays when the package goes: files of its members may be left.
fn postinst() -> String {
    let mut script = format!(
        "\
#!/bin/sh
# File capabilities are not in a package. A new owner takes them away, so they come last.
set -e
[ \"$1\" = configure ] || exit 0
getent group {GROUP} >/dev/null || groupadd --system {GROUP}
"
    );
    for Executable { name, capabilities } in executables::all() {
        if let Some(capabilities) = capabilities {
            let _ = writeln!(
                script,
                "chgrp {GROUP} /usr/bin/{name}\nsetcap {capabilities} /usr/bin/{name}"
            );
        }
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::ensure;
    use crux_tests::blueprint::vivid;
    use crux_tests::{Lab, Output, Running, Setup, Table};
    use std::os::unix::fs::MetadataExt as _;

    const USER: &str = "4241";

    #[test]
    fn the_package_gives_what_the_roles_hold_together() {
        let script = postinst();
        let lists = [
            ("crux-dump", &crux_dump::roles::spec::INSTALLED[..]),
            ("crux-restore", &crux_restore::roles::spec::INSTALLED[..]),
        ];
        for (name, lists) in lists {
            let list = crux_role::file_capabilities(lists.iter().copied());
            assert!(
                script.contains(&format!("setcap {list} /usr/bin/{name}\n")),
                "{script}"
            );
        }
        assert!(!script.contains("crux-image"), "{script}");
    }

    fn run_as(group: &str, program: &Path, arguments: &[&str]) -> Result<Output> {
        let program = program.to_string_lossy();
        let identity = ["--reuid", USER, "--regid", USER, "--groups", group];
        let words = [&identity[..], &["/usr/bin/env", &program], arguments].concat();
        Running::start(Path::new("/usr/bin/setpriv"), words)?.finish()
    }

    /// A Debian to install into: this one, with what changes in memory.
    fn private_root(lab: &Lab) -> Result<PathBuf> {
        let [root, upper, work] = ["root", "upper", "work"].map(|name| lab.path(name));
        for directory in [&root, &upper, &work] {
            fs::create_dir(directory)?;
        }
        let layers = format!(
            "lowerdir=/,upperdir={},workdir={}",
            upper.display(),
            work.display()
        );
        let mut mount = Command::new("mount");
        succeed(
            mount
                .args(["-t", "overlay", "-o", &layers, "overlay"])
                .arg(&root),
        )?;
        Ok(root)
    }

    #[test]
    fn root_a_member_of_group_crux_uses_the_package_and_nobody_else_does() {
        Lab::test(Setup::ROOT, |lab| {
            let built = lab.programs.dump.parent().context("no directory")?;
            let package = make(built, lab.scratch(), Compression::None)?;
            let root = private_root(lab)?;
            let mut dpkg = Command::new("dpkg");
            dpkg.arg(format!("--root={}", root.display()))
                .args(["--force-depends", "--install"]);
            succeed(dpkg.arg(&package).stdout(std::process::Stdio::null()))?;
            let [dump, restore, image] = ["dump", "restore", "image"]
                .map(|name| root.join("usr/bin").join(format!("crux-{name}")));
            let found = fs::metadata(&dump)?;
            ensure!(found.mode() & 0o7777 == 0o750 && found.uid() == 0 && found.gid() != 0);
            let (member, stranger) = (found.gid().to_string(), (found.gid() + 1).to_string());
            let groups = fs::read_to_string(root.join("etc/group"))?;
            ensure!(groups.contains(&format!("\ncrux:x:{member}:")), "{groups}");

            let home = lab.path("home");
            fs::create_dir(&home)?;
            std::os::unix::fs::chown(&home, Some(4241), Some(4241))?;
            let (images, container) = (home.join("images"), vivid::start(lab)?);
            let (images, pid) = (images.to_string_lossy(), container.pid.to_string());
            let host = Table::own()?;
            let fixed = ["--mounts-only", "--external", "auto", "--images", &images];
            let all = [&fixed[..], &["--pid", &pid]].concat();
            for program in [&dump, &restore] {
                let output = run_as(&stranger, program, &["--check"])?;
                ensure!(
                    output.code() == Some(126),
                    "a stranger could start it: {output:?}"
                );
                run_as(&member, program, &["--check"])?.success("--check")?;
            }
            run_as(&member, &dump, &all)?.success("crux-dump")?;
            run_as(&member, &image, &["verify", &images])?.success("crux-image")?;
            let command = ["--", "/bin/cat", "/dev/.lxc-note"];
            let restored = run_as(&member, &restore, &[&fixed[..], &command].concat())?;
            let printed = restored.success("crux-restore")?.stdout;
            assert_eq!(printed, b"kept across the restore\n");
            ensure!(Table::own()? == host, "the host's table changed");
            Ok(())
        });
    }
}
