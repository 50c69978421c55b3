//! Each type of file system that a container can have: made anew, from outside, or refused by name.

use anyhow::{Context as _, Result};
use crux_tests::mounting::{self, Depth};
use crux_tests::scenario::{self, AUTO, Case, all_survive};
use crux_tests::{Lab, Setup, Site, Table, in_child};
use nix::mqueue::{MQ_OFlag, MqAttr, MqdT, mq_close, mq_getattr, mq_open, mq_send};
use nix::sched::CloneFlags;
use nix::sys::stat::Mode;
use std::fs;
use std::os::fd::AsRawFd as _;
use std::path::Path;

const CAREFUL: &str = "rw,nosuid,nodev,noexec,relatime";

const OWN: &[Case] = &[
    Case {
        name: "tmpfs and ramfs with options",
        build: |_, site| {
            let options = "size=2m,nr_inodes=1000,mode=1770,uid=5,gid=6";
            site.mount("tmpfs", "t", "/t", "rw,relatime", options)?;
            site.mount("tmpfs", "z", "/z", "rw,relatime", "size=0,nr_inodes=0")?;
            site.mount("ramfs", "r", "/r", "rw,relatime", "mode=711")?;
            fs::write(site.at("/t/file"), "kept")?;
            Ok(fs::write(site.at("/r/file"), "kept")?)
        },
        workload: "grep -q kept /t/file; grep -q kept /r/file; test $(stat -c %a:%u:%g /t) = 1770:5:6; \
                   test $(stat -c %a /r) = 711",
        ..Case::PLAIN
    },
    Case {
        name: "proc, plain and with options",
        build: |_, site| {
            site.mount("proc", "proc", "/proc", CAREFUL, "")?;
            site.mount("proc", "proc", "/p/1", CAREFUL, "hidepid=invisible,gid=5")?;
            site.mount("proc", "proc", "/p/2", CAREFUL, "subset=pid")?;
            site.mount(
                "proc",
                "none",
                "/p/3",
                "ro,relatime",
                "hidepid=ptraceable,subset=pid",
            )
        },
        workload: "test -d /proc/self; test -f /proc/mounts; test ! -e /p/2/meminfo; test -e /p/1/meminfo",
        ..Case::PLAIN
    },
    Case {
        name: "proc masked and read-only in part",
        build: |_, site| {
            site.mount("proc", "proc", "/proc", CAREFUL, "")?;
            let at = |path: &str| site.at(path);
            site.bind(
                &at("/proc/sys"),
                "/proc/sys",
                "ro,nosuid,nodev,noexec,relatime",
            )?;
            site.bind(&at("/proc/sys/net"), "/proc/sys/net", CAREFUL)?;
            // A kernel without the one has the other.
            let files = ["/proc/sysrq-trigger", "/proc/uptime"];
            for file in files.into_iter().filter(|file| at(file).exists()) {
                site.bind(&at(file), file, "ro,relatime")?;
            }
            site.bind(
                Path::new("/dev/null"),
                "/proc/version",
                "rw,nosuid,noexec,relatime",
            )?;
            site.mount("tmpfs", "tmpfs", "/proc/fs", "ro,relatime", "size=0")
        },
        workload: "test -c /proc/version; test -d /proc/sys/net; test -d /proc/self",
        ..Case::PLAIN
    },
    Case {
        name: "sysfs on itself, read-only over writable, on a directory in it, and a part over that",
        build: |_, site| {
            site.mount("sysfs", "sysfs", "/sys", CAREFUL, "")?;
            // The kernel refuses a new mount of it there, but not a bind.
            site.bind(&site.at("/sys"), "/sys", "ro,nosuid,nodev,noexec,relatime")?;
            site.mount("sysfs", "other", "/sys/kernel", CAREFUL, "")?;
            site.bind(&site.at("/sys/kernel/fs"), "/sys/kernel/fs", "ro,relatime")
        },
        workload: "test -d /sys/kernel/kernel; test -d /sys/kernel/fs",
        ..Case::PLAIN
    },
    Case {
        name: "devpts of its own, with options, and its ptmx",
        build: |_, site| {
            let options = "newinstance,gid=5,mode=620,ptmxmode=666,max=40";
            site.mount(
                "devpts",
                "devpts",
                "/pts",
                "rw,nosuid,noexec,relatime",
                options,
            )?;
            site.bind(&site.at("/pts/ptmx"), "/ptmx", "rw,nosuid,noexec,relatime")
        },
        workload: "test -c /ptmx; test $(stat -c %a /pts/ptmx) = 666",
        ..Case::PLAIN
    },
    Case {
        name: "mqueue, empty, of an ipc namespace of its own",
        namespaces: CloneFlags::CLONE_NEWIPC,
        build: |_, site| site.mount("mqueue", "mqueue", "/mq", CAREFUL, ""),
        workload: "test -d /mq",
        ..Case::PLAIN
    },
    Case {
        name: "mqueue of the host's ipc namespace",
        build: |_, site| site.mount("mqueue", "mqueue", "/mq", CAREFUL, ""),
        ..Case::PLAIN
    },
    Case {
        name: "sysfs of a net namespace of its own",
        namespaces: CloneFlags::CLONE_NEWNET,
        build: |_, site| site.mount("sysfs", "sysfs", "/sys", CAREFUL, ""),
        workload: "test -d /sys/class/net/lo; test ! -e /sys/class/net/eth0",
        ..Case::PLAIN
    },
];

