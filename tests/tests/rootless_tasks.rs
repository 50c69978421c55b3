//! Containers whose first process is in a user namespace, with the pid namespace that this one owns: dumped
//! and restored with their processes.

use anyhow::{Result, ensure};
use crux_tests::{Cgroups, Lab, Runc, Running, Setup, Table};
use std::fs;
use std::path::Path;

const AUTO: [&str; 2] = ["--external", "auto"];

/// What is to be the same of a process.
fn seen(pid: u32) -> Result<Vec<String>> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let wanted = ["Uid", "Gid", "Groups", "Cap", "NoNewPrivs"];
    let lines = status.lines().map(str::to_owned);
    let mut all: Vec<_> = lines
        .filter(|line| wanted.iter().any(|it| line.starts_with(it)))
        .collect();
    for name in ["uid_map", "gid_map", "setgroups"] {
        all.push(fs::read_to_string(format!("/proc/{pid}/{name}"))?);
    }
    Ok(all)
}

/// What root can do in the container, as its user namespace owns the others.
const INSIDE: &str = "
set -e
/bin/busybox hostname renamed
/bin/busybox ip link set lo down
/bin/busybox mkdir /dev/shm/queues
/bin/busybox mount -t mqueue queues /dev/shm/queues
/bin/busybox umount /dev/shm/queues
/bin/busybox rmdir /dev/shm/queues
/bin/busybox hostname
";

#[test]
fn root_rootless_container_of_runc_goes_on() {
    Lab::test(Setup::ROOT, |lab| {
        let container = Runc::start(lab, &["--rootless"])?;
        let (host, table) = (Table::own()?, Table::of(container.pid)?);
        let before = seen(container.pid)?;
        let images = lab.path("images");
        lab.programs
            .dump_tasks(container.pid, &images, &AUTO)?
            .success("crux-dump")?;
        drop(container);
        let _cgroups = Cgroups::again(&table, &host)?;
        let restored = lab.programs.restore_tasks(&images, &AUTO)?;
        let (restored, pid) = restored.wait_for_cat()?;
        assert_eq!(seen(pid)?, before);
        let output = enter(pid)?.finish()?.success("nsenter")?;
        ensure!(output.stdout == b"renamed\n", "{output:?}");
        restored.finish()?.success("crux-restore")?;
        assert_eq!(Table::own()?, host, "something is left on the host");
        Ok(())
    });
}

fn enter(pid: u32) -> Result<Running> {
    let target = pid.to_string();
    let nsenter = ["--target", &target, "--all", "--preserve-credentials"];
    let shell = ["/bin/sh", "-c", INSIDE];
    Running::start(Path::new("/usr/bin/nsenter"), nsenter.iter().chain(&shell))
}
