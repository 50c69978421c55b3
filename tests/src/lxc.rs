//! Containers made by LXC, as its users make them.
//!
//! Kind: effect. The container's directory is in the lab. Its monitor is a child
//! of the lab in the foreground, and takes the container along when it dies.
//! What LXC leaves in the machine's cgroup hierarchies is removed.

use crate::cgroups::{CGROUP_ROOT, remove_all};
use crate::debian;
use crate::lab::Lab;
use crate::mounting;
use crate::programs::{Output, Running, children};
use crate::sys::keep_to_streams;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Never the machine's own net namespace: a container would reconfigure it.
const NO_NETWORK: &str = "lxc.net.0.type = empty\n";
/// A Debian container as `lxc-create -t debian` configures it.
const DEBIAN: &str = "\
lxc.include = /usr/share/lxc/config/debian.common.conf
lxc.arch = amd64
lxc.tty.max = 4
lxc.pty.max = 1024
";
/// How long a container may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running container of LXC's.
#[derive(Debug)]
pub struct Lxc {
    name: String,
    /// The directory with all containers (`lxcpath`).
    path: PathBuf,
    monitor: Option<Running>,
    /// Its first process, as the host side numbers it.
    pub pid: u32,
}

impl Lxc {
    /// A container made with the busybox template, in its default configuration.
    pub fn busybox(lab: &Lab) -> Result<Self> {
        let mut lxc = Self::prepare(lab)?;
        let config = lab.path("default.conf");
        fs::write(&config, NO_NETWORK)?;
        let config = config.to_string_lossy().into_owned();
        lxc.tool("lxc-create", &["-t", "busybox", "-f", &config])?
            .success("lxc-create")?;
        lxc.start()?;
        Ok(lxc)
    }

    /// A Debian container with systemd as its first process, when it has booted.
    pub fn systemd(lab: &Lab) -> Result<Self> {
        let mut lxc = Self::prepare(lab)?;
        let home = lxc.path.join(&lxc.name);
        fs::create_dir(&home)?;
        let root = home.join("rootfs");
        debian::fill(&root)?;
        let place = format!("lxc.rootfs.path = dir:{}\n", root.display());
        let name = format!("lxc.uts.name = {}\n", lxc.name);
        let config = [DEBIAN, NO_NETWORK, &place, &name].concat();
        fs::write(home.join("config"), config)?;
        lxc.start()?;
        lxc.wait_for_systemd()?;
        Ok(lxc)
    }

    /// Ends it at once.
    pub fn stop(mut self) -> Result<()> {
        let output = self.tool("lxc-stop", &["-k"])?;
        output.success("lxc-stop")?;
        let monitor = self.monitor.take().context("the container runs")?;
        monitor.finish().map(drop)
    }

    /// Waits for its monitor, which ends with it.
    pub fn ended(mut self) -> Result<()> {
        let monitor = self.monitor.take().context("the container runs")?;
        monitor.finish().map(drop)
    }

    fn prepare(lab: &Lab) -> Result<Self> {
        let path = lab.path("lxc");
        fs::create_dir(&path)?;
        // LXC would pass on what it does not know to its containers.
        keep_to_streams()?;
        // LXC keeps locks and sockets there.
        mounting::new("tmpfs", "run", Path::new("/run"), "rw,relatime", "mode=755")?;
        sweep()?;
        Ok(Self {
            name: lab.name(),
            path,
            monitor: None,
            pid: 0,
        })
    }

    fn start(&mut self) -> Result<()> {
        self.monitor = Some(self.running("lxc-start", &["-F"])?);
        let running = self.tool("lxc-wait", &["-s", "RUNNING", "-t", "60"])?;
        if let Err(error) = running.success("lxc-wait") {
            let said = self.monitor.take().map(Running::finish);
            bail!("the container does not start: {error:#}\n{said:?}");
        }
        let output = self.tool("lxc-info", &["-pH"])?.success("lxc-info")?;
        let text = String::from_utf8(output.stdout)?;
        self.pid = text.trim().parse().context("lxc-info prints a pid")?;
        Ok(())
    }

    fn wait_for_systemd(&self) -> Result<()> {
        let start = Instant::now();
        let ask = ["--", "systemctl", "is-system-running", "--wait"];
        loop {
            let output = self.tool("lxc-attach", &ask)?;
            match output.stdout.trim_ascii_end() {
                b"running" | b"degraded" => return Ok(()),
                // There is no bus to ask on yet.
                _ if start.elapsed() < PATIENCE => {}
                state => bail!("systemd is {state:?} after {PATIENCE:?}: {}", output.stderr),
            }
        }
    }

    fn running(&self, program: &str, arguments: &[&str]) -> Result<Running> {
        let path = self.path.to_string_lossy();
        let fixed = ["-P", &path, "-n", &self.name];
        let program = Path::new("/usr/bin").join(program);
        Running::start(&program, fixed.iter().chain(arguments))
            .context("LXC is needed: `apt-get install lxc lxc-templates`")
    }

    fn tool(&self, program: &str, arguments: &[&str]) -> Result<Output> {
        self.running(program, arguments)?.finish()
    }
}

/// Whether everything runs that a container of the busybox template runs, its first process being `pid`.
pub fn busybox_is_up(pid: u32) -> bool {
    let named = |name: &str| {
        let is = |child: u32| fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
        children(pid)
            .into_iter()
            .any(|child| is(child).trim_end() == name)
    };
    let reads = |terminal: &str| child_on(pid, terminal).is_some();
    named("syslogd") && named("getty") && reads("/dev/console") && reads("/dev/tty1")
}

/// The child that has this open as its input.
pub fn child_on(pid: u32, input: &str) -> Option<u32> {
    let on = |child: &u32| {
        let link = fs::read_link(format!("/proc/{child}/fd/0"));
        link.is_ok_and(|link| link == Path::new(input))
    };
    children(pid).into_iter().find(on)
}

impl Drop for Lxc {
    fn drop(&mut self) {
        if let Some(monitor) = self.monitor.take() {
            // Either may find that it has ended already.
            let _ = self.tool("lxc-stop", &["-k"]);
            let _ = monitor.finish();
        }
        let _ = sweep();
    }
}

/// Removes the cgroups of containers that are no more. `lxc.pivot` is where
/// monitors go to end; it is shared by all of the machine, and busy if it is used.
fn sweep() -> Result<()> {
    let own = std::process::id().to_string();
    for hierarchy in fs::read_dir(CGROUP_ROOT)
        .context("no cgroup hierarchies")?
        .flatten()
    {
        let Ok(entries) = fs::read_dir(hierarchy.path()) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let owner = ["lxc.payload.crux-lab-", "lxc.monitor.crux-lab-"]
                .iter()
                .find_map(|prefix| name.strip_prefix(prefix));
            let gone =
                owner.is_some_and(|pid| pid == own || !Path::new("/proc").join(pid).exists());
            if gone || name == "lxc.pivot" {
                remove_all(&entry.path());
            }
        }
    }
    Ok(())
}