#[test]
fn root_own_file_systems_are_restored() {
    all_survive(Setup::ROOT, OWN);
}

/// Whether the kernel of this machine has a file system.
fn known(fs: &str) -> bool {
    let all = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    all.lines()
        .any(|line| line.split_whitespace().last() == Some(fs))
}

/// A container with one new mount of this type.
fn survives(name: &'static str, options: &'static str, workload: &'static str) {
    assert!(known(name), "this kernel has no {name}");
    Lab::test(Setup::ROOT, |lab| {
        let container = container(lab, name, options)?;
        let case = Case {
            workload,
            ..Case::PLAIN
        };
        let memory = scenario::dump_and_end(lab, container, &case)?;
        scenario::restore(lab, &memory, &case).context(name)
    });
}

fn container(lab: &Lab, name: &str, options: &str) -> Result<crux_tests::Container> {
    let mut spec = crux_tests::Spec::new(lab.root("root")?);
    spec.namespaces = CloneFlags::empty();
    let source = source(name)?;
    let build = |site: &Site<'_>| site.mount(name, &source, "/on", CAREFUL, options);
    crux_tests::Container::start(lab, &spec, build, || Ok(()))
}

/// What there is once in a machine is bound from the host, and called what it is there:
/// Debian's /dev is a devtmpfs called udev.
fn source(name: &str) -> Result<String> {
    let host = Table::own()?;
    let known = host.0.iter().find(|entry| entry.fs_type == name);
    Ok(known.map_or(name, |entry| &entry.source).to_owned())
}

#[test]
fn root_file_systems_that_may_not_be_in_the_kernel_are_restored_where_they_are() {
    let types = [
        ("hugetlbfs", "pagesize=2M,mode=700", "test -d /on"),
        ("bpf", "mode=700", "test -d /on"),
        ("debugfs", "", "test -d /on"),
        ("tracefs", "", "test -d /on"),
        ("securityfs", "", "test -d /on"),
        ("pstore", "", "test -d /on"),
        ("fusectl", "", "test -d /on"),
        ("configfs", "", "test -d /on"),
        ("binfmt_misc", "", "test -f /on/status"),
        ("cgroup2", "", "test -f /on/cgroup.procs"),
        ("devtmpfs", "", "test -c /on/null"),
    ];
    let here = types.iter().filter(|(name, ..)| known(name));
    let mut count = 0;
    for (name, options, workload) in here {
        survives(name, options, workload);
        count += 1;
    }
    assert!(count > 0, "this kernel has none of them");
}

