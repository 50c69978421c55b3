//! Cgroups of tasks: which have to be there, and who goes where.
//!
//! Kind: pure. What is asked for is granted by `--external auto`, or by `--cgroup` with a path above it; a task that is
//! to be where whoever restores is needs no grant.

use crux_image::path::Escaped;
use crux_image::tasks::{
    BpfProgram, CgroupMembership, CgroupSettings, ProcessIndex, ProcessState, Tasks,
};
use crux_mount::hierarchies::is_within;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};

/// Where tasks go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CgroupPlan {
    /// Each once.
    pub cgroups: Vec<CgroupMembership>,
    /// Where the first task is when it makes its cgroup namespace: positions in the list.
    pub first: Vec<u32>,
    /// Where each process is in the end.
    pub processes: Vec<(ProcessIndex, Vec<u32>)>,
    /// eBPF programs.
    pub programs: Vec<BpfProgram>,
    /// What those are set to that have to be made.
    pub settings: Vec<CgroupSettings>,
}

impl CgroupPlan {
    /// For tasks that are restored from a process that is in the cgroups `own`.
    pub(crate) fn new(tasks: &Tasks, own: &[CgroupMembership]) -> Self {
        let living = || {
            let all = tasks.processes.iter().enumerate();
            all.filter(|(_, process)| !matches!(process.state, ProcessState::Zombie(_)))
        };
        let first = &tasks.processes[0];
        let roots = match first.cgroup_namespace {
            Some(index) => &tasks.cgroup_namespaces[index.at()].roots,
            None => &first.cgroups,
        };
        let all = living().flat_map(|(_, process)| &process.cgroups);
        let elsewhere = all.chain(roots).filter(|it| !own.contains(it));
        let mut hierarchies: BTreeSet<_> = elsewhere.map(|it| it.controllers.as_slice()).collect();
        if tasks.programs.iter().any(|it| !it.attached.is_empty()) {
            // Of version 2.
            hierarchies.insert(b"");
        }
        let (mut plan, mut known) = (Self::default(), HashMap::new());
        let mut places = |all: &[CgroupMembership]| -> Vec<u32> {
            let wanted = all
                .iter()
                .filter(|it| hierarchies.contains(it.controllers.as_slice()));
            let place = |it: &CgroupMembership| {
                *known.entry(it.clone()).or_insert_with(|| {
                    plan.cgroups.push(it.clone());
                    plan.cgroups.len() as u32 - 1
                })
            };
            wanted.map(place).collect()
        };
        let roots = places(roots);
        let processes = living().map(|(at, process)| (at.into(), places(&process.cgroups)));
        let processes = processes.collect();
        for cgroup in &tasks.cgroups {
            places(std::slice::from_ref(cgroup));
        }
        let attached = tasks.programs.iter().flat_map(|it| &it.attached);
        for attachment in attached {
            let cgroup = CgroupMembership {
                controllers: Vec::new(),
                path: attachment.cgroup.clone(),
            };
            places(std::slice::from_ref(&cgroup));
        }
        plan.settings.clone_from(&tasks.cgroup_settings);
        plan.programs.clone_from(&tasks.programs);
        plan.first = roots;
        plan.processes = processes;
        plan
    }

    /// Those that are not granted. Nobody need grant that tasks stay where the caller is; but that a program is attached there, which
    /// is in force for the caller as well, has to be granted like that of any other.
    pub(crate) fn missing(&self, rights: &CgroupRights) -> BTreeSet<&[u8]> {
        let asked = self.cgroups.iter().filter(|it| !rights.own.contains(it));
        let attached = self.programs.iter().flat_map(|it| &it.attached);
        let paths = asked.map(|it| it.path.as_slice());
        let paths = paths.chain(attached.map(|it| it.cgroup.as_slice()));
        paths.filter(|path| !rights.grant(path)).collect()
    }
}

/// What the caller lets a restore do with cgroups.
#[derive(Debug, Clone, Default)]
pub(crate) struct CgroupRights {
    /// Paths of which all that is beneath is granted as well.
    pub granted: Vec<Vec<u8>>,
    /// Where the caller is.
    pub own: Vec<CgroupMembership>,
}

impl CgroupRights {
    fn grant(&self, path: &[u8]) -> bool {
        self.granted.iter().any(|above| is_within(path, above))
    }
}

/// What to say of cgroups that are not granted.
pub(crate) fn ungranted(missing: &BTreeSet<&[u8]>) -> String {
    let paths: Vec<String> = missing.iter().map(|it| Escaped(it).to_string()).collect();
    let options: Vec<String> = paths.iter().map(|it| format!("--cgroup={it}")).collect();
    format!(
        "its tasks are to be in cgroups that have not been granted: {}; grant them with {} \
         (or a path above), or all that the image names with --external=auto",
        paths.join(", "),
        options.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::super::compile::tests::record;
    use super::*;
    use crux_image::tasks::{BpfAttachment, PERMIT};

    fn at(controllers: &str, path: &str) -> CgroupMembership {
        CgroupMembership {
            controllers: controllers.into(),
            path: path.into(),
        }
    }

    fn rights(granted: &[&str], own: &[CgroupMembership]) -> CgroupRights {
        CgroupRights {
            granted: granted.iter().map(|it| it.as_bytes().to_vec()).collect(),
            own: own.to_vec(),
        }
    }

    /// One that is attached to a cgroup, and lets all pass.
    fn program(cgroup: &str) -> BpfProgram {
        BpfProgram {
            kind: 8,
            expected: 0,
            name: b"permit".to_vec(),
            gpl: false,
            tag: [0; 8],
            instructions: PERMIT.to_vec(),
            replaced: false,
            attached: vec![BpfAttachment {
                cgroup: cgroup.into(),
                point: 0,
                flags: 0,
            }],
        }
    }

    #[test]
    fn who_is_where_the_caller_is_needs_nothing() {
        let mut tasks = record();
        for process in &mut tasks.processes {
            process.cgroups = vec![at("cpu", "/here"), at("", "/c")];
        }
        let own = [at("cpu", "/here"), at("", "/")];
        let plan = CgroupPlan::new(&tasks, &own);
        assert_eq!(plan.cgroups, [at("", "/c")]);
        assert_eq!((plan.first.clone(), plan.processes.len()), (vec![0], 2));
        let missing = |granted: &[&str]| plan.missing(&rights(granted, &own)).len();
        assert_eq!(missing(&["/c/d", "/ca"]), 1);
        assert_eq!((missing(&["/c"]), missing(&["/"])), (0, 0));
    }

    #[test]
    fn a_program_at_the_callers_own_cgroup_needs_a_grant() {
        let mut tasks = record();
        let own = [at("", "/")];
        for process in &mut tasks.processes {
            process.cgroups = own.to_vec();
        }
        tasks.programs = vec![program("/")];
        let plan = CgroupPlan::new(&tasks, &own);
        assert_eq!(plan.missing(&rights(&["/c"], &own)).len(), 1);
        assert_eq!(plan.missing(&rights(&["/"], &own)).len(), 0);
    }
}
