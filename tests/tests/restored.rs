//! Whole containers, dumped, ended and restored, and compared with what they were.

use anyhow::{Result, ensure};
use crux_tests::blueprint::{lxc5, systemd, vivid};
use crux_tests::{Container, Lab, Reach, Running, Setup, Table, differences, reach};
use std::path::{Path, PathBuf};

/// What a container was like.
struct Memory {
    table: Table,
    reach: Reach,
    host: Table,
}

/// Notes everything, dumps, and ends the container.
fn dump_and_end(lab: &Lab, container: Container, options: &[&str]) -> Result<Memory> {
    let pid = container.pid.as_raw().unsigned_abs();
    let memory = Memory {
        table: Table::of(pid)?,
        reach: reach(pid)?,
        host: Table::own()?,
    };
    lab.programs
        .dump(pid, &images(lab), options)?
        .success("crux-dump")?;
    let after = Table::own()?;
    ensure!(
        memory.host == after,
        "the dump changed the host's table:\n{after}"
    );
    ensure!(
        memory.table == Table::of(pid)?,
        "the dump changed the container's table"
    );
    Ok(memory)
}

fn images(lab: &Lab) -> PathBuf {
    lab.path("images")
}

/// Restores with `cat` as COMMAND, and compares.
fn restore_and_compare(lab: &Lab, memory: &Memory, options: &[&str]) -> Result<Running> {
    let command = ["--", "/bin/cat"];
    let options = [options, &command].concat();
    let (restored, pid) = lab
        .programs
        .restore(&images(lab), &options)?
        .wait_for_cat()?;
    let table = Table::of(pid)?;
    let different = differences(&memory.table, &table, &memory.host);
    ensure!(different.is_empty(), "{}", different.join("\n"));
    assert_eq!(
        Table::own()?,
        memory.host,
        "the restore changed the host's table"
    );
    assert_eq!(
        reach(pid)?,
        memory.reach,
        "mounts appear elsewhere than before"
    );
    Ok(restored)
}

fn finish(lab: &Lab, restored: Running, host: &Table) -> Result<()> {
    restored.finish()?.success("crux-restore")?;
    assert_eq!(&Table::own()?, host, "the host's table is not what it was");
    ensure!(!Path::new(&format!("{}.partial", images(lab).display())).exists());
    Ok(())
}

const AUTO: [&str; 2] = ["--external", "auto"];

#[test]
fn root_vivid_table_is_restored() {
    Lab::test(Setup::ROOT, |lab| {
        let memory = dump_and_end(lab, vivid::start(lab)?, &AUTO)?;
        let restored = restore_and_compare(lab, &memory, &AUTO)?;
        finish(lab, restored, &memory.host)
    });
}

#[test]
fn root_vivid_masters_given_by_slave_mount_map() {
    Lab::test(Setup::ROOT, |lab| {
        let maps = vivid::slave_mount_maps(lab);
        let maps = maps.iter().flat_map(|map| ["--slave-mount-map", map]);
        let options: Vec<&str> = AUTO.into_iter().chain(maps).collect();
        let memory = dump_and_end(lab, vivid::start(lab)?, &options)?;
        let restored = restore_and_compare(lab, &memory, &options)?;
        finish(lab, restored, &memory.host)
    });
}

#[test]
fn root_vivid_tmpfs_contents_are_restored() {
    Lab::test(Setup::ROOT, |lab| {
        let memory = dump_and_end(lab, vivid::start(lab)?, &AUTO)?;
        let command = [&AUTO[..], &["--", "/bin/cat", "/dev/.lxc-note"]].concat();
        let output = lab.programs.restore(&images(lab), &command)?.finish()?;
        let output = output.success("crux-restore")?;
        assert_eq!(output.stdout, b"kept across the restore\n");
        assert_eq!(Table::own()?, memory.host);
        Ok(())
    });
}

#[test]
fn root_lxc5_table_is_restored() {
    Lab::test(Setup::ROOT, |lab| {
        let (container, _terminals) = lxc5::start(lab)?;
        let memory = dump_and_end(lab, container, &AUTO)?;
        let restored = restore_and_compare(lab, &memory, &AUTO)?;
        finish(lab, restored, &memory.host)
    });
}

