//! Containers of runc, dumped while they run, ended, and restored.

use anyhow::{Context as _, bail, ensure};
use crux_tests::{Cgroups, Lab, Runc, Setup, Table, differences, reach, terminals};
use rustix::process::{getpid, set_child_subreaper};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;

const AUTO: [&str; 2] = ["--external", "auto"];

/// The masks of the default configuration, and what is not masked.
const SHELL: &str = "
set -e
no() { echo \"$*\" >&2; exit 9; }
echo nothing > /dev/null
test -z \"$(cat /proc/keys)\"
test -z \"$(cat /proc/timer_list)\"
test -z \"$(ls /sys/firmware)\"
echo kept > /dev/shm/new
test $(cat /dev/shm/new) = kept
test $(cat /dev/shm/note) = from-before
if echo 1 > /proc/sys/vm/drop_caches; then no /proc/sys is read-only; fi
if echo anything > /new; then no the root is read-only; fi
";

#[test]
fn root_default_container_by_runc_is_restored() {
    is_restored(&[], SHELL);
}

/// In a user namespace, with the machine's /sys bound with all that is mounted in it: to its places there,
/// that user namespace could not take it away.
#[test]
fn root_rootless_container_by_runc_is_restored() {
    let script = format!("{SHELL}{LOCKED}");
    is_restored(&["--rootless"], &script);
}

const LOCKED: &str = "
for at in $(cut -d ' ' -f 5 /proc/self/mountinfo | grep ^/sys/kernel); do
    if umount $at; then no $at was unmounted; fi
done
if mount -o remount,bind,rw none /sys; then no /sys is writable; fi
";

fn is_restored(options: &'static [&'static str], script: &str) {
    let script = script.to_owned();
    Lab::test(Setup::ROOT, move |lab| {
        let container = Runc::start(lab, options)?;
        let (host, before) = (Table::own()?, Table::of(container.pid)?);
        let reached = reach(container.pid)?;
        let note = format!("/proc/{}/root/dev/shm/note", container.pid);
        std::fs::write(note, "from-before\n")?;
        let images = lab.path("images");
        lab.programs
            .dump(container.pid, &images, &AUTO)?
            .success("crux-dump")?;
        ensure!(before == Table::of(container.pid)?, "the dump changed it");
        container.stop()?;
        let cgroups = Cgroups::again(&before, &host)?;
        let options = [&AUTO[..], &["--", "/bin/cat"]].concat();
        let (restored, pid) = lab.programs.restore(&images, &options)?.wait_for_cat()?;
        let different = differences(&before, &Table::of(pid)?, &host);
        ensure!(different.is_empty(), "{}", different.join("\n"));
        assert_eq!(reach(pid)?, reached, "mounts appear elsewhere than before");
        restored.finish()?.success("crux-restore")?;
        let options = [&AUTO[..], &["--", "/bin/sh", "-xc", &script]].concat();
        let output = lab.programs.restore(&images, &options)?.finish()?;
        output.success("the shell in the restored container")?;
        drop(cgroups);
        assert_eq!(Table::own()?, host, "something is left on the host");
        Ok(())
    });
}

/// With its process: the streams are those of whoever restores it.
#[test]
fn root_runc_bundle_with_tasks() {
    Lab::test(Setup::ROOT, |lab| {
        let container = Runc::start(lab, &[])?;
        let (host, before) = (Table::own()?, Table::of(container.pid)?);
        let images = lab.path("images");
        lab.programs
            .dump_tasks(container.pid, &images, &AUTO)?
            .success("crux-dump")?;
        drop(container);
        let cgroups = Cgroups::again(&before, &host)?;
        let mut restored = lab.programs.restore_tasks(&images, &AUTO)?;
        restored.say("again")?;
        let output = restored.finish()?.success("crux-restore")?;
        ensure!(output.stdout.ends_with(b"again\n"), "{output:?}");
        drop(cgroups);
        assert_eq!(Table::own()?, host, "something is left on the host");
        Ok(())
    });
}

/// On a terminal, which whoever asked for it holds before and after.
#[test]
fn root_runc_bundle_on_a_terminal_is_handed_over_again() {
    Lab::test(Setup::ROOT, |lab| {
        set_child_subreaper(Some(getpid()))?;
        let (socket, images) = (lab.path("console"), lab.path("images"));
        let listener = UnixListener::bind(&socket)?;
        // It connects while this waits: the backlog of the listener is long enough.
        let container = Runc::on_a_terminal(lab, &socket)?;
        let master = terminals::receive(&listener)?.context("a terminal")?;
        let (host, before) = (Table::own()?, Table::of(container.pid)?);
        lab.programs
            .dump_tasks(container.pid, &images, &AUTO)?
            .success("crux-dump")?;
        drop((master, container));
        let cgroups = Cgroups::again(&before, &host)?;
        let option = format!("--console-socket={}", socket.display());
        let options = [&AUTO[..], &[&option]].concat();
        let restored = lab.programs.restore_tasks(&images, &options)?;
        let Some(mut master) = terminals::receive(&listener)? else {
            bail!("nothing came: {}", restored.finish()?.stderr);
        };
        master.write_all(b"echo a$((40+2)); exit\n")?;
        let output = restored.finish()?.success("crux-restore")?;
        let mut said = [0; 4096];
        let count = master.read(&mut said)?;
        let said = String::from_utf8_lossy(&said[..count]).into_owned();
        ensure!(said.contains("a42\r\n"), "{said:?} {output:?}");
        drop(cgroups);
        Ok(())
    });
}
