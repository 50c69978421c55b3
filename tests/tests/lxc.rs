//! Containers of LXC, dumped while they run, stopped, and restored.

use anyhow::{Context as _, Result, ensure};
use crux_tests::{Cgroups, Lab, Lxc, Running, Setup, Table, differences, in_child, reach};
use nix::sched::{CloneFlags, setns};
use rustix::fs::{Mode, OFlags, openat};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

const AUTO: [&str; 2] = ["--external", "auto"];

/// The mount tables of a process and its descendants, one for each namespace; its own first.
fn tables(pid: u32) -> Result<Vec<Table>> {
    let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/mnt"));
    let mut tables = BTreeMap::new();
    for pid in descendants(pid)? {
        if let Ok(id) = namespace(pid) {
            tables.entry(id).or_insert(Table::of(pid)?);
        }
    }
    let first = tables.remove(&namespace(pid)?).context("it has a table")?;
    Ok(std::iter::once(first).chain(tables.into_values()).collect())
}

fn descendants(pid: u32) -> Result<Vec<u32>> {
    let mut all = vec![pid];
    let mut at = 0;
    while let Some(&parent) = all.get(at) {
        for task in fs::read_dir(format!("/proc/{parent}/task"))?.flatten() {
            let text = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            all.extend(text.split_whitespace().flat_map(str::parse::<u32>));
        }
        at += 1;
    }
    Ok(all)
}

/// The tables of the namespaces that a restore holds.
fn held(restore: &Running) -> Result<Vec<Table>> {
    let own = fs::read_link("/proc/self/ns/mnt")?;
    let mut seen = vec![own];
    let mut tables = Vec::new();
    for fd in fs::read_dir(format!("/proc/{}/fd", restore.id()))?.flatten() {
        let link = fs::read_link(fd.path())?;
        if !link.to_string_lossy().starts_with("mnt:") || seen.contains(&link) {
            continue;
        }
        seen.push(link);
        let text = in_child(|| {
            // The machine's proc, as the container's shows other processes.
            let own = File::open("/proc/thread-self")?;
            setns(File::open(fd.path())?, CloneFlags::CLONE_NEWNS)?;
            let table = openat(&own, "mountinfo", OFlags::RDONLY, Mode::empty())?;
            let mut text = Vec::new();
            File::from(table).read_to_end(&mut text)?;
            Ok(text)
        })?;
        tables.push(Table::parse(&text)?);
    }
    Ok(tables)
}

/// The number of a new terminal is whichever is free.
fn with_console_of(before: &Table, mut after: Table) -> Table {
    let console = "/dev/console";
    let root = before.at(console).map(|entry| entry.root.clone());
    let new = after.0.iter_mut().find(|entry| entry.mountpoint == console);
    if let (Some(new), Some(root)) = (new, root) {
        new.root = root;
    }
    after
}

fn same(before: &Table, after: Table, host: &Table) -> Vec<String> {
    differences(before, &with_console_of(before, after), host)
}

#[test]
fn root_busybox_by_lxc_is_restored() {
    Lab::test(Setup::ROOT, |lab| {
        let container = Lxc::busybox(lab)?;
        let (host, before) = (Table::own()?, Table::of(container.pid)?);
        let reached = reach(container.pid)?;
        let images = lab.path("images");
        lab.programs
            .dump(container.pid, &images, &AUTO)?
            .success("crux-dump")?;
        ensure!(before == Table::of(container.pid)?, "the dump changed it");
        container.stop()?;
        let options = [&AUTO[..], &["--", "/bin/cat"]].concat();
        let (restored, pid) = lab.programs.restore(&images, &options)?.wait_for_cat()?;
        let different = same(&before, Table::of(pid)?, &host);
        ensure!(different.is_empty(), "{}", different.join("\n"));
        assert_eq!(reach(pid)?, reached, "mounts appear elsewhere than before");
        restored.finish()?.success("crux-restore")?;
        assert_eq!(Table::own()?, host, "something is left on the host");
        Ok(())
    });
}

