//! Which tests there are, and which of them a machine can run.
//!
//! Kind: effect ([`Suite::find`] builds them and asks each program), pure otherwise.

use super::events::Test;
use crate::cargo::{cargo, output};
use anyhow::{Context as _, Result};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the tests of this tier are called.
const PREFIXES: [&str; 2] = ["root_", "vm_"];

/// What the machine does not have: a part of the names of the tests that need it
/// (of the program or of the test), and what they need.
const ABSENT: [(&str, &str); 2] = [
    ("lxc_package", "the packages of LXC"),
    ("cgroup_v1", "hierarchies of cgroup v1"),
];

/// The tests.
#[derive(Debug)]
pub(super) struct Suite {
    /// Those that run.
    pub(super) tests: Vec<Test>,
    /// Those that cannot, and why.
    pub(super) absent: Vec<(Test, &'static str)>,
}

impl Suite {
    /// The tests with one of these in their names; with none given, all.
    pub(super) fn find(wanted: &[String]) -> Result<Self> {
        let mut all = Vec::new();
        for program in programs()? {
            all.extend(program.tests()?);
        }
        all.retain(|test| privileged(&test.name) && chosen(test, wanted));
        let (absent, tests) = all
            .into_iter()
            .map(|test| (why_absent(&test), test))
            .partition::<Vec<_>, _>(|(why, _)| why.is_some());
        Ok(Self {
            tests: tests.into_iter().map(|(_, test)| test).collect(),
            absent: absent
                .into_iter()
                .filter_map(|(why, test)| Some((test, why?)))
                .collect(),
        })
    }

    /// The programs that hold the tests, each once.
    pub(super) fn programs(&self) -> Vec<&Path> {
        let mut paths: Vec<&Path> = self.tests.iter().map(|test| &*test.program).collect();
        paths.sort_unstable();
        paths.dedup();
        paths
    }
}

fn privileged(name: &str) -> bool {
    name.split("::")
        .any(|part| PREFIXES.iter().any(|prefix| part.starts_with(prefix)))
}

fn chosen(test: &Test, wanted: &[String]) -> bool {
    let name = test.to_string();
    wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()))
}

fn why_absent(test: &Test) -> Option<&'static str> {
    let name = test.to_string();
    let found = ABSENT.iter().find(|(part, _)| name.contains(part));
    found.map(|(_, why)| *why)
}

/// A program of tests.
struct Program {
    package: String,
    target: String,
    path: PathBuf,
    directory: PathBuf,
}

/// What `cargo test --message-format=json` says of what it built.
#[derive(Deserialize)]
struct Artifact {
    executable: Option<PathBuf>,
    manifest_path: PathBuf,
    target: Target,
    profile: Profile,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

fn programs() -> Result<Vec<Program>> {
    let mut build = cargo(["test", "--workspace", "--lib", "--bins", "--tests"]);
    build.args(["--no-run", "--quiet", "--message-format=json"]);
    let text = output(&mut build)?;
    let artifacts = text
        .lines()
        .filter(|line| line.contains(r#""reason":"compiler-artifact""#));
    let mut programs = Vec::new();
    for line in artifacts {
        let artifact: Artifact = serde_json::from_str(line).context("a message of cargo's")?;
        programs.extend(Program::of(artifact));
    }
    Ok(programs)
}

impl Program {
    fn of(artifact: Artifact) -> Option<Self> {
        let directory = artifact.manifest_path.parent()?.to_owned();
        let path = artifact.executable.filter(|_| artifact.profile.test)?;
        Some(Self {
            package: directory.file_name()?.to_string_lossy().into_owned(),
            target: artifact.target.name,
            path,
            directory,
        })
    }

    fn tests(&self) -> Result<Vec<Test>> {
        let mut list = Command::new(&self.path);
        list.current_dir(&self.directory)
            .args(["--list", "--format", "terse"]);
        let text = output(&mut list)?;
        let names = text.lines().filter_map(|line| line.strip_suffix(": test"));
        Ok(names.map(|name| self.test(name)).collect())
    }

    fn test(&self, name: &str) -> Test {
        Test {
            package: self.package.clone(),
            target: self.target.clone(),
            name: name.to_owned(),
            program: self.path.clone(),
            directory: self.directory.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tier_is_at_the_start_of_a_name() {
        assert!(privileged("root_namespaces_are_kept"));
        assert!(privileged("sys::tests::vm_panics"));
        assert!(!privileged("userns_root_is_kept"));
        assert!(!privileged("rooted"));
    }
}
