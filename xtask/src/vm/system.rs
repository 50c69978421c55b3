//! The files that the machine finds: enough of this one to run the tests.
//!
//! Kind: effect (reads this machine); what comes out is a tree. Everything is at the
//! path that it has here, as the tests have paths compiled in.

use super::cpio::{Archive, Node};
use super::events::{PLAN, Plan};
use super::kernel::Kernel;
use super::qemu::Accelerator;
use super::suite::Suite;
use super::{cache, modules};
use crate::cargo::{Profile, build, output, succeed, target, workspace};
use anyhow::{Context as _, Result, bail};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

/// What the tests run, of this machine; busybox has what is not here.
const TOOLS: [&str; 42] = [
    "sh",
    "awk",
    "bash",
    "cat",
    "chmod",
    "choom",
    "chroot",
    "cp",
    "cut",
    "dd",
    "env",
    "find",
    "findmnt",
    "grep",
    "head",
    "id",
    "ip",
    "ln",
    "ls",
    "mkdir",
    "mknod",
    "mount",
    "mv",
    "nsenter",
    "readlink",
    "rm",
    "runc",
    "script",
    "sed",
    "mkfs.ext4",
    "setcap",
    "setpriv",
    "sleep",
    "stat",
    "strace",
    "tail",
    "test",
    "timeout",
    "touch",
    "true",
    "umount",
    "unshare",
];
const EXECUTABLES: [&str; 4] = ["crux-dump", "crux-restore", "crux-image", "crux-workload"];
const DIRECTORIES: [&str; 13] = [
    "/dev",
    "/etc",
    "/media",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/srv",
    "/sys",
    "/tmp",
    "/usr/sbin",
    "/var/tmp",
];
const BUSYBOX: &str = "/bin/busybox";
const INIT: &str = "/sbin/guest-init";
const GUEST: &str = "/sbin/guest";
const MODULES: &str = "/lib/modules/order";
/// The files of /etc, with what is in them.
const ETC: [(&str, &str); 5] = [
    (
        "passwd",
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    ),
    ("group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"),
    ("hostname", "guest\n"),
    ("hosts", "127.0.0.1 localhost\n"),
    ("mtab", ""),
];

/// The whole tree for a kernel and its tests, as a file.
pub(super) fn initramfs(
    kernel: &Kernel,
    suite: &Suite,
    accelerator: Accelerator,
) -> Result<PathBuf> {
    let mut tree = Archive::default();
    skeleton(&mut tree)?;
    programs(&mut tree, suite)?;
    sources(&mut tree)?;
    if let Some(directory) = &kernel.modules {
        add_modules(&mut tree, directory)?;
    }
    let plan = Plan {
        tests: suite.tests.clone(),
        workers: 2,
        limit: accelerator.patience().as_secs(),
        slowness: accelerator.slowness(),
    };
    tree.put(Path::new(PLAN), file(serde_json::to_vec(&plan)?, 0o644));
    let path = cache().join(format!("{}.cpio", kernel.release));
    fs::create_dir_all(cache())?;
    let mut out = BufWriter::new(File::create(&path)?);
    tree.write(&mut out)?;
    out.flush()?;
    Ok(path)
}

/// A tree that only ends the machine.
pub(super) fn probe() -> Result<Archive> {
    let mut tree = Archive::default();
    tree.put(Path::new("/busybox"), Node::Copy(busybox()?));
    let script = b"#!/busybox sh\nexec /busybox poweroff -f\n";
    tree.put(Path::new("/init"), file(script.to_vec(), 0o755));
    Ok(tree)
}

fn skeleton(tree: &mut Archive) -> Result<()> {
    // On a merged /usr these are links, and whatever has a path compiled in relies on it.
    for name in ["/bin", "/sbin", "/lib", "/lib64"] {
        copy(tree, Path::new(name))?;
    }
    for name in DIRECTORIES {
        tree.put(Path::new(name), Node::Directory);
    }
    for (name, text) in ETC {
        let path = Path::new("/etc").join(name);
        tree.put(&path, file(text.as_bytes().to_vec(), 0o644));
    }
    copy_as(tree, Path::new(BUSYBOX), &busybox()?)?;
    tree.put(Path::new("/init"), script(include_str!("init.sh")));
    tree.put(&real(INIT)?, script(include_str!("guest.sh")));
    Ok(())
}

