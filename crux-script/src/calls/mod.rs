//! The table of calls that scripts may make. It drives checker, listing and documentation.
//!
//! Kind: pure. Two closed lists: what is in neither is not made.

mod credentials;
#[cfg(test)]
mod documented_test;
mod files;
mod inodes;
mod ipc;
mod kind;
mod memory;
mod reading;
mod rules;
mod signals;
mod sockets;
mod tasks;
mod terminals;
mod time;

pub use kind::{Form, Kind, Names, Null, Purpose, Size};
pub(crate) use rules::{TASK_END, View};

use crate::line::{Argument, Call};

/// The list for each purpose.
pub fn list(purpose: Purpose) -> impl Iterator<Item = &'static Form> {
    let tables: &[&'static [Form]] = match purpose {
        Purpose::Dump => &[reading::FORMS, reading::PRCTL],
        Purpose::Restore => &[
            memory::FORMS,
            files::FORMS,
            files::FCNTL,
            terminals::FORMS,
            inodes::FORMS,
            sockets::FORMS,
            ipc::FORMS,
            tasks::FORMS,
            tasks::PRCTL,
            tasks::PRCTL2,
            signals::FORMS,
            time::FORMS,
            credentials::FORMS,
        ],
    };
    tables.iter().flat_map(|table| table.iter())
}

/// Why a call has no form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unlisted {
    /// It is not in the list.
    Number,
    /// Other forms of it are.
    Form(&'static str),
}

/// The form that a call has.
pub(crate) fn form_of(purpose: Purpose, call: &Call) -> Result<&'static Form, Unlisted> {
    let mut other = None;
    for form in list(purpose).filter(|form| form.number == call.number) {
        if form.fits(call) {
            return Ok(form);
        }
        other = Some(form.name);
    }
    Err(other.map_or(Unlisted::Number, Unlisted::Form))
}

/// The name of a call by its number, for messages.
pub(crate) fn name_of(number: u32) -> Option<&'static str> {
    let all = list(Purpose::Restore).chain(list(Purpose::Dump));
    let mut found = all.filter(|form| form.number == number);
    found.next().map(|form| form.name)
}

impl Form {
    /// Whether a call has all that distinguishes this form.
    fn fits(&self, call: &Call) -> bool {
        let mut pairs = self.arguments.iter().zip(&call.arguments);
        pairs.all(|((_, kind), argument)| match kind {
            Kind::Is(_, value) => *argument == Argument::Literal(*value),
            _ => true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_forms_of_a_list_are_the_same() {
        for purpose in [Purpose::Dump, Purpose::Restore] {
            let forms: Vec<_> = list(purpose).collect();
            for (index, form) in forms.iter().enumerate() {
                let mut call = Call::new(form.number.into());
                for (at, (_, kind)) in form.arguments.iter().enumerate() {
                    if let Kind::Is(_, value) = kind {
                        call.arguments[at] = Argument::Literal(*value);
                    }
                }
                let found = form_of(purpose, &call).unwrap();
                assert!(
                    std::ptr::eq(found, *form),
                    "{} (row {index}) is hidden by an earlier one",
                    form.name
                );
            }
        }
    }

    #[test]
    fn arguments_name_arguments_that_exist() {
        for form in list(Purpose::Dump).chain(list(Purpose::Restore)) {
            assert!(form.arguments.len() <= 6, "{}", form.name);
            for (_, kind) in form.arguments {
                let other = match kind {
                    Kind::Pages(other) | Kind::Memory(other) => *other,
                    Kind::In(Size::Argument(other) | Size::Each(other, _), _) => *other,
                    Kind::Out(Size::Argument(other) | Size::Each(other, _), _) => *other,
                    _ => continue,
                };
                assert!(other < form.arguments.len(), "{}", form.name);
            }
        }
    }

    #[test]
    fn what_could_hurt_is_in_no_list() {
        let refused = [
            libc::SYS_execve,
            libc::SYS_ptrace,
            libc::SYS_mount,
            libc::SYS_seccomp,
            libc::SYS_process_vm_writev,
            libc::SYS_userfaultfd,
            libc::SYS_io_uring_setup,
            libc::SYS_bpf,
            libc::SYS_rt_sigreturn,
            libc::SYS_vfork,
            libc::SYS_unlink,
            libc::SYS_renameat2,
            libc::SYS_reboot,
        ];
        for number in refused {
            assert_eq!(name_of(number as u32), None);
        }
    }

    #[test]
    fn a_dump_makes_no_call_that_sets_a_restart_block_or_a_mask() {
        let disturbing = [
            libc::SYS_nanosleep,
            libc::SYS_clock_nanosleep,
            libc::SYS_poll,
            libc::SYS_futex,
            libc::SYS_restart_syscall,
            libc::SYS_rt_sigprocmask,
            libc::SYS_rt_sigreturn,
        ];
        for form in list(Purpose::Dump) {
            assert!(!disturbing.contains(&form.number.into()), "{}", form.name);
        }
    }
}
