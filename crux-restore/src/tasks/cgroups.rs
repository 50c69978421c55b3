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

    /// Those that none of these paths is above of; `own` are the caller's.
    pub(crate) fn missing(&self, granted: &[Vec<u8>], own: &[CgroupMembership]) -> BTreeSet<&[u8]> {
        let is_granted = |path: &[u8]| granted.iter().any(|above| is_within(path, above));
        let asked = self.cgroups.iter().filter(|it| !own.contains(it));
        let paths = asked.map(|it| it.path.as_slice());
        paths.filter(|path| !is_granted(path)).collect()
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

    fn at(controllers: &str, path: &str) -> CgroupMembership {
        CgroupMembership {
            controllers: controllers.into(),
            path: path.into(),
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
        let missing = |granted: &[&str]| {
            let granted: Vec<Vec<u8>> = granted.iter().map(|it| it.as_bytes().to_vec()).collect();
            plan.missing(&granted, &own).len()
        };
        assert_eq!(missing(&["/c/d", "/ca"]), 1);
        assert_eq!((missing(&["/c"]), missing(&["/"])), (0, 0));
    }
}