/// An ipc namespace with an mqueue on /mq and a queue in it, which another mount shows alone.
const QUEUES: Case = Case {
    namespaces: CloneFlags::CLONE_NEWIPC,
    build: |_, site| {
        site.mount("mqueue", "mqueue", "/mq", CAREFUL, "")?;
        let queue = make_queue(c"/a queue", 7, 100)?;
        site.bind(&site.at("/mq/a queue"), "/one", CAREFUL)?;
        std::os::unix::fs::chown(site.at("/mq/a queue"), Some(1000), Some(1001))?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o640);
        fs::set_permissions(site.at("/mq/a queue"), mode)?;
        Ok(mq_close(queue)?)
    },
    workload: "test $(stat -c %u:%g:%a '/mq/a queue') = 1000:1001:640; grep -q QSIZE:0 '/mq/a queue'; \
               test $(stat -c %i /one) = $(stat -c %i '/mq/a queue')",
    ..Case::PLAIN
};

fn make_queue(name: &std::ffi::CStr, messages: i64, length: i64) -> Result<MqdT> {
    let flags = MQ_OFlag::O_CREAT | MQ_OFlag::O_EXCL | MQ_OFlag::O_RDWR;
    let attributes = MqAttr::new(0, messages, length, 0);
    Ok(mq_open(name, flags, Mode::S_IRWXU, Some(&attributes))?)
}

#[test]
fn root_queues_without_messages_are_restored() {
    Lab::test(Setup::ROOT, |lab| {
        scenario::survives(lab, &QUEUES)?;
        let command = [&AUTO[..], &["--", "/bin/cat"]].concat();
        let started = lab.programs.restore(&scenario::images(lab), &command)?;
        let (restored, pid) = started.wait_for_cat()?;
        let answer = in_child(|| {
            let namespace = fs::File::open(format!("/proc/{pid}/ns/ipc"))?;
            nix::sched::setns(namespace, CloneFlags::CLONE_NEWIPC)?;
            let queue = mq_open(c"/a queue", MQ_OFlag::O_RDONLY, Mode::empty(), None)?;
            let found = mq_getattr(&queue)?;
            Ok(format!("{} {} {}", found.maxmsg(), found.msgsize(), found.curmsgs()).into())
        });
        assert_eq!(answer?, b"7 100 0");
        restored.finish()?.success("crux-restore").map(drop)
    });
}

/// Messages cannot be read without taking them: refused by name, with the reason, and left alone.
#[test]
fn root_queues_with_messages_are_refused_by_name() {
    Lab::test(Setup::ROOT, |lab| {
        let case = Case {
            build: |lab, site| {
                (QUEUES.build)(lab, site)?;
                let queue = make_queue(c"/full", 2, 10)?;
                mq_send(&queue, b"message", 1)?;
                Ok(mq_close(queue)?)
            },
            workload: "grep -q QSIZE:7 /mq/full",
            ..QUEUES
        };
        refused(lab, &case, &AUTO, "queue \"full\" has 1 messages")
    });
}

/// Pages of a pool, programs of the kernel's: neither can be made again.
#[test]
fn root_hugetlbfs_with_files_is_refused_by_name() {
    assert!(known("hugetlbfs"), "this kernel has no hugetlbfs");
    Lab::test(Setup::ROOT, |lab| {
        let case = Case {
            build: |_, site| {
                site.mount("hugetlbfs", "pool", "/huge", CAREFUL, "")?;
                Ok(fs::write(site.at("/huge/file"), "")?)
            },
            ..Case::PLAIN
        };
        refused(lab, &case, &AUTO, "/huge (hugetlbfs")
    });
}

