//! Filters of system calls.
//!
//! Kind: pure.

use super::{TasksError, TasksPlace, TasksRule, at_most, in_range};
use crate::tasks::{SeccompChain, SeccompFilter, SeccompState, Tasks};

/// `MAX_INSNS_PER_PATH`.
const WEIGHT_LIMIT: usize = 32 << 10;
const CHAIN_LIMIT: usize = 1 << 22;

pub(super) fn check(tasks: &Tasks) -> Result<(), TasksError> {
    let count = tasks.seccomp_chains.len();
    at_most("chains of seccomp filters", count, CHAIN_LIMIT)
        .map_err(|rule| rule.at(TasksPlace::Record))?;
    for (at, chain) in tasks.seccomp_chains.iter().enumerate() {
        check_chain(chain).map_err(|rule| rule.at(TasksPlace::Seccomp(at)))?;
    }
    for (at, process) in tasks.processes.iter().enumerate() {
        for (number, thread) in process.threads.iter().enumerate() {
            if let SeccompState::Filters(index) = thread.seccomp {
                in_range("seccomp filters", index.at(), count)
                    .map_err(|rule| rule.at(TasksPlace::Thread(at, number)))?;
            }
        }
    }
    Ok(())
}

fn check_chain(chain: &SeccompChain) -> Result<(), TasksRule> {
    at_most(
        "instructions of seccomp filters",
        chain.weight(),
        WEIGHT_LIMIT,
    )?;
    match !chain.filters.is_empty() && chain.filters.iter().all(SeccompFilter::is_sound) {
        true => Ok(()),
        false => Err(TasksRule::Filter),
    }
}
