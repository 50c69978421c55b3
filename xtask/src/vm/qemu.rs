//! QEMU: whether it is there, what it can use, and how it is started.
//!
//! Kind: effect.

use super::kernel::Kernel;
use super::{apt, cache, system};
use anyhow::{Result, bail};
use clap::ValueEnum;
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = "qemu-system-x86_64";
const PACKAGE: &str = "qemu-system-x86";
/// With KVM a small machine is up and down in less than a second.
const PROBE: Duration = Duration::from_secs(15);

/// What runs the machine's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Accelerator {
    /// KVM where it works, otherwise TCG
    #[default]
    Auto,
    /// The processor
    Kvm,
    /// QEMU itself: about ten times slower, but works everywhere
    Tcg,
}

impl Accelerator {
    /// How long a test may take.
    pub(super) fn patience(self) -> Duration {
        match self {
            Self::Kvm => Duration::from_secs(180),
            Self::Tcg | Self::Auto => Duration::from_secs(900),
        }
    }

    /// How many times longer than usual everything takes.
    pub(super) fn slowness(self) -> u64 {
        match self {
            Self::Kvm => 1,
            Self::Tcg | Self::Auto => 10,
        }
    }

    /// TCG of QEMU 7.2 can leave a half of the operand in the flags after cmpxchg16b, with which
    /// Linux 6.12 allocates its memory: every third start ended in a double fault.
    fn processor(self) -> &'static str {
        match self {
            Self::Kvm => "max",
            Self::Tcg | Self::Auto => "max,cx16=off",
        }
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Auto => "auto",
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        })
    }
}

/// Why QEMU cannot be had here.
pub(super) fn obstacle() -> Option<String> {
    let possible = installed() || rustix::process::geteuid().is_root() && has_apt();
    (!possible).then(|| format!("there is no {PROGRAM}: `sudo apt-get install {PACKAGE}`"))
}

/// Sees to it that QEMU is there.
pub(super) fn provide() -> Result<()> {
    if installed() {
        return Ok(());
    }
    if let Some(why) = obstacle() {
        bail!(why);
    }
    println!("installing {PACKAGE}");
    apt::install(PACKAGE)
}

fn installed() -> bool {
    answers(PROGRAM)
}

fn has_apt() -> bool {
    answers("apt-get")
}

fn answers(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A machine that can be started.
#[derive(Debug)]
pub(super) struct Machine {
    /// What it boots.
    pub(super) kernel: Kernel,
    /// What it finds.
    pub(super) initramfs: PathBuf,
    /// What runs it: not [`Accelerator::Auto`].
    pub(super) accelerator: Accelerator,
}

impl Machine {
    /// Starts it. The kernel's console goes into a file; the second serial line is
    /// the standard output.
    pub(super) fn start(&self, console: &Path) -> Result<Child> {
        let file = format!("file:{}", console.display());
        let mut command = Command::new(PROGRAM);
        command
            .args(["-accel", &self.accelerator.to_string()])
            .args(["-cpu", self.accelerator.processor()])
            .args(["-smp", "2", "-m", "2G", "-nodefaults", "-no-user-config"])
            .args(["-display", "none", "-no-reboot"])
            .args(["-serial", &file, "-serial", "stdio"])
            .args([
                "-append",
                "console=ttyS0 panic=-1 oops=panic quiet loglevel=4",
            ])
            .arg("-kernel")
            .arg(&self.kernel.image)
            .arg("-initrd")
            .arg(&self.initramfs);
        let log = File::create(console.with_extension("qemu"))?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        Ok(command.spawn()?)
    }
}

/// What runs the machines: KVM only if it can boot one in time. That it is there says
/// little: in a virtual machine it can fail at the first register, or never get on.
pub(super) fn choose(wish: Accelerator, kernel: &Kernel) -> Result<Accelerator> {
    if wish == Accelerator::Tcg || wish == Accelerator::Auto && !Path::new("/dev/kvm").exists() {
        return Ok(Accelerator::Tcg);
    }
    match (boots_with_kvm(kernel)?, wish) {
        (true, _) => Ok(Accelerator::Kvm),
        (false, Accelerator::Kvm) => {
            bail!("KVM does not boot this kernel, at least not in {PROBE:?}")
        }
        (false, _) => {
            println!("KVM does not boot this kernel, at least not in {PROBE:?}: using TCG");
            Ok(Accelerator::Tcg)
        }
    }
}

fn boots_with_kvm(kernel: &Kernel) -> Result<bool> {
    let initramfs = cache().join("probe.cpio");
    fs::create_dir_all(cache())?;
    system::probe()?.write(&mut File::create(&initramfs)?)?;
    let machine = Machine {
        kernel: kernel.clone(),
        initramfs,
        accelerator: Accelerator::Kvm,
    };
    let mut child = machine.start(&cache().join("probe.console"))?;
    let start = Instant::now();
    while start.elapsed() < PROBE {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill()?;
    child.wait()?;
    Ok(false)
}