#[test]
fn root_bpf_with_pins_is_refused_by_name() {
    assert!(known("bpf"), "this kernel has no bpf file system");
    Lab::test(Setup::ROOT, |lab| {
        let case = Case {
            build: |_, site| {
                site.mount("bpf", "bpf", "/bpf", CAREFUL, "")?;
                Ok(fs::create_dir(site.at("/bpf/pins"))?)
            },
            ..Case::PLAIN
        };
        refused(lab, &case, &AUTO, "/bpf (bpf")
    });
}

fn refused(lab: &Lab, case: &Case, options: &[&str], word: &str) -> Result<()> {
    let container = scenario::start(lab, case)?;
    let images = scenario::images(lab);
    let output = lab.programs.dump(container.pid, &images, options)?;
    assert_eq!(output.code(), Some(3), "{}", output.stderr);
    assert!(output.stderr.contains(word), "{}", output.stderr);
    assert!(!images.exists());
    Ok(())
}

#[test]
fn root_overlay_has_to_be_declared_and_is_restored() {
    assert!(known("overlay"), "this kernel has no overlay");
    Lab::test(Setup::ROOT, |lab| {
        let merged = lab.path("merged");
        for name in ["lower", "upper", "work", "merged"] {
            fs::create_dir(lab.path(name))?;
        }
        fs::write(lab.path("lower/file"), "kept")?;
        let path = |name: &str| lab.path(name).display().to_string();
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            path("lower"),
            path("upper"),
            path("work")
        );
        mounting::new("overlay", "overlay", &merged, "rw,relatime", &options)?;
        let case = Case {
            build: |lab, site| site.bind(&lab.path("merged"), "/on", "rw,relatime"),
            workload: "grep -q kept /on/file; touch /on/new; rm /on/new",
            ..Case::PLAIN
        };
        refused(lab, &case, &[], "--external")?;
        scenario::survives(lab, &case)
    });
}

#[test]
fn root_nsfs_pins_are_external() {
    Lab::test(Setup::ROOT, |lab| {
        let pin = lab.path("pin");
        fs::write(&pin, "")?;
        mounting::propagation(lab.scratch(), mounting::Kind::Private, Depth::One)?;
        mounting::bind(Path::new("/proc/self/ns/uts"), &pin, Depth::One)?;
        let case = Case {
            build: |lab, site| site.bind(&lab.path("pin"), "/on", "rw"),
            workload: "test -f /on",
            ..Case::PLAIN
        };
        refused(lab, &case, &[], "--external")?;
        scenario::survives(lab, &case)
    });
}

#[test]
fn root_cgroup_v1_is_external() {
    let hierarchy = Path::new("/sys/fs/cgroup/pids");
    if !hierarchy.join("cgroup.procs").exists() {
        // This machine has none mounted; the blueprints make theirs where they can.
        return;
    }
    let case = Case {
        name: "cgroup v1",
        build: |_, site| site.bind(Path::new("/sys/fs/cgroup/pids"), "/on", CAREFUL),
        workload: "test -f /on/cgroup.procs",
        ..Case::PLAIN
    };
    all_survive(Setup::ROOT, &[case]);
}

/// Its daemon holds the other end of a pipe. (A type without a row in the table of file systems
/// cannot be made on every kernel: the tests of the judge have one.)
#[test]
fn root_autofs_is_refused_by_name() {
    assert!(known("autofs"), "this kernel has no autofs");
    Lab::test(Setup::ROOT, |lab| {
        let case = Case {
            build: |_, site| {
                let (_, daemon) = nix::unistd::pipe()?;
                let group = nix::unistd::getpgrp();
                let fd = daemon.as_raw_fd();
                let options = format!("fd={fd},pgrp={group},minproto=5,maxproto=5,indirect");
                site.mount("autofs", "daemon", "/auto", "rw,relatime", &options)
            },
            ..Case::PLAIN
        };
        refused(lab, &case, &AUTO, "autofs")
    });
}
