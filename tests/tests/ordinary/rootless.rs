//! A rootless container with its processes: a member of group crux dumps and restores it, and whose it is restores it with no
//! privilege at all.

use super::{GROUP, USER, home, installed, line, run_as};
use anyhow::{Result, ensure};
use crux_dump::roles::spec as dump;
use crux_restore::roles::spec as restore;
use crux_tests::{Detached, Lab, Running, Setup, Table, keep_to_streams, patience};
use nix::unistd::{Gid, Uid, chown};
use std::fs;
use std::path::Path;
use std::time::Instant;

/// Becomes a container beneath `$0`, in which a child ends that nobody waits for, and counts.
const CONTAINER: &str = r#"
set -e
mount --bind "$0" "$0"
cd "$0"
mount -t proc proc proc
mount -t tmpfs -o mode=755 tmp tmp
mount -t tmpfs -o mode=755 dev dev
: > dev/null
busybox pivot_root . run
cd /
exec /bin/sh -c '
    umount -l /run
    exec 0<>/tmp/log >&0 2>&0
    (busybox true & exec sleep 3600) &
    n=0
    while :; do n=$((n + 1)); echo $n > /tmp/count; sleep 0.02; done
'"#;

/// Starts it; the number of its first process.
fn start(root: &Path) -> Result<(Running, u32)> {
    keep_to_streams()?;
    let user = USER.to_string();
    let identity = ["--reuid", &user, "--regid", &user, "--groups", &user];
    let root = root.to_string_lossy();
    let unshare = ["/usr/bin/env", "unshare", "-Urpfmnui", "/bin/sh", "-c"];
    let words = [&identity[..], &unshare, &[CONTAINER, &root]].concat();
    let running = Running::start(Path::new("/usr/bin/setpriv"), words)?;
    let start = Instant::now();
    loop {
        // unshare(1) forks: what it has started is in the new pid namespace.
        let found = running.children().first().copied();
        if let Some(pid) = found.filter(|pid| count(*pid).is_some() && has_zombie(*pid)) {
            return Ok((running, pid));
        }
        ensure!(
            start.elapsed() < patience(20),
            "the container does not begin"
        );
        std::thread::yield_now();
    }
}

/// How far the process has counted. For a moment there is nothing in the file.
fn count(pid: u32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/root/tmp/count")).ok()?;
    text.trim().parse().ok()
}

/// Whether one waits for its parent in there. Those that the count needs come and go.
fn has_zombie(pid: u32) -> bool {
    let processes = fs::read_dir(format!("/proc/{pid}/root/proc")).into_iter();
    let status = processes.flatten().flatten().filter_map(|entry| {
        let status = fs::read_to_string(entry.path().join("status"));
        status.ok()
    });
    let mut names = status.filter(|it| line(it, "State").starts_with('Z'));
    names.any(|it| line(&it, "Name") == "busybox")
}

#[test]
fn root_a_rootless_container_is_restored_by_a_member_and_without_any_privilege() {
    Lab::test(Setup::ROOT, |lab| {
        let dump = installed(lab, &lab.programs.dump, &dump::INSTALLED)?;
        let root = lab.root("rootless")?;
        chown(&root, Some(Uid::from_raw(USER)), Some(Gid::from_raw(USER)))?;
        let (starter, pid) = start(&root)?;
        let place = home(lab)?;
        let (images, pidfile) = (place.join("images"), place.join("pid"));
        let (images, pid) = (images.to_string_lossy(), pid.to_string());
        let options = ["--pid", &pid, "--images", &images, "--external", "auto"];
        run_as(GROUP, &dump, &options)?.success("crux-dump")?;
        drop(starter);

        // Where cargo puts it, not everybody may go.
        let program = lab.path("crux-restore");
        fs::copy(&lab.programs.restore, &program)?;
        let host = Table::own()?;
        let (root, pidfile) = (root.to_string_lossy(), pidfile.to_string_lossy());
        let fixed = ["--images", &images, "--root", &root, "--external", "auto"];
        let options = [&fixed[..], &["--detach", "--pidfile", &pidfile]].concat();
        let other = run_as(GROUP, &program, &options)?;
        ensure!(other.code() == Some(4), "{}", other.stderr);
        ensure!(other.stderr.contains("other groups"), "{}", other.stderr);
        run_as(USER, &program, &options)?.success("crux-restore")?;
        counts_on(&pidfile)?;

        let program = installed(lab, &lab.programs.restore, &restore::INSTALLED)?;
        fs::remove_file(&*pidfile)?;
        run_as(GROUP, &program, &options)?.success("crux-restore")?;
        counts_on(&pidfile)?;
        ensure!(Table::own()? == host, "the host's table changed");
        Ok(())
    });
}

/// What was restored is what it was; then it is ended.
fn counts_on(pidfile: &str) -> Result<()> {
    let restored = Detached::named(Path::new(pidfile))?;
    let pid = restored.pid();
    let (start, mut first) = (Instant::now(), None);
    while first.is_none() || count(pid).is_none_or(|it| Some(it) <= first) {
        first = first.or_else(|| count(pid));
        ensure!(start.elapsed() < patience(20), "it counts no more");
        std::thread::yield_now();
    }
    ensure!(has_zombie(pid), "its zombie is missing");
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let user = USER.to_string();
    ensure!(line(&status, "Uid").starts_with(&user), "{status}");
    ensure!(line(&status, "Groups") == user, "{status}");
    ensure!(line(&status, "NSpid").ends_with("\t1"), "{status}");
    Ok(())
}
