//! Filters of system calls. No script could go on under them: they are installed from outside, when nothing
//! else is left to do, by calls from the vDSO.
//!
//! Kind: pure.

use super::Compiler;
use crate::tasks::plan::{PlannedFilter, PlannedSeccomp};
use crux_image::tasks::{
    AddressSpace, Area, Backing, Credentials, FilteredCall, PAGE_SIZE, Process, SeccompChain,
    SeccompState, Sharing, Thread,
};

/// `CAP_SYS_ADMIN`, as a bit.
const SYS_ADMIN: u64 = 1 << 21;
/// Before the instructions: `struct sock_fprog`, or what capset(2) reads.
const HEAD: u64 = 64;
const INSTRUCTION: u64 = 8;
const PR_SET_SECCOMP: u64 = 22;
const SECCOMP_MODE_FILTER: u64 = 2;
const SECCOMP_SET_MODE_FILTER: u64 = 1;

/// Whether a thread needs CAP_SYS_ADMIN until its filters are there, and not any longer.
fn borrows(thread: &Thread) -> bool {
    let credentials = &thread.credentials;
    thread.seccomp != SeccompState::Off
        && !credentials.no_new_privs
        && credentials.capabilities.effective & SYS_ADMIN == 0
}

/// The credentials that a thread gives itself.
pub(super) fn for_now(thread: &Thread) -> Credentials {
    let mut credentials = thread.credentials.clone();
    if borrows(thread) {
        credentials.capabilities.effective |= SYS_ADMIN;
        credentials.capabilities.permitted |= SYS_ADMIN;
    }
    credentials
}

impl Compiler<'_> {
    /// What the tracer does about a thread's filters.
    pub(super) fn seccomp(&mut self, process: &Process, thread: &Thread) -> Option<PlannedSeccomp> {
        let SeccompState::Filters(index) = thread.seccomp else {
            return None;
        };
        let tasks = self.tasks;
        let chain = &tasks.seccomp_chains[index.at()];
        let space = &tasks.spaces[process.space?.at()];
        let planned = plan(chain, space, thread);
        match planned {
            Ok(planned) => Some(planned),
            Err(what) => {
                self.refuse(process, what);
                None
            }
        }
    }
}

fn plan(
    chain: &SeccompChain,
    space: &AddressSpace,
    thread: &Thread,
) -> Result<PlannedSeccomp, &'static str> {
    let at = instruction(space)
        .ok_or("it has seccomp filters and no vDSO, which cannot be restored yet")?;
    let longest = chain.filters.iter().map(|it| it.program.len() as u64).max();
    let length = HEAD + longest.unwrap_or(0) * INSTRUCTION;
    let scratch = scratch(space, length)
        .ok_or("it has seccomp filters and no memory in which they could be written down")?;
    let call = |number: libc::c_long, arguments: [u64; 6]| FilteredCall {
        number: number as u32,
        instruction: at + 2,
        arguments,
    };
    let mut filters = Vec::with_capacity(chain.filters.len());
    let mut before = SeccompChain {
        filters: Vec::new(),
    };
    for filter in &chain.filters {
        let flags = if filter.log { 2 } else { 0 };
        let seccomp = call(
            libc::SYS_seccomp,
            [SECCOMP_SET_MODE_FILTER, flags, scratch, 0, 0, 0],
        );
        let prctl = call(
            libc::SYS_prctl,
            [PR_SET_SECCOMP, SECCOMP_MODE_FILTER, scratch, 0, 0, 0],
        );
        let with = match () {
            () if before.allows(&seccomp) => seccomp,
            () if !filter.log && before.allows(&prctl) => prctl,
            () => {
                return Err("a seccomp filter of its does not allow the next one to be installed");
            }
        };
        filters.push(PlannedFilter {
            number: with.number,
            arguments: with.arguments,
            program: filter.program.clone(),
        });
        before.filters.push(filter.clone());
    }
    let sets = &thread.credentials.capabilities;
    let sets = borrows(thread).then_some([sets.effective, sets.permitted, sets.inheritable]);
    let capset = call(libc::SYS_capset, [scratch, scratch + 8, 0, 0, 0, 0]);
    if sets.is_some() && !chain.allows(&capset) {
        return Err("its seccomp filter does not allow capset, which has to come after it");
    }
    Ok(PlannedSeccomp {
        filters,
        instruction: at,
        scratch,
        length,
        sets,
    })
}

