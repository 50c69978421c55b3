//! Credentials: the last that a task gives itself, for they take away what the lines before needed.
//!
//! Kind: pure.

use super::Compiler;
use super::users::EVERYTHING;
use crux_image::tasks::{Credentials, Process};
use crux_script::{Block, Call, ScriptId, arguments};

/// `SECBIT_NO_SETUID_FIXUP`, `SECBIT_KEEP_CAPS`: a change of uid leaves the sets alone.
const KEEP: u32 = 1 << 2 | 1 << 4;
/// `SECBIT_*_LOCKED`: every other bit.
const LOCKS: u32 = 0xaa;
/// `_LINUX_CAPABILITY_VERSION_3`.
const VERSION: u64 = 0x2008_0522;

impl Compiler<'_> {
    pub(super) fn credentials(
        &mut self,
        script: ScriptId,
        process: &Process,
        wanted: &Credentials,
    ) {
        self.enter_user_namespace(script, process, wanted);
        let held = match process.user_namespace {
            Some(_) => EVERYTHING,
            None => self.machine.capabilities,
        };
        let sets = &wanted.capabilities;
        let lacking = (sets.permitted | sets.inheritable) & !held;
        if lacking != 0 {
            let what = format!("it has capabilities that cannot be given to it ({lacking:#x})");
            self.refuse(process, what);
        }
        if sets.inheritable & !sets.bounding != 0 {
            // Not to be had any more when the bounding set is smaller.
            self.capset(script, [held, held, sets.inheritable]);
        }
        self.bounding(script, held & !sets.bounding);
        let option = libc::PR_SET_SECUREBITS;
        let loose = wanted.securebits & !LOCKS | KEEP;
        self.prctl(script, &[option as u64, loose.into()]);
        if self.machine.own.is_some() {
            // Refused if they are to be others.
        } else if !self.denies_groups(process) {
            self.set_groups(script, &wanted.groups);
        } else if wanted.groups != self.first_groups() && self.entered(process).is_none() {
            self.refuse(
                process,
                "it has other groups than the first process, in a user namespace that lets nobody set them",
            );
        }
        self.group_ids(script, wanted);
        let [real, effective, saved, file_system] = wanted.uids;
        let ids = arguments![real, effective, saved];
        self.arena
            .call(script, Call::new(libc::SYS_setresuid).with(ids));
        if file_system != effective {
            // It answers with the id before.
            let call = Call::new(libc::SYS_setfsuid).with(arguments![file_system]);
            self.arena.call(script, call);
        }
        self.prctl(script, &[option as u64, wanted.securebits.into()]);
        self.sets(script, wanted);
        if wanted.no_new_privs {
            self.prctl(script, &[libc::PR_SET_NO_NEW_PRIVS as u64, 1]);
        }
    }

    fn prctl(&mut self, script: ScriptId, arguments: &[u64]) {
        let mut call = Call::new(libc::SYS_prctl);
        for (at, argument) in arguments.iter().enumerate() {
            call = call.argument(at, *argument);
        }
        self.arena.call(script, call);
    }

    fn bounding(&mut self, script: ScriptId, dropped: u64) {
        let drop = libc::PR_CAPBSET_DROP as u64;
        for capability in (0..64).filter(|it| dropped >> it & 1 == 1) {
            self.prctl(script, &[drop, capability]);
        }
    }

    pub(super) fn first_groups(&self) -> &[u32] {
        let first = self.tasks.processes[0].threads.first();
        first.map_or(&[], |it| &it.credentials.groups)
    }

    pub(super) fn set_groups(&mut self, script: ScriptId, groups: &[u32]) {
        let count = groups.len();
        let groups: Vec<u8> = groups.iter().flat_map(|it| it.to_le_bytes()).collect();
        let call = match count {
            0 => Call::new(libc::SYS_setgroups).with(arguments![0_u32, 0_u32]),
            _ => {
                let block = self.bytes(groups);
                Call::new(libc::SYS_setgroups).with(arguments![count, block])
            }
        };
        self.arena.call(script, call);
    }

    fn group_ids(&mut self, script: ScriptId, wanted: &Credentials) {
        let [real, effective, saved, file_system] = wanted.gids;
        let ids = arguments![real, effective, saved];
        self.arena
            .call(script, Call::new(libc::SYS_setresgid).with(ids));
        if file_system != effective {
            let call = Call::new(libc::SYS_setfsgid).with(arguments![file_system]);
            self.arena.call(script, call);
        }
    }

    fn sets(&mut self, script: ScriptId, wanted: &Credentials) {
        let sets = &wanted.capabilities;
        self.capset(script, [sets.effective, sets.permitted, sets.inheritable]);
        let (ambient, raise) = (
            libc::PR_CAP_AMBIENT as u64,
            libc::PR_CAP_AMBIENT_RAISE as u64,
        );
        for capability in (0..64).filter(|it| sets.ambient >> it & 1 == 1) {
            self.prctl(script, &[ambient, raise, capability]);
        }
    }
    /// capset(2): low halves of effective, permitted and inheritable, then the high halves.
    fn capset(&mut self, script: ScriptId, sets: [u64; 3]) {
        let halves = sets.map(|set| set as u32).into_iter();
        let halves = halves.chain(sets.map(|set| (set >> 32) as u32));
        let data = self.bytes(halves.flat_map(u32::to_le_bytes).collect::<Vec<u8>>());
        let head = self.arena.block(Block::words(&[VERSION]));
        let call = Call::new(libc::SYS_capset).with(arguments![head, data]);
        self.arena.call(script, call);
    }
}
