//! eBPF programs that cannot be restored as they are: each is named, and waived where the operator says so. Those that
//! can: `tasks.rs`, and with their attachments `lxc_tasks.rs`.

use anyhow::{Context as _, ensure};
use crux_image::tasks::PERMIT;
use crux_mount::sys::{BpfLoad, bpf_attach, bpf_load};
use crux_tests::workload::{ask, dump, images, is_refused, start};
use crux_tests::{Cgroups, Lab, Setup};
use std::fs::{self, File};

/// `BPF_PROG_TYPE_CGROUP_SKB`, `BPF_CGROUP_INET_INGRESS`
const CGROUP_SKB: u32 = 8;
const INGRESS: u32 = 0;

#[test]
fn root_a_program_that_cannot_be_read_is_refused_unless_it_may_be_replaced() {
    Lab::test(Setup::ROOT, |lab| {
        let mut container = start(lab, "ebpf-that-writes")?;
        let words = ["is an eBPF program (CGROUP_SKB, tag ", "--replace-bpf"];
        is_refused(lab, &mut container, &words)?;
        dump(lab, &container, &["--replace-bpf"])?;
        drop(container);
        let root = format!("--root={}", lab.path("root").display());
        let options = ["--external=auto", &root];
        let restored = lab
            .programs
            .restore_tasks_until_said(&images(lab), &options, "look")?;
        let said = String::from_utf8(restored.1)?;
        // It is of the same type, and another.
        ensure!(said.contains("the tag: "), "{said}");
        ensure!(!said.contains("the type: "), "{said}");
        Ok(())
    });
}

#[test]
fn root_a_program_that_nobody_has_open_is_refused_unless_it_may_be_left_out() {
    Lab::test(Setup::ROOT, |lab| {
        let cgroups = Cgroups::new(&lab.name(), &["unified"])?;
        let mut container = start(lab, "cgroup-namespace")?;
        let top = cgroups.paths().next().context("a cgroup")?;
        let first = container.pid.as_raw().unsigned_abs();
        fs::write(top.join("cgroup.procs"), first.to_string())?;
        // It makes its namespace.
        ask(&mut container)?;
        let below = top.join("service");
        fs::create_dir(&below)?;
        let program = bpf_load(&BpfLoad {
            kind: CGROUP_SKB,
            expected: 0,
            name: b"",
            gpl: true,
            instructions: &PERMIT,
        })?;
        bpf_attach(&File::open(&below)?, &program, INGRESS, 0)?;
        let words = [
            "no process of the container has open",
            "/service\"; --replace-bpf",
        ];
        is_refused(lab, &mut container, &words)?;
        dump(lab, &container, &["--replace-bpf"])?;
        Ok(())
    });
}
