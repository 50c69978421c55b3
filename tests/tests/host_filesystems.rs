//! File systems that only the host can provide, for real: one served by a process (fuse), one on a block
//! device, and an overlay whose options are longer than a page.

use anyhow::{Context as _, Result, ensure};
use crux_tests::scenario::{self, Case};
use crux_tests::{Lab, Setup, mounting};
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation,
    INodeNo, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEntry, Request,
};
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

const CONTENT: &[u8] = b"kept\n";

/// One directory with one file in it.
struct Served;

fn attributes(inode: INodeNo) -> FileAttr {
    let (kind, perm, size) = match inode == INodeNo::ROOT {
        true => (FileType::Directory, 0o755, 0),
        false => (FileType::RegularFile, 0o644, CONTENT.len() as u64),
    };
    let time = SystemTime::UNIX_EPOCH;
    FileAttr {
        ino: inode,
        size,
        blocks: 1,
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind,
        perm,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        flags: 0,
        blksize: 512,
    }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match name == "file" {
            true => reply.entry(&Duration::ZERO, &attributes(INodeNo(2)), Generation(0)),
            false => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&Duration::ZERO, &attributes(inode));
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        _: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let rest = usize::try_from(offset).ok();
        reply.data(rest.and_then(|at| CONTENT.get(at..)).unwrap_or_default());
    }
}

fn serve(at: &Path) -> Result<BackgroundSession> {
    fuser::spawn_mount(Served, at, &Config::default()).context("mount a fuse file system")
}

fn shown(lab: &Lab, case: &Case) -> Result<()> {
    let container = scenario::start(lab, case)?;
    let images = scenario::images(lab);
    let output = lab.programs.dump::<&str>(container.pid, &images, &[])?;
    ensure!(output.code() == Some(3), "{}", output.stderr);
    ensure!(output.stderr.contains("--external"), "{}", output.stderr);
    Ok(())
}

#[test]
fn root_fuse_of_the_host_has_to_be_declared_and_is_restored() {
    Lab::test(Setup::ROOT, |lab| {
        let served = lab.path("served");
        fs::create_dir(&served)?;
        let session = serve(&served)?;
        let case = Case {
            build: |lab, site| site.bind(&lab.path("served"), "/on", "rw,relatime"),
            workload: "grep -q kept /on/file && ! test -e /on/other",
            ..Case::PLAIN
        };
        shown(lab, &case)?;
        scenario::survives(lab, &case)?;
        session.umount_and_join().context("unmount")
    });
}

/// An ext4 in a file, on a loop device that goes with its last mount.
fn make_disk(lab: &Lab, at: &Path) -> Result<()> {
    let image = lab.path("disk");
    fs::File::create(&image)?.set_len(8 << 20)?;
    let run = |program: &str, arguments: &[&OsStr]| {
        let output = Command::new(program).args(arguments).output();
        let output = output.with_context(|| format!("{program} is needed"))?;
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{program}: {words}");
        Ok(())
    };
    run("mkfs.ext4", &["-q".as_ref(), image.as_ref()])?;
    fs::create_dir(at)?;
    let options = ["-t", "ext4", "-o", "loop,rw,relatime"].map(OsStr::new);
    run(
        "mount",
        &[&options[..], &[image.as_ref(), at.as_ref()]].concat(),
    )?;
    fs::create_dir(at.join("deeper"))?;
    Ok(fs::write(at.join("file"), CONTENT)?)
}

#[test]
fn root_block_file_system_of_the_host_has_to_be_declared_and_is_restored() {
    Lab::test(Setup::ROOT, |lab| {
        make_disk(lab, &lab.path("mounted"))?;
        let case = Case {
            build: |lab, site| {
                site.bind(&lab.path("mounted"), "/on", "ro,nodev,relatime")?;
                site.bind(&lab.path("mounted/deeper"), "/deeper", "rw,relatime")
            },
            workload: "grep -q kept /on/file && ! touch /on/new && touch /deeper/x && rm /on/../deeper/x",
            ..Case::PLAIN
        };
        shown(lab, &case)?;
        scenario::survives(lab, &case)
    });
}

/// More lower directories than mount(2) takes options: a page.
#[test]
fn root_overlay_with_options_over_a_page_is_restored() {
    Lab::test(Setup::ROOT, |lab| {
        let deep = lab.path("lower");
        let mut lower = Vec::new();
        for number in 0..30 {
            let name = format!("{number:02}-{}", "long".repeat(40));
            fs::create_dir_all(deep.join(&name))?;
            lower.push(deep.join(name));
        }
        fs::write(lower[29].join("file"), CONTENT)?;
        for name in ["upper", "work", "merged"] {
            fs::create_dir(lab.path(name))?;
        }
        mounting::overlay(
            &lower,
            &lab.path("upper"),
            &lab.path("work"),
            &lab.path("merged"),
        )?;
        let table = fs::read_to_string("/proc/self/mountinfo")?;
        ensure!(
            table.lines().any(|line| line.len() > 4096),
            "no line is over 4 KiB"
        );
        let case = Case {
            build: |lab, site| site.bind(&lab.path("merged"), "/on", "rw,relatime"),
            workload: "grep -q kept /on/file; touch /on/new; rm /on/new",
            ..Case::PLAIN
        };
        shown(lab, &case)?;
        scenario::survives(lab, &case)
    });
}