/// The address of an instruction `syscall` in the vDSO, which has some for clocks that cannot be read otherwise.
fn instruction(space: &AddressSpace) -> Option<u64> {
    let vdso = space.vdso.as_ref()?;
    let at = vdso.bytes.windows(2).position(|it| it == [0x0f, 0x05])?;
    Some(vdso.address + at as u64)
}

/// Memory that is the process's alone and can be written, for a moment: where pages are in use, if it can be.
fn scratch(space: &AddressSpace, length: u64) -> Option<u64> {
    let fits = |area: &&Area| {
        area.backing == Backing::Anonymous
            && area.sharing == Sharing::Private
            && area.protection.read
            && area.protection.write
            && area.end - area.start >= length
    };
    let used = |area: &Area| {
        let mut runs = area.pages.iter();
        let run = runs.find(|run| run.count * PAGE_SIZE >= length);
        run.map(|run| run.start)
    };
    let areas = || space.areas.iter().filter(fits);
    areas()
        .find_map(used)
        .or_else(|| areas().next().map(|area| area.start))
}

#[cfg(test)]
mod tests {
    use super::super::tests::record;
    use super::*;
    use crux_image::tasks::{FilterInstruction, SeccompFilter, SeccompIndex, VdsoImage};

    /// Everything but one call.
    fn all_but(number: libc::c_long) -> SeccompFilter {
        let instruction = |code, jump_true, constant| FilterInstruction {
            code,
            jump_true,
            jump_false: 0,
            constant,
        };
        SeccompFilter {
            log: false,
            program: vec![
                instruction(0x20, 0, 0),
                instruction(0x15, 1, number as u32),
                instruction(0x06, 0, 0x7fff_0000),
                instruction(0x06, 0, 0x0005_0001),
            ],
        }
    }

    fn planned(filters: Vec<SeccompFilter>, nnp: bool) -> Result<PlannedSeccomp, &'static str> {
        let tasks = record();
        let mut space = tasks.spaces[0].clone();
        space.vdso = Some(VdsoImage {
            address: 0x7000,
            bytes: vec![0x90, 0x0f, 0x05, 0xc3],
        });
        for area in &mut space.areas {
            area.protection.write = true;
        }
        let mut thread = tasks.processes[0].threads[0].clone();
        thread.seccomp = SeccompState::Filters(SeccompIndex(0));
        thread.credentials.no_new_privs = nnp;
        thread.credentials.capabilities.effective = 0;
        plan(&SeccompChain { filters }, &space, &thread)
    }

    #[test]
    fn each_filter_is_installed_by_a_call_that_those_before_allow() {
        let filters = vec![all_but(libc::SYS_seccomp), all_but(libc::SYS_prctl)];
        let plan = planned(filters.clone(), true).unwrap();
        assert_eq!(plan.instruction, 0x7001);
        let numbers = plan.filters.iter().map(|it| i64::from(it.number));
        let numbers: Vec<_> = numbers.collect();
        assert_eq!(numbers, [libc::SYS_seccomp, libc::SYS_prctl]);
        let third = [filters, vec![all_but(1)]].concat();
        assert!(planned(third, true).is_err());
    }

    #[test]
    fn who_has_no_privilege_borrows_it_until_the_filter_is_there() {
        let plan = planned(vec![all_but(1)], false).unwrap();
        assert!(plan.sets.is_some());
        assert!(planned(vec![all_but(libc::SYS_capset)], false).is_err());
        assert_eq!(
            planned(vec![all_but(libc::SYS_capset)], true).unwrap().sets,
            None
        );
    }
}