fn programs(tree: &mut Archive, suite: &Suite) -> Result<()> {
    // Not the running one: cargo may just have put another in its place.
    let own = target().join("debug/xtask");
    let mut built: Vec<_> = suite.programs().into_iter().map(Path::to_owned).collect();
    let mut tools = Vec::new();
    for name in TOOLS {
        match find(name) {
            Some(path) => tools.push(path),
            None => eprintln!("there is no {name} here: busybox has to do, or what needs it fails"),
        }
    }
    for path in &tools {
        copy(tree, path)?;
    }
    for path in &built {
        copy_as(tree, path, &stripped(path)?)?;
    }
    // Where the tests look for them.
    let optimised = build(Profile::Emulated)?;
    for name in EXECUTABLES {
        let path = optimised.join(name);
        copy_as(tree, &target().join("debug").join(name), &stripped(&path)?)?;
        built.push(path);
    }
    copy_as(tree, Path::new(GUEST), &stripped(&own)?)?;
    libraries(tree, &[tools, built, vec![own]].concat())
}

/// A program without what is for debuggers only: that is nine tenths of it, and all has to
/// fit into the machine's memory.
fn stripped(program: &Path) -> Result<PathBuf> {
    let name = program.file_name().context("a program without a name")?;
    let place = cache().join("programs");
    fs::create_dir_all(&place)?;
    let to = place.join(name);
    let mut strip = Command::new("strip");
    strip.arg("--strip-debug").arg("-o").args([&to, program]);
    succeed(&mut strip).context("strip is part of binutils, as the linker is")?;
    Ok(to)
}

/// What the tests read of the source tree: all that is in it.
fn sources(tree: &mut Archive) -> Result<()> {
    let mut list = Command::new("git");
    list.args(["ls-files", "-z"]).current_dir(workspace());
    let names = output(&mut list)?;
    for name in names.split('\0').filter(|name| !name.is_empty()) {
        let path = workspace().join(name);
        if path.exists() {
            copy(tree, &path)?;
        }
    }
    Ok(())
}

fn add_modules(tree: &mut Archive, directory: &Path) -> Result<()> {
    let mut order = String::new();
    for module in modules::wanted(directory)? {
        let path = format!("/lib/modules/{}.ko", module.name);
        order.push_str(&path);
        order.push('\n');
        tree.put(&real(&path)?, file(module.object, 0o644));
    }
    tree.put(&real(MODULES)?, file(order.into_bytes(), 0o644));
    Ok(())
}

/// The libraries that these programs load, and what loads them.
fn libraries(tree: &mut Archive, programs: &[PathBuf]) -> Result<()> {
    for path in crate::libraries::of(programs)? {
        copy(tree, &path)?;
    }
    Ok(())
}

/// Puts a file of this machine at its own path, with every link on the way.
fn copy(tree: &mut Archive, path: &Path) -> Result<()> {
    copy_as(tree, path, path)
}

/// Puts the file `from` where `path` leads to.
fn copy_as(tree: &mut Archive, path: &Path, from: &Path) -> Result<()> {
    let place = follow(tree, path, 0)?;
    let from = fs::canonicalize(from).with_context(|| format!("{}", from.display()))?;
    if tree.get(&place).is_none() {
        let node = match from.is_dir() {
            true => Node::Directory,
            false => Node::Copy(from),
        };
        tree.put(&place, node);
    }
    Ok(())
}

/// Walks a path as the kernel does, puts each link of it into the tree, and says
/// where it ends.
fn follow(tree: &mut Archive, path: &Path, depth: usize) -> Result<PathBuf> {
    if depth > 40 {
        bail!("too many links: {}", path.display());
    }
    let mut at = PathBuf::from("/");
    let mut rest = path.components();
    while let Some(part) = rest.next() {
        match part {
            Component::ParentDir => drop(at.pop()),
            Component::Normal(name) => at.push(name),
            _ => continue,
        }
        if let Ok(link) = fs::read_link(&at) {
            tree.put(&at, Node::Link(link.clone()));
            let above = at.parent().unwrap_or(Path::new("/")).to_owned();
            return follow(tree, &above.join(link).join(rest.as_path()), depth + 1);
        }
    }
    Ok(at)
}

/// Where a path in the machine really is: /bin and its like may be links.
fn real(path: &str) -> Result<PathBuf> {
    follow(&mut Archive::default(), Path::new(path), 0)
}

fn busybox() -> Result<PathBuf> {
    find("busybox").context("there is no busybox: `apt-get install busybox-static`")
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = path.as_bytes().split(|&byte| byte == b':');
    let places = places.map(|place| Path::new(OsStr::from_bytes(place)).join(name));
    let system = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"].map(|at| Path::new(at).join(name));
    system.into_iter().chain(places).find(|path| path.is_file())
}

fn script(text: &str) -> Node {
    file(text.as_bytes().to_vec(), 0o755)
}

fn file(bytes: Vec<u8>, mode: u32) -> Node {
    Node::File { bytes, mode }
}
