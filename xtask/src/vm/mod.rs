//! `cargo xtask vm-test`: the privileged tests on other kernels.
//!
//! Kind: shell. A kernel of Debian's, an initramfs with the tests and what they
//! need of this machine, and QEMU. How it goes is in docs/vm-tests.md.

mod apt;
mod console;
mod cpio;
mod events;
pub(crate) mod guest;
mod kernel;
mod modules;
mod qemu;
mod report;
mod suite;
mod system;

use crate::cargo::{cargo, succeed, target};
use crate::packages;
use anyhow::{Result, bail, ensure};
use kernel::Kernel;
use qemu::Accelerator;
use report::Report;
use std::path::PathBuf;
use std::time::Instant;
use suite::{Scope, Suite};

#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// 6.1, 6.12, or the path of a Debian kernel package or a kernel (may be given several times)
    #[arg(long)]
    kernel: Vec<String>,
    /// What runs the machine's instructions
    #[arg(long, default_value = "auto")]
    accel: Accelerator,
    /// Without the tests that take very long, as in `cargo xtask test`
    #[arg(long)]
    brief: bool,
    /// Only tests with one of these in their names
    test: Vec<String>,
}

/// The kernels that are tried if none is named.
const KERNELS: [&str; 2] = ["6.1", "6.12"];

/// Why this machine cannot run the tier.
pub(crate) fn obstacle() -> Option<String> {
    let files = packages::ensure_installed(packages::MACHINE);
    let missing = files.err().map(|error| format!("{error:#}"));
    missing.or_else(qemu::obstacle)
}

/// The tier of `cargo xtask test`: both kernels, without what takes very long.
pub(crate) fn tier() -> Result<()> {
    run(&Options {
        brief: true,
        ..Options::default()
    })
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let scope = if options.brief {
        Scope::Brief
    } else {
        Scope::All
    };
    packages::ensure_installed(packages::MACHINE)?;
    qemu::provide()?;
    succeed(&mut cargo(["build", "--quiet", "--workspace", "--bins"]))?;
    let suite = Suite::find(&options.test)?;
    ensure!(!suite.tests.is_empty(), "there is no such test");
    let names: Vec<&str> = match options.kernel.as_slice() {
        [] => KERNELS.to_vec(),
        chosen => chosen.iter().map(String::as_str).collect(),
    };
    let mut reports = Vec::new();
    let mut wish = options.accel;
    for name in names {
        let kernel = Kernel::provide(name)?;
        let accelerator = qemu::choose(wish, &kernel)?;
        if accelerator == Accelerator::Tcg {
            // Not to find out twice that there is nothing else.
            wish = accelerator;
        }
        reports.push(on_kernel(name, kernel, accelerator, &suite, scope)?);
    }
    println!();
    for report in &reports {
        println!("{report}");
    }
    match reports.iter().filter(|report| !report.passed()).count() {
        0 => Ok(()),
        bad => bail!("not passed on {bad} of {} kernels", reports.len()),
    }
}

fn on_kernel(
    name: &str,
    kernel: Kernel,
    accelerator: Accelerator,
    all: &Suite,
    scope: Scope,
) -> Result<Report> {
    let start = Instant::now();
    let suite = &all.on(&kernel.release, scope);
    let machine = qemu::Machine {
        initramfs: system::initramfs(&kernel, suite, accelerator)?,
        kernel,
        accelerator,
    };
    println!(
        "\n=== kernel {} ({}) under {accelerator}: {} tests; ready after {:.1} s",
        name,
        machine.kernel.release,
        suite.tests.len(),
        start.elapsed().as_secs_f64()
    );
    let report = console::run(name, &machine, suite, accelerator.patience())?;
    report.print(suite);
    Ok(report)
}

/// Where everything of this tier is kept.
fn cache() -> PathBuf {
    target().join("vm")
}
