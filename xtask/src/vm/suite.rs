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

/// What a machine does not have.
struct Lack {
    /// A part of the names of the tests that need it.
    tests: &'static str,
    /// The first kernel that has it; none, if no machine of ours does.
    since: Option<(u32, u32)>,
    what: &'static str,
}

/// How much of the suite runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// All that can.
    All,
    /// What is no matter of an hour.
    Brief,
}

/// A test that the tier leaves out, and `vm-test` runs: by the start of its name, and why.
const SLOW: [(&str, &str); 11] = [
    ("tests::faults root_each_call_", EVERY_CALL),
    ("tests::faults root_restore_killed", EVERY_CALL),
    ("tests::faults root_dump_killed", EVERY_CALL),
    ("tests::dump_tasks root_a_dumper_that_is_killed", EVERY_CALL),
    ("tests::task_role_deaths root_any_role", EVERY_CALL),
    ("tests::many root_ten_thousand", MANY),
    ("tests::targets root_dump_of_a_table_that_changes", RACE),
    ("tests::hostile surroundings::root_cve_2021_30465", RACE),
    ("tests::hostile root_flipped_bits", NO_KERNEL),
    ("tests::hostile root_huge_counts", NO_KERNEL),
    ("crux-image::", NO_KERNEL),
];
const EVERY_CALL: &str =
    "the time: it runs the executables once for each of their calls, and traces them";
const MANY: &str = "the time: a thousand mounts show as much, but for the time";
const RACE: &str = "the time: it waits for a race to end both ways, and it does so on the host";
const NO_KERNEL: &str = "the time: it reads images, which is the same on every kernel";

const LACKS: [Lack; 15] = [
    Lack {
        tests: "tests::lxc",
        since: None,
        what: "the packages of LXC",
    },
    Lack {
        tests: "root_go_survives",
        since: None,
        what: "a Go compiler",
    },
    Lack {
        tests: "root_java_survives",
        since: None,
        what: "a Java runtime",
    },
    Lack {
        tests: "root_node_survives",
        since: None,
        what: "Node.js",
    },
    Lack {
        tests: "root_python_survives",
        since: None,
        what: "Python",
    },
    Lack {
        tests: "root_redis_survives",
        since: None,
        what: "Python, which talks to Redis",
    },
    Lack {
        tests: "root_counters_of_events_survive",
        since: Some((6, 5)),
        what: "whether an eventfd is a semaphore (Linux 6.5)",
    },
    Lack {
        tests: "root_epolls_keep_what_",
        since: Some((6, 5)),
        what: "whether an eventfd is a semaphore (Linux 6.5)",
    },
    Lack {
        tests: "root_a_member_of_group_crux_uses_the_package",
        since: None,
        what: "dpkg",
    },
    Lack {
        tests: "root_what_is_installed_belongs_to_the_group",
        since: None,
        what: "groupadd",
    },
    Lack {
        tests: "root_id_maps_are_observed_where_the_kernel_gives_them",
        since: Some((6, 3)),
        what: "id-mapped tmpfs (Linux 6.3)",
    },
    Lack {
        tests: "root_idmapped_mount_is_refused_unless_the_kernel_tells_its_map",
        since: Some((6, 3)),
        what: "id-mapped tmpfs (Linux 6.3)",
    },
    Lack {
        tests: "root_idmapped_mounts_are_restored",
        since: Some((6, 15)),
        what: "id-maps told by statmount (Linux 6.15)",
    },
    Lack {
        tests: "root_overlay_with_options_over_a_page_is_restored",
        since: Some((6, 7)),
        what: "an overlay's lowerdir+ (Linux 6.7)",
    },
    Lack {
        tests: "mount_tucked_beneath",
        since: Some((6, 5)),
        what: "MOVE_MOUNT_BENEATH (Linux 6.5)",
    },
];

/// The tests.
#[derive(Debug, Default)]
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
        Ok(Self {
            tests: all,
            absent: Vec::new(),
        })
    }

    /// What of it a machine with this kernel can and shall run.
    pub(super) fn on(&self, release: &str, scope: Scope) -> Self {
        let mut suite = Self::default();
        for test in &self.tests {
            match lack(test, version(release)).or_else(|| too_slow(test, scope)) {
                Some(what) => suite.absent.push((test.clone(), what)),
                None => suite.tests.push(test.clone()),
            }
        }
        suite
    }

    /// The programs that hold the tests, each once.
    pub(super) fn programs(&self) -> Vec<&Path> {
        let mut paths: Vec<&Path> = self.tests.iter().map(|test| &*test.program).collect();
        paths.sort_unstable();
        paths.dedup();
        paths
    }
}

#[cfg(test)]
impl Suite {
    /// So many tests, for the tests of who watches them.
    pub(super) fn of(count: usize) -> Self {
        let test = |number| Test {
            package: "p".into(),
            target: "t".into(),
            name: format!("root_{number}"),
            program: "/t".into(),
            directory: "/".into(),
        };
        Self {
            tests: (0..count).map(test).collect(),
            absent: Vec::new(),
        }
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

fn lack(test: &Test, kernel: (u32, u32)) -> Option<&'static str> {
    let name = test.to_string();
    let lacks = LACKS.iter().filter(|lack| name.contains(lack.tests));
    let found = lacks
        .into_iter()
        .find(|lack| lack.since.is_none_or(|since| kernel < since));
    found.map(|lack| lack.what)
}

fn too_slow(test: &Test, scope: Scope) -> Option<&'static str> {
    let name = test.to_string();
    let mut slow = SLOW.iter().filter(|(start, _)| name.starts_with(start));
    let found = slow.find(|_| scope == Scope::Brief);
    found.map(|(_, why)| *why)
}

/// The first two numbers of a release. One without them is of a kernel of somebody's own:
/// taken to be new.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(['.', '-']).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
        _ => (u32::MAX, 0),
    }
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
    fn kernels_are_in_the_order_of_their_numbers() {
        assert!(version("6.1.0-56-cloud-amd64") < version("6.12.95+deb12-cloud-amd64"));
        assert!(version("bzImage") > version("6.12.0"));
    }

    #[test]
    fn the_tier_is_at_the_start_of_a_name() {
        assert!(privileged("root_namespaces_are_kept"));
        assert!(privileged("sys::tests::vm_panics"));
        assert!(!privileged("userns_root_is_kept"));
        assert!(!privileged("rooted"));
    }
}
