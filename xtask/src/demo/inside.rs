//! What goes on in the demo's container, as its host and its users see it.
//!
//! Kind: effect.

use crate::libraries;
use anyhow::{Context as _, Result, bail, ensure};
use crux_tests::blueprint::vivid;
use crux_tests::{Container, Lab, Program, in_child, patience};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Instant;

const INIT: &str = include_str!("init.sh");
/// Programs of busybox that the container runs.
const TOOLS: [&str; 5] = ["httpd", "ifconfig", "mv", "sleep", "wait"];
/// What each file below /run/www counts.
const PARTS: [(&str, &str); 4] = [
    ("counter", "a counter in a shell's memory"),
    ("pipe", "lines through a pipe"),
    ("sockets", "throws over a pair of sockets"),
    ("terminal", "lines typed at a terminal"),
];

/// How far everything in the container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    counts: [u64; PARTS.len()],
}

/// Makes the container, with all that it runs.
pub(super) fn start(lab: &Lab) -> Result<Container> {
    let root = lab.root("lxc/u1/rootfs")?;
    furnish(lab, &root).context("failed to fill the container's root")?;
    let program = Program::Talking(vec!["/bin/sh".into(), "/sbin/init".into()]);
    vivid::start_with(lab, program, devices)
}

fn furnish(lab: &Lab, root: &Path) -> Result<()> {
    for tool in TOOLS {
        symlink("busybox", root.join("bin").join(tool))?;
    }
    let workload = &lab.programs.workload;
    fs::copy(workload, root.join("bin/crux-workload"))?;
    for library in libraries::of(&[workload])? {
        let to = root.join(library.strip_prefix("/")?);
        fs::create_dir_all(to.parent().context("a library has a directory")?)?;
        fs::copy(&library, to)?;
    }
    fs::create_dir_all(root.join("sbin"))?;
    let init = root.join("sbin/init");
    fs::write(&init, INIT)?;
    Ok(fs::set_permissions(
        &init,
        fs::Permissions::from_mode(0o755),
    )?)
}

/// What its shells need: made from inside, before they begin.
fn devices() -> Result<()> {
    let (kind, mode) = (FileType::CharacterDevice, Mode::from_raw_mode(0o666));
    mknodat(CWD, "/dev/null", kind, mode, makedev(1, 3)).context("mknod(/dev/null)")?;
    fs::set_permissions("/dev/null", fs::Permissions::from_mode(0o666))?;
    Ok(fs::create_dir("/run/www")?)
}

/// How far a container is; one that has just begun is waited for.
pub(super) fn look(pid: u32) -> Result<State> {
    let www = format!("/proc/{pid}/root/run/www");
    let lost = fs::read_to_string(format!("{www}/lost")).unwrap_or_default();
    ensure!(lost.is_empty(), "the pipe lost something: {lost}");
    let mut counts = [0; PARTS.len()];
    for (count, (name, _)) in counts.iter_mut().zip(PARTS) {
        *count = wait_for(&format!("{www}/{name}"))?;
    }
    Ok(State { counts })
}

fn wait_for(file: &str) -> Result<u64> {
    let begin = Instant::now();
    loop {
        match fs::read_to_string(file) {
            Ok(text) => {
                let text = text.trim();
                return text.parse().with_context(|| format!("{file}: {text}"));
            }
            Err(_) if begin.elapsed() < patience(20) => std::thread::yield_now(),
            Err(error) => {
                let log = Path::new(file).with_file_name("../log");
                let log = fs::read_to_string(log).unwrap_or_default();
                bail!("{file}: {error}; the container says: {log}");
            }
        }
    }
}

impl State {
    /// Waits until everything in the container is further than this.
    pub(super) fn goes_on(&self, pid: u32) -> Result<Self> {
        let begin = Instant::now();
        loop {
            let now = look(pid)?;
            let mut pairs = now.counts.iter().zip(&self.counts);
            ensure!(
                pairs.clone().all(|(now, before)| now >= before),
                "something began anew: {self:?}, then {now:?}"
            );
            if pairs.all(|(now, before)| now > before) {
                return Ok(now);
            }
            ensure!(
                begin.elapsed() < patience(20),
                "something stands still: {now:?}"
            );
            std::thread::yield_now();
        }
    }

    /// A line for each part: how far it was, how far it is.
    pub(super) fn table(&self, later: &Self) -> Vec<String> {
        let parts = PARTS.iter().zip(self.counts.iter().zip(&later.counts));
        let line = |((_, what), (before, now)): (&(&str, &str), (&u64, &u64))| {
            format!("  {what:<32} {before:>8} → {now}")
        };
        parts.map(line).collect()
    }
}

/// What the container's HTTP server answers on its own loopback device.
pub(super) fn page(pid: u32, path: &str) -> Result<String> {
    let answer = in_child(|| {
        let network = File::open(format!("/proc/{pid}/ns/net"))?;
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
        let mut server = TcpStream::connect("127.0.0.1:80").context("connect")?;
        server.set_read_timeout(Some(patience(10)))?;
        write!(server, "GET {path} HTTP/1.0\r\n\r\n")?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer)?;
        Ok(answer)
    })?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .with_context(|| format!("the HTTP server said {answer:?}"))?;
    ensure!(head.contains("200 OK"), "the HTTP server said {head}");
    Ok(body.trim().to_owned())
}
