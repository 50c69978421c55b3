//! Which system calls a role may make, and with which arguments.
//!
//! Kind: pure, but for [`Program::install`]. A filter is described, compiled
//! (equal descriptions give equal programs), and then put in force. What is not
//! listed kills the process.

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

/// A condition on one argument of a call. The kernel's arguments of this kind are ints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Argument `.0` is `.1`.
    Is(u8, u32),
    /// Of the bits `.1` of argument `.0`, exactly those in `.2` are set.
    Bits(u8, u32, u32),
}

/// An allow-list of system calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter(BTreeMap<i64, Vec<Vec<Condition>>>);

/// A filter that the kernel can run. Only [`Filter::compile`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program(BpfProgram);

/// Why there is no filter in force.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// The description is wrong, or the machine is of an unknown kind.
    #[error("compile the filter: {0}")]
    Compile(#[from] seccompiler::BackendError),
    /// The kernel refused it.
    #[error("install the filter: {0}")]
    Install(#[from] seccompiler::Error),
}

impl Filter {
    /// What every role does: memory, messages, and the end.
    pub fn base() -> Self {
        Self::default()
            .allow(&[
                libc::SYS_brk,
                libc::SYS_clock_gettime,
                libc::SYS_close,
                libc::SYS_exit,
                libc::SYS_exit_group,
                libc::SYS_futex,
                libc::SYS_getpid,
                libc::SYS_getrandom,
                libc::SYS_gettid,
                libc::SYS_madvise,
                libc::SYS_mremap,
                libc::SYS_munmap,
                libc::SYS_read,
                libc::SYS_recvmsg,
                libc::SYS_restart_syscall,
                libc::SYS_rt_sigaction,
                libc::SYS_rt_sigprocmask,
                libc::SYS_rt_sigreturn,
                libc::SYS_sched_yield,
                libc::SYS_sendmsg,
                libc::SYS_sigaltstack,
                libc::SYS_tgkill,
                libc::SYS_write,
                libc::SYS_writev,
            ])
            .when(libc::SYS_mmap, &[no_code()])
            .when(libc::SYS_mprotect, &[no_code()])
            // Debug builds of std look whether a descriptor that they close is open.
            .one_of(libc::SYS_fcntl, 1, &[libc::F_GETFD as u32])
    }

    /// Allows calls with any arguments.
    #[must_use]
    pub fn allow(mut self, calls: &[libc::c_long]) -> Self {
        for call in calls {
            self.0.insert(*call, Vec::new());
        }
        self
    }

    /// Allows a call where all of the conditions hold; said twice, where one or the other does.
    #[must_use]
    pub fn when(mut self, call: libc::c_long, conditions: &[Condition]) -> Self {
        self.0.entry(call).or_default().push(conditions.to_vec());
        self
    }

    /// Allows a call where an argument is one of `values`.
    #[must_use]
    pub fn one_of(self, call: libc::c_long, argument: u8, values: &[u32]) -> Self {
        let each = values.iter();
        each.fold(self, |filter, value| {
            filter.when(call, &[Condition::Is(argument, *value)])
        })
    }

    /// Whether a call is listed, with whatever conditions.
    pub fn lists(&self, call: libc::c_long) -> bool {
        self.0.contains_key(&call)
    }

    /// The program that the kernel runs.
    pub fn compile(&self) -> Result<Program, FilterError> {
        let mut rules = BTreeMap::new();
        for (call, alternatives) in &self.0 {
            let alternatives = alternatives.iter().map(|all| rule(all));
            rules.insert(*call, alternatives.collect::<Result<_, _>>()?);
        }
        let arch = TargetArch::try_from(std::env::consts::ARCH)?;
        let (other, listed) = (SeccompAction::KillProcess, SeccompAction::Allow);
        let filter = SeccompFilter::new(rules, other, listed, arch)?;
        Ok(Program(filter.try_into()?))
    }
}

/// No memory becomes code.
fn no_code() -> Condition {
    Condition::Bits(2, libc::PROT_EXEC as u32, 0)
}

fn rule(conditions: &[Condition]) -> Result<SeccompRule, seccompiler::BackendError> {
    let condition = |it: &Condition| {
        let (argument, test, value) = match *it {
            Condition::Is(argument, value) => (argument, SeccompCmpOp::Eq, value),
            Condition::Bits(argument, mask, value) => {
                (argument, SeccompCmpOp::MaskedEq(mask.into()), value)
            }
        };
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, test, value.into())
    };
    SeccompRule::new(conditions.iter().map(condition).collect::<Result<_, _>>()?)
}

impl Program {
    /// Puts the filter in force for the calling thread and whatever it makes, for
    /// ever, and `no_new_privs` with it.
    pub fn install(&self) -> Result<(), FilterError> {
        Ok(seccompiler::apply_filter(&self.0)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_descriptions_compile_to_equal_programs() {
        let one = Filter::default().allow(&[libc::SYS_read, libc::SYS_write]);
        let other = Filter::default().allow(&[libc::SYS_write, libc::SYS_read]);
        assert_eq!(one.compile().unwrap(), other.compile().unwrap());
        let narrow = other.when(libc::SYS_socketpair, &[Condition::Is(0, 1)]);
        assert_ne!(one.compile().unwrap(), narrow.compile().unwrap());
    }
}
