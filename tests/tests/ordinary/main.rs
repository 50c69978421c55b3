//! Users who are not root: members of group crux with installed executables, and
//! anybody at all in a user namespace.

mod check;
mod rootless;

use anyhow::{Context as _, Result, ensure};
use crux_dump::roles::spec as dump;
use crux_restore::roles::spec as restore;
use crux_role::{Capability, file_capabilities};
use crux_tests::blueprint::vivid;
use crux_tests::{Container, Lab, Output, Running, Setup, Sharing, Spec, Table};
use nix::sched::CloneFlags;
use nix::unistd::{Gid, Uid, chown};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const USER: u32 = 4241;
const GROUP: u32 = 4242;
const AUTO: [&str; 2] = ["--external", "auto"];

/// Runs a program as a user with one group more.
fn run_as(group: u32, program: &Path, arguments: &[&str]) -> Result<Output> {
    let (user, group) = (USER.to_string(), group.to_string());
    let program = program.to_string_lossy();
    // setpriv still holds capabilities when it executes something; env does not.
    let identity = ["--reuid", &user, "--regid", &user, "--groups", &group];
    let fixed = [&identity[..], &["/usr/bin/env", &program]].concat();
    let words = fixed.iter().chain(arguments);
    Running::start(Path::new("/usr/bin/setpriv"), words)?.finish()
}

/// As `cargo xtask install` does it.
fn installed(lab: &Lab, program: &Path, roles: &[&[Capability]]) -> Result<PathBuf> {
    let capabilities = file_capabilities(roles.iter().copied());
    let name = program.file_name().context("no name")?;
    let place = lab.path("bin").join(name);
    fs::create_dir_all(lab.path("bin"))?;
    fs::copy(program, &place)?;
    chown(&place, Some(Uid::from_raw(0)), Some(Gid::from_raw(GROUP)))?;
    fs::set_permissions(&place, fs::Permissions::from_mode(0o750))?;
    let set = Command::new("/usr/sbin/setcap")
        .arg(&capabilities)
        .arg(&place)
        .status()?;
    ensure!(set.success(), "setcap {capabilities}: {set}");
    Ok(place)
}

/// A directory of the user's own.
fn home(lab: &Lab) -> Result<PathBuf> {
    let home = lab.path("home");
    fs::create_dir(&home)?;
    chown(&home, Some(Uid::from_raw(USER)), Some(Gid::from_raw(USER)))?;
    Ok(home)
}

fn line<'a>(status: &'a str, name: &str) -> &'a str {
    let found = status.lines().find_map(|line| line.strip_prefix(name));
    found.map_or("", |rest| rest.trim_start_matches(':').trim())
}

#[test]
fn root_a_member_of_group_crux_dumps_and_restores_and_nobody_else_does() {
    Lab::test(Setup::ROOT, |lab| {
        let dump = installed(lab, &lab.programs.dump, &dump::INSTALLED)?;
        let restore = installed(lab, &lab.programs.restore, &restore::INSTALLED)?;
        let images = home(lab)?.join("images");
        let images = images.to_string_lossy();
        let container = vivid::start(lab)?;
        let (host, pid) = (Table::own()?, container.pid.to_string());
        let all = ["--mounts-only", "--pid", &pid, "--images", &images];
        let all = [&all[..], &AUTO].concat();
        let stranger = run_as(GROUP + 1, &dump, &all)?;
        ensure!(!stranger.status.success(), "a stranger could start it");
        run_as(GROUP, &dump, &all)?.success("crux-dump")?;
        let command = ["--", "/bin/cat", "/proc/self/status"];
        let fixed = ["--mounts-only", "--images", &images];
        let all = [&fixed[..], &AUTO, &command].concat();
        let restored = run_as(GROUP, &restore, &all)?.success("crux-restore")?;
        let status = String::from_utf8(restored.stdout)?;
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            ensure!(line(&status, set) == "0000000000000000", "{set}: {status}");
        }
        ensure!(line(&status, "Seccomp") == "0", "{status}");
        ensure!(line(&status, "NoNewPrivs") == "0", "{status}");
        ensure!(
            line(&status, "Uid").starts_with(&USER.to_string()),
            "{status}"
        );
        ensure!(Table::own()? == host, "the host's table changed");
        Ok(())
    });
}

#[test]
fn root_anybody_restores_in_a_user_namespace_of_his_own() {
    // In a user namespace of one's own a shared mount of the host's is a slave.
    let setup = Setup {
        sharing: Sharing::Private,
        ..Setup::ROOT
    };
    Lab::test(setup, |lab| {
        let mut spec = Spec::new(lab.root("small")?);
        spec.namespaces = CloneFlags::empty();
        let build =
            |site: &crux_tests::Site<'_>| site.mount("tmpfs", "none", "/run", "rw,relatime", "");
        let container = Container::start(lab, &spec, build, || Ok(()))?;
        fs::write(container.path("/run/note"), "kept")?;
        let images = home(lab)?.join("images");
        lab.programs
            .dump(container.pid, &images, &AUTO)?
            .success("crux-dump")?;
        for entry in fs::read_dir(&images)?.map(|entry| entry.map(|entry| entry.path())) {
            chown(&entry?, Some(Uid::from_raw(USER)), None)?;
        }
        chown(&images, Some(Uid::from_raw(USER)), None)?;
        // Where cargo puts it, not everybody may go.
        let program = lab.path("crux-restore");
        fs::copy(&lab.programs.restore, &program)?;
        let host = Table::own()?;
        let images = images.to_string_lossy();
        let command = ["--", "/bin/cat", "/run/note"];
        let all = [&["--mounts-only", "--images", &images][..], &AUTO, &command].concat();
        let restored = run_as(USER, &program, &all)?.success("crux-restore")?;
        assert_eq!(restored.stdout, b"kept");
        ensure!(Table::own()? == host, "the host's table changed");
        Ok(())
    });
}
