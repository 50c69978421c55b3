//! Packages of Debian: which there are, fetching them, installing them.
//!
//! Kind: effect. Fetching uses sources, lists and caches of our own, so that it needs
//! no root, changes nothing of this machine, and has backports. Debian's keyring
//! decides what is genuine; what is not is an error.

use super::cache;
use crate::cargo::{output, succeed};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const MIRROR: &str = "http://deb.debian.org";
const SUITES: [(&str, &str); 4] = [
    ("debian", "bookworm"),
    ("debian", "bookworm-updates"),
    ("debian-security", "bookworm-security"),
    ("debian", BACKPORTS),
];
/// Where Debian 12 has newer kernels.
pub(super) const BACKPORTS: &str = "bookworm-backports";
/// Lists that are older are fetched again.
const FRESH: Duration = Duration::from_secs(24 * 60 * 60);

/// The lists of Debian's packages.
pub(super) struct Lists {
    directory: PathBuf,
}

impl Lists {
    /// The lists, fetched if they are not there or old.
    pub(super) fn fetch() -> Result<Self> {
        let lists = Self {
            directory: cache().join("apt"),
        };
        lists.write_sources()?;
        let stamp = lists.directory.join("fetched");
        if age(&stamp).is_none_or(|age| age > FRESH) {
            println!("fetching Debian's lists of packages");
            let mut update = lists.tool("apt-get");
            update.args(["--quiet", "--quiet", "update"]);
            // Otherwise a list that could not be verified is but a warning.
            update.args(["-o", "APT::Update::Error-Mode=any"]);
            succeed(&mut update)?;
            fs::write(stamp, "")?;
        }
        Ok(lists)
    }

    fn write_sources(&self) -> Result<()> {
        ensure!(
            Path::new(KEYRING).exists(),
            "{KEYRING} is missing, and with it what tells Debian's packages from others: \
             `apt-get install debian-archive-keyring`"
        );
        for name in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(self.directory.join(name))?;
        }
        let line = |(archive, suite)| {
            format!("deb [arch=amd64 signed-by={KEYRING}] {MIRROR}/{archive} {suite} main\n")
        };
        let text: String = SUITES.into_iter().map(line).collect();
        fs::write(self.directory.join("sources.list"), text)
            .with_context(|| format!("failed to write into {}", self.directory.display()))
    }

    /// One of apt's programs, on these lists and nothing else.
    fn tool(&self, name: &str) -> Command {
        let at = |part: &str| self.directory.join(part).display().to_string();
        let options = [
            format!("Dir::Etc::sourcelist={}", at("sources.list")),
            "Dir::Etc::sourceparts=-".into(),
            format!("Dir::State::lists={}", at("lists")),
            format!("Dir::Cache={}", at("cache")),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".into(),
            "Acquire::Languages=none".into(),
            "Acquire::AllowInsecureRepositories=false".into(),
            "APT::Get::AllowUnauthenticated=false".into(),
            // target/ may be where the user _apt cannot go.
            "APT::Sandbox::User=root".into(),
        ];
        let mut command = Command::new(name);
        for option in options {
            command.args(["-o", &option]);
        }
        command
    }

    /// The first package that a package depends on: the one that a name like
    /// linux-image-cloud-amd64 stands for. With a suite, that of this suite.
    pub(super) fn stands_for(&self, package: &str, suite: Option<&str>) -> Result<String> {
        let mut show = self.tool("apt-cache");
        if let Some(suite) = suite {
            show.args(["-o", &format!("APT::Default-Release={suite}")]);
        }
        show.args(["show", "--no-all-versions", package]);
        let text = output(&mut show)?;
        let first = text
            .lines()
            .find_map(|line| line.strip_prefix("Depends: ")?.split_whitespace().next());
        first
            .map(|name| name.trim_end_matches(',').to_owned())
            .with_context(|| format!("{package} depends on nothing"))
    }

    /// Fetches a package into a directory.
    pub(super) fn download(&self, package: &str, directory: &Path) -> Result<PathBuf> {
        fs::create_dir_all(directory)?;
        let mut command = self.tool("apt-get");
        command.args(["--quiet", "--quiet", "download", package]);
        succeed(command.current_dir(directory))?;
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "deb") {
                return Ok(path);
            }
        }
        anyhow::bail!("apt-get fetched no {package}")
    }

    /// Installs a package, of backports if it has to be.
    pub(super) fn install(&self, package: &str) -> Result<()> {
        let mut command = self.tool("apt-get");
        command
            .args(INSTALL)
            .args(["--target-release", BACKPORTS, package]);
        succeed(unattended(&mut command))
    }
}

const INSTALL: [&str; 5] = [
    "install",
    "--yes",
    "--quiet",
    "--quiet",
    "--no-install-recommends",
];

/// Installs a package from this machine's own sources; if they cannot give it
/// (other packages may be of backports already), from ours.
pub(super) fn install(package: &str) -> Result<()> {
    let mut update = Command::new("apt-get");
    succeed(update.args(["update", "-qq"]))?;
    let mut own = Command::new("apt-get");
    own.args(INSTALL).arg(package);
    match succeed(unattended(&mut own)) {
        Ok(()) => Ok(()),
        Err(error) => {
            eprintln!("{error:#}; trying backports");
            Lists::fetch()?.install(package)
        }
    }
}

fn unattended(command: &mut Command) -> &mut Command {
    command.env("DEBIAN_FRONTEND", "noninteractive")
}

fn age(path: &Path) -> Option<Duration> {
    let written = fs::metadata(path).and_then(|found| found.modified()).ok()?;
    SystemTime::now().duration_since(written).ok()
}
