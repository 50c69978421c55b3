//! Kernels: finding, fetching and unpacking them.
//!
//! Kind: effect. A package is unpacked once, into target/vm/kernels; nothing is installed.

use super::apt::{BACKPORTS, Lists};
use super::cache;
use crate::cargo::succeed;
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What stands for the newest kernel for virtual machines.
const PACKAGE: &str = "linux-image-cloud-amd64";

/// A kernel that can be booted.
#[derive(Debug, Clone)]
pub(super) struct Kernel {
    /// As `uname -r` has it.
    pub(super) release: String,
    /// The compressed kernel.
    pub(super) image: PathBuf,
    /// lib/modules/RELEASE, if it has modules.
    pub(super) modules: Option<PathBuf>,
}

impl Kernel {
    /// The kernel with this name: a series of Debian's, or a path.
    pub(super) fn provide(name: &str) -> Result<Self> {
        match name {
            "6.1" => Self::of_debian(name, None),
            "6.12" => Self::of_debian(name, Some(BACKPORTS)),
            path if path.ends_with(".deb") => Self::unpack(Path::new(path)),
            path => Self::from_file(Path::new(path)),
        }
    }

    fn of_debian(series: &str, suite: Option<&str>) -> Result<Self> {
        match Self::newest(series, suite) {
            Ok(kernel) => Ok(kernel),
            // Without a network, what was fetched before will do.
            Err(error) => {
                let kernel = Self::cached(series).ok_or(error)?;
                eprintln!("no newer {series} could be had: using {}", kernel.release);
                Ok(kernel)
            }
        }
    }

    fn newest(series: &str, suite: Option<&str>) -> Result<Self> {
        let lists = Lists::fetch()?;
        let package = lists.stands_for(PACKAGE, suite)?;
        let release = package.trim_start_matches("linux-image-");
        ensure!(
            release.starts_with(&format!("{series}.")),
            "{PACKAGE} is {release} and not of the series {series}"
        );
        let place = kernels().join(release);
        if !place.is_dir() {
            println!("fetching {package}");
            let download = cache().join("download").join(release);
            let file = lists.download(&package, &download)?;
            unpack(&file, &place)?;
            fs::remove_dir_all(download)?;
        }
        Self::in_tree(&place)
    }

    /// The last one that was fetched of a series.
    fn cached(series: &str) -> Option<Self> {
        let entries = fs::read_dir(kernels()).ok()?.flatten();
        let of_series = entries.filter(|entry| {
            let name = entry.file_name();
            name.to_string_lossy().starts_with(&format!("{series}."))
        });
        let newest = of_series.max_by_key(|entry| entry.metadata().and_then(|m| m.modified()).ok());
        Self::in_tree(&newest?.path()).ok()
    }

    fn unpack(package: &Path) -> Result<Self> {
        let name = package.file_stem().context("a package without a name")?;
        let place = kernels().join(name);
        if !place.is_dir() {
            unpack(package, &place)?;
        }
        Self::in_tree(&place)
    }

    /// The kernel of an unpacked package.
    fn in_tree(place: &Path) -> Result<Self> {
        let boot = place.join("boot");
        let entries = fs::read_dir(&boot).with_context(|| format!("{}", boot.display()))?;
        let names = entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned());
        let image = names
            .into_iter()
            .find(|name| name.starts_with("vmlinuz-"))
            .with_context(|| format!("there is no kernel in {}", boot.display()))?;
        Self::from_file(&boot.join(image))
    }

    /// A kernel by its path; modules are in lib/modules beside boot, as when installed.
    fn from_file(image: &Path) -> Result<Self> {
        ensure!(image.is_file(), "{} is no file", image.display());
        let name = image.file_name().unwrap_or_default().to_string_lossy();
        let release = name.trim_start_matches("vmlinuz-").to_owned();
        let top = image.parent().and_then(Path::parent);
        let modules = top.map(|top| top.join("lib/modules").join(&release));
        Ok(Self {
            release,
            image: image.to_owned(),
            modules: modules.filter(|path| path.is_dir()),
        })
    }
}

fn kernels() -> PathBuf {
    cache().join("kernels")
}

/// Unpacks beside its place first: a half of a kernel is none.
fn unpack(package: &Path, place: &Path) -> Result<()> {
    let half = place.with_extension("part");
    if half.is_dir() {
        fs::remove_dir_all(&half)?;
    }
    fs::create_dir_all(&half)?;
    let mut command = Command::new("dpkg-deb");
    command.arg("--extract").args([package, &half]);
    succeed(&mut command)?;
    fs::rename(&half, place).with_context(|| format!("failed to make {}", place.display()))
}