/// What a user does in it, in the container's own shell.
const BUSYBOX: &str = "
set -e
no() { echo \"$*\" >&2; exit 9; }
echo nothing > /dev/null
test $(head -c 3 /dev/zero | wc -c) = 3
test \"$(cat /proc/sys/kernel/random/boot_id)\" = \"$(cat /dev/.lxc-boot-id)\"
test -c /dev/tty5
test -c /dev/ptmx
echo written > /dev/console
echo kept > /dev/shm/new
test $(cat /dev/shm/new) = kept
test $(cat /dev/shm/note) = from-before
test \"$(ls /sys/class/net)\" = lo
test -x /lib/systemd -o -d /lib/x86_64-linux-gnu
if touch /lib/new; then no /lib is read-only; fi
if echo 1 > /proc/sys/kernel/printk; then no /proc/sys is read-only; fi
if test -e /srv; then no this is the host; fi
";

#[test]
fn root_busybox_by_lxc_works_in_its_shell() {
    Lab::test(Setup::ROOT, |lab| {
        let container = Lxc::busybox(lab)?;
        let note = format!("/proc/{}/root/dev/shm/note", container.pid);
        fs::write(note, "from-before\n")?;
        let images = lab.path("images");
        lab.programs
            .dump(container.pid, &images, &AUTO)?
            .success("crux-dump")?;
        container.stop()?;
        let options = [&AUTO[..], &["--", "/bin/sh", "-xc", BUSYBOX]].concat();
        let output = lab.programs.restore(&images, &options)?.finish()?;
        output.success("the shell in the restored container")?;
        Ok(())
    });
}

#[test]
fn root_busybox_by_lxc_is_entered_by_its_pin() {
    Lab::test(Setup::ROOT, |lab| {
        let container = Lxc::busybox(lab)?;
        let images = lab.path("images");
        lab.programs
            .dump(container.pid, &images, &AUTO)?
            .success("crux-dump")?;
        container.stop()?;
        let pin = lab.path("pin");
        let place = pin.to_string_lossy().into_owned();
        let options = [&AUTO[..], &["--pin", &place]].concat();
        let output = lab.programs.restore(&images, &options)?.finish()?;
        let output = output.success("crux-restore")?;
        ensure!(output.stderr.contains("hang up"), "{}", output.stderr);
        let enter = [
            format!("--mount={place}"),
            "/bin/busybox".into(),
            "ls".into(),
            "/dev/mqueue/..".into(),
        ];
        let listed = Running::start(Path::new("/usr/bin/nsenter"), enter)?.finish()?;
        let listed = listed.success("nsenter")?;
        let names = String::from_utf8(listed.stdout)?;
        ensure!(names.lines().any(|name| name == "tty5"), "{names}");
        crux_tests::mounting::detach(&pin)?;
        Ok(fs::remove_file(&pin)?)
    });
}

#[test]
fn root_console_by_lxc_is_never_a_terminal_of_somebody_else() {
    Lab::test(Setup::ROOT, |lab| {
        let container = Lxc::busybox(lab)?;
        let before = Table::of(container.pid)?;
        let console = before.at("/dev/console").context("it has a console")?;
        let number = console.root.clone();
        let images = lab.path("images");
        lab.programs
            .dump(container.pid, &images, &AUTO)?
            .success("crux-dump")?;
        // It runs on, so its terminal is in use.
        let options = [&AUTO[..], &["--", "/bin/cat"]].concat();
        let (restored, pid) = lab.programs.restore(&images, &options)?.wait_for_cat()?;
        let after = Table::of(pid)?;
        let console = after.at("/dev/console").context("it has a console")?;
        assert_ne!(console.root, number);
        restored.finish()?.success("crux-restore")?;
        container.stop()
    });
}

#[test]
fn root_systemd_by_lxc_is_restored_with_the_namespaces_of_its_services() {
    Lab::test(Setup::ROOT, |lab| {
        let container = Lxc::systemd(lab)?;
        let (host, before) = (Table::own()?, tables(container.pid)?);
        ensure!(before.len() > 1, "no service has a namespace of its own");
        let images = lab.path("images");
        lab.programs
            .dump(container.pid, &images, &AUTO)?
            .success("crux-dump")?;
        ensure!(before == tables(container.pid)?, "the dump changed it");
        container.stop()?;
        restore_without_cgroups(lab, &images)?;
        let _cgroups = Cgroups::again(&before[0], &host)?;
        let options = [&AUTO[..], &["--", "/bin/cat"]].concat();
        let (restored, pid) = lab.programs.restore(&images, &options)?.wait_for_cat()?;
        let different = same(&before[0], Table::of(pid)?, &host);
        ensure!(different.is_empty(), "{}", different.join("\n"));
        let held = held(&restored)?;
        assert_eq!(held.len(), before.len());
        for table in &before {
            let fits = |other: &&Table| same(table, (*other).clone(), &host).is_empty();
            ensure!(held.iter().any(|other| fits(&other)), "lost: {table}");
        }
        restored.finish()?.success("crux-restore")?;
        assert_eq!(Table::own()?, host, "something is left on the host");
        Ok(())
    });
}

fn restore_without_cgroups(lab: &Lab, images: &Path) -> Result<()> {
    let output = lab.programs.restore(images, &AUTO)?.finish()?;
    assert_eq!(output.code(), Some(2), "{}", output.stderr);
    ensure!(output.stderr.contains("(mkdir)"), "{}", output.stderr);
    Ok(())
}