#[test]
fn root_systemd_table_is_restored() {
    Lab::test(Setup::ROOT, |lab| {
        let (container, _host) = systemd::start(lab)?;
        let memory = dump_and_end(lab, container, &AUTO)?;
        let restored = restore_and_compare(lab, &memory, &AUTO)?;
        finish(lab, restored, &memory.host)
    });
}

#[test]
fn root_restored_container_can_be_dumped_again() {
    Lab::test(Setup::ROOT, |lab| {
        let memory = dump_and_end(lab, vivid::start(lab)?, &AUTO)?;
        let options = [&AUTO[..], &["--", "/bin/cat"]].concat();
        let (restored, pid) = lab
            .programs
            .restore(&images(lab), &options)?
            .wait_for_cat()?;
        let again = lab.path("again");
        lab.programs
            .dump(pid, &again, &AUTO)?
            .success("crux-dump")?;
        restored.finish()?.success("crux-restore")?;
        let (restored, pid) = lab.programs.restore(&again, &options)?.wait_for_cat()?;
        let different = differences(&memory.table, &Table::of(pid)?, &memory.host);
        ensure!(different.is_empty(), "{}", different.join("\n"));
        finish(lab, restored, &memory.host)
    });
}

#[test]
fn root_exit_status_of_command_is_passed_on() {
    Lab::test(Setup::ROOT, |lab| {
        dump_and_end(lab, vivid::start(lab)?, &AUTO)?;
        let options = [&AUTO[..], &["--", "/bin/sh", "-c", "exit 41"]].concat();
        let output = lab.programs.restore(&images(lab), &options)?.finish()?;
        assert_eq!(output.code(), Some(41), "{}", output.stderr);
        Ok(())
    });
}

#[test]
fn root_pin_keeps_the_namespace_as_a_file() {
    Lab::test(Setup::ROOT, |lab| {
        let memory = dump_and_end(lab, vivid::start(lab)?, &AUTO)?;
        let pin = lab.path("pin");
        let place = pin.to_string_lossy().into_owned();
        let options = [&AUTO[..], &["--pin", &place]].concat();
        lab.programs
            .restore(&images(lab), &options)?
            .finish()?
            .success("crux-restore")?;
        let enter = [
            format!("--mount={place}"),
            "/bin/cat".into(),
            "/proc/self/mountinfo".into(),
        ];
        let found = Running::start(Path::new("/usr/bin/nsenter"), enter)?.finish()?;
        // `self` is no process of the restored /proc, if that is of another pid namespace.
        if found.status.success() {
            let table = Table::parse(&found.stdout)?;
            let different = differences(&memory.table, &table, &memory.host);
            ensure!(different.is_empty(), "{}", different.join("\n"));
        }
        crux_tests::mounting::detach(&pin)?;
        std::fs::remove_file(&pin)?;
        assert_eq!(Table::own()?, memory.host);
        Ok(())
    });
}

#[test]
fn root_nothing_is_left_on_the_host() {
    let table = Table::own().unwrap();
    Lab::test(Setup::ROOT, |lab| {
        // One that no other program of the machine writes to.
        let temporary = Path::new("/tmp");
        crux_tests::mounting::new("tmpfs", "tmp", temporary, "rw", "mode=1777")?;
        let memory = dump_and_end(lab, vivid::start(lab)?, &AUTO)?;
        let restored = restore_and_compare(lab, &memory, &AUTO)?;
        finish(lab, restored, &memory.host)?;
        // And where nothing is granted, so that the restore stops.
        let refused = lab.programs.restore(&images(lab), &[""; 0])?.finish()?;
        assert_eq!(refused.code(), Some(3), "{}", refused.stderr);
        assert_eq!(Table::own()?, memory.host);
        assert_eq!(std::fs::read_dir(temporary)?.count(), 0);
        Ok(())
    });
    assert_eq!(Table::own().unwrap(), table);
}
