//! Semaphores, message queues and segments of an ipc namespace.
//!
//! Kind: pure. The first process makes all of them when it is there; the last to have changed a semaphore is
//! each process itself. An object gets its id by the sysctl that says which the next one has.

use super::Compiler;
use super::namespaces::Kind;
use super::users;
use crux_image::mounts::UserNsIndex;
use crux_image::tasks::{
    IpcContents, IpcLimits, IpcNsIndex, IpcObject, MessageQueue, Process, ProcessIndex,
    SemaphoreSet, SharedMemoryIndex, SharedMemoryKind,
};
use crux_script::{Block, BlockId, Call, LineId, ScriptId, arguments};

/// `IPC_CREAT|IPC_EXCL`.
const NEW: u32 = (libc::IPC_CREAT | libc::IPC_EXCL) as u32;
const SETVAL: i32 = 16;
const SETALL: i32 = 17;
const SHM_LOCK: i32 = 11;

/// An operation on a semaphore (`struct sembuf`).
type Operation = (u32, i16, i32);

impl<'a> Compiler<'a> {
    /// All but shared memory, which is made with all other shared memory.
    pub(super) fn ipc(&mut self, at: ProcessIndex) {
        let tasks = self.tasks;
        for contents in &tasks.ipc_contents {
            self.refuse_owned(contents);
            self.leave_for(at, contents.namespace);
            self.raise(at, contents);
            for set in &contents.semaphores {
                self.semaphore_set(at, set);
            }
            for queue in &contents.queues {
                self.message_queue(at, queue);
            }
            self.come_back(at, contents.namespace);
        }
    }

    /// The sysctls, when all is there that they may forbid.
    pub(super) fn ipc_limits(&mut self, at: ProcessIndex) {
        let tasks = self.tasks;
        for contents in &tasks.ipc_contents {
            let namespace = contents.namespace;
            let owner = tasks.ipc_namespaces[namespace.at()].user_namespace;
            if let Some(owner) = owner.filter(|_| owner != users::born(tasks)) {
                self.allow_as_root_of(owner, namespace, &contents.limits);
                continue;
            }
            self.leave_for(at, namespace);
            self.allow(self.scripts[at.at()], &contents.limits);
            self.come_back(at, namespace);
        }
    }

    /// KERNEL: no capability helps to write a sysctl that the root of another user namespace owns.
    fn allow_as_root_of(&mut self, owner: UserNsIndex, namespace: IpcNsIndex, limits: &IpcLimits) {
        let ipc = self.numbers.kept(Kind::Ipc, Some(namespace.at()));
        let helper = self.help_in_user_namespace(owner, "limits of an IPC namespace");
        let join = Call::new(libc::SYS_setns).with(arguments![ipc, libc::CLONE_NEWIPC]);
        self.arena.call(helper, join);
        for number in [libc::SYS_setresgid, libc::SYS_setresuid] {
            let call = Call::new(number).with(arguments![0_u32, 0_u32, 0_u32]);
            self.arena.call(helper, call);
        }
        self.allow(helper, limits);
        self.end_help(helper);
    }

    /// Owners are told in the ids of the user namespace that who makes an object is in.
    fn refuse_owned(&mut self, contents: &IpcContents) {
        let owner = self.tasks.ipc_namespaces[contents.namespace.at()].user_namespace;
        let empty = contents.semaphores.is_empty()
            && contents.queues.is_empty()
            && contents.segments.is_empty();
        if owner.is_some() && !empty {
            let what = "an ipc namespace of a user namespace of the container has objects of System V, which cannot be restored yet";
            self.refuse(&self.tasks.processes[0], what);
        }
    }

    /// From the first task's ipc namespace to another.
    fn leave_for(&mut self, at: ProcessIndex, namespace: IpcNsIndex) {
        if self.tasks.processes[0].ipc_namespace != Some(namespace) {
            self.enter_ipc(at, Some(namespace));
        }
    }

    fn come_back(&mut self, at: ProcessIndex, namespace: IpcNsIndex) {
        let home = self.tasks.processes[0].ipc_namespace;
        if home != Some(namespace) {
            self.enter_ipc(at, home);
        }
    }

    fn enter_ipc(&mut self, at: ProcessIndex, namespace: Option<IpcNsIndex>) {
        let fd = self.numbers.kept(Kind::Ipc, namespace.map(|it| it.at()));
        let call = Call::new(libc::SYS_setns).with(arguments![fd, libc::CLONE_NEWIPC]);
        self.call(at, call);
    }

    fn contents_of(&self, process: &Process) -> Option<&'a IpcContents> {
        let namespace = process.ipc_namespace?;
        let tasks = self.tasks;
        let mut all = tasks.ipc_contents.iter();
        all.find(|it| it.namespace == namespace)
    }

    /// What may have been allowed when a queue was made or filled.
    fn raise(&mut self, at: ProcessIndex, contents: &IpcContents) {
        let queues = || contents.queues.iter();
        if queues().next().is_none() {
            return;
        }
        let texts = || queues().flat_map(|queue| queue.messages.iter().map(|it| it.text.len()));
        let longest = texts().max().unwrap_or(0) as u64;
        let script = self.scripts[at.at()];
        self.sysctl(
            script,
            "kernel/msgmax",
            &[contents.limits.msgmax.max(longest)],
        );
        let all = queues().map(|queue| queue.bytes.max(held(queue)));
        let most = all.max().unwrap_or(0).max(contents.limits.msgmnb);
        self.sysctl(script, "kernel/msgmnb", &[most]);
    }

    fn allow(&mut self, script: ScriptId, limits: &IpcLimits) {
        for (name, value) in [
            ("kernel/shmmax", limits.shmmax),
            ("kernel/shmall", limits.shmall),
            ("kernel/shmmni", limits.shmmni),
            ("kernel/shm_rmid_forced", limits.shm_rmid_forced),
            ("kernel/msgmax", limits.msgmax),
            ("kernel/msgmnb", limits.msgmnb),
            ("kernel/msgmni", limits.msgmni),
        ] {
            self.sysctl(script, name, &[value]);
        }
        self.sysctl(script, "kernel/sem", &limits.sem);
        let names = [
            "queues_max",
            "msg_max",
            "msgsize_max",
            "msg_default",
            "msgsize_default",
        ];
        // A kernel without them says 0 of all.
        if limits.mqueue.iter().any(|it| *it != 0) {
            for (name, value) in names.into_iter().zip(limits.mqueue) {
                self.sysctl(script, &format!("fs/mqueue/{name}"), &[value]);
            }
        }
    }

    /// KERNEL: a sysctl is that of the ipc namespace that who opens it is in, whichever proc it is in.
    fn sysctl(&mut self, script: ScriptId, name: &str, values: &[u64]) {
        let Some(proc) = self.numbers.proc else {
            return;
        };
        let path = self.string(format!("sys/{name}").as_bytes());
        let flags = libc::O_WRONLY | libc::O_CLOEXEC;
        let fd = Call::new(libc::SYS_openat).with(arguments![proc, path, flags]);
        let fd = self.arena.call(script, fd);
        let words: Vec<_> = values.iter().map(u64::to_string).collect();
        let text = words.join(" ");
        let block = self.string(text.as_bytes());
        let write = Call::new(libc::SYS_write).with(arguments![fd, block, text.len()]);
        self.arena.call(script, write.exactly(text.len() as u64));
        self.arena
            .call(script, Call::new(libc::SYS_close).with(arguments![fd]));
    }

    /// Makes an object with this id, as its creator.
    fn make_object(
        &mut self,
        at: ProcessIndex,
        kind: &str,
        object: &IpcObject,
        call: Call,
    ) -> LineId {
        self.sysctl(
            self.scripts[at.at()],
            &format!("kernel/{kind}_next_id"),
            &[object.id.into()],
        );
        let (uid, gid) = (object.creator_uid, object.creator_gid);
        let foreign = uid != 0 || gid != 0;
        if foreign {
            // A capability that this takes away comes back with the id.
            self.become_effective(at, libc::SYS_setresgid, gid);
            self.become_effective(at, libc::SYS_setresuid, uid);
        }
        let made = self.call(at, call.exactly(object.id.into()));
        if foreign {
            self.become_effective(at, libc::SYS_setresuid, 0);
            self.become_effective(at, libc::SYS_setresgid, 0);
            let option = libc::PR_SET_DUMPABLE;
            let dumpable = Call::new(libc::SYS_prctl).with(arguments![option, 1_u32]);
            self.call(at, dumpable);
        }
        made
    }

    fn become_effective(&mut self, at: ProcessIndex, call: libc::c_long, id: u32) {
        let same = u32::MAX;
        self.call(at, Call::new(call).with(arguments![same, id, same]));
    }

    /// What `IPC_SET` reads: owner and mode, and of a queue its limit.
    fn ipc_settings(&mut self, object: &IpcObject, limit: u64) -> BlockId {
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let mut words = [0; 15];
        words[0] = pair(object.key, object.uid);
        words[1] = pair(object.gid, 0);
        words[2] = pair(0, object.mode.into());
        words[11] = limit;
        self.arena.block(Block::words(&words))
    }

    fn semaphore_set(&mut self, at: ProcessIndex, set: &SemaphoreSet) {
        let object = &set.object;
        let count = set.semaphores.len();
        let flags = NEW | u32::from(object.mode);
        let call = Call::new(libc::SYS_semget).with(arguments![object.key, count, flags]);
        let id = self.make_object(at, "sem", object, call);
        let values = set.semaphores.iter().map(|it| it.value);
        let values = self.bytes(values.flat_map(u16::to_le_bytes).collect::<Vec<u8>>());
        self.call(
            at,
            Call::new(libc::SYS_semctl).with(arguments![id, count, SETALL, values]),
        );
        if set.used {
            // That somebody has used it is how others know that it is ready (semop(2), sem_otime).
            let one = if set.semaphores[0].value > 0 { -1 } else { 1 };
            self.semop(at, object.id, &[(0, one, 0), (0, -one, 0)]);
        }
        let settings = self.ipc_settings(object, 0);
        self.call(
            at,
            Call::new(libc::SYS_semctl).with(arguments![id, 0_u32, libc::IPC_SET, settings]),
        );
    }

    fn semop(&mut self, at: ProcessIndex, id: u32, operations: &[Operation]) {
        let bytes = operations.iter().flat_map(|(number, change, flags)| {
            let parts = [*number as u16, *change as u16, *flags as u16];
            parts.into_iter().flat_map(u16::to_le_bytes)
        });
        let block = self.bytes(bytes.collect::<Vec<u8>>());
        let call = Call::new(libc::SYS_semop).with(arguments![id, block, operations.len()]);
        self.call(at, call);
    }

    fn message_queue(&mut self, at: ProcessIndex, queue: &MessageQueue) {
        let object = &queue.object;
        let flags = NEW | u32::from(object.mode);
        let call = Call::new(libc::SYS_msgget).with(arguments![object.key, flags]);
        let id = self.make_object(at, "msg", object, call);
        for message in &queue.messages {
            let bytes = [&message.kind.to_le_bytes()[..], &message.text].concat();
            let block = self.bytes(bytes);
            let call = Call::new(libc::SYS_msgsnd).with(arguments![
                id,
                block,
                message.text.len(),
                libc::IPC_NOWAIT
            ]);
            self.call(at, call);
        }
        let settings = self.ipc_settings(object, queue.bytes);
        self.call(
            at,
            Call::new(libc::SYS_msgctl).with(arguments![id, libc::IPC_SET, settings]),
        );
    }

    /// A segment, mapped as a whole where others find it.
    pub(super) fn segment(
        &mut self,
        at: ProcessIndex,
        process: &Process,
        index: SharedMemoryIndex,
    ) {
        let tasks = self.tasks;
        let memory = &tasks.shared_memory[index.at()];
        let SharedMemoryKind::SystemV {
            id,
            key,
            uid,
            gid,
            mode,
            destroyed,
        } = memory.kind
        else {
            return;
        };
        let mut segments = tasks.ipc_contents.iter().flat_map(|it| {
            let segments = it.segments.iter();
            segments.map(move |segment| (it.namespace, segment))
        });
        let Some((namespace, segment)) = segments.find(|(_, it)| it.memory == index) else {
            let what = format!(
                "the settings of the segment {id} are not in the image: it cannot be restored"
            );
            self.refuse(process, what);
            return;
        };
        self.leave_for(at, namespace);
        let object = IpcObject {
            id,
            key,
            uid,
            gid,
            creator_uid: segment.creator_uid,
            creator_gid: segment.creator_gid,
            mode: mode as u16,
        };
        let flags = NEW | mode;
        let call = Call::new(libc::SYS_shmget).with(arguments![key, memory.size, flags]);
        let made = self.make_object(at, "shm", &object, call);
        let address = self.numbers.parking(index);
        let attach = Call::new(libc::SYS_shmat).with(arguments![made, address]);
        self.call(at, attach.exactly(address));
        self.fill(at, index);
        let settings = self.ipc_settings(&object, 0);
        let shmctl = |command: i32| Call::new(libc::SYS_shmctl).with(arguments![made, command]);
        let set = shmctl(libc::IPC_SET).argument(2, settings);
        self.call(at, set);
        if segment.locked {
            self.call(at, shmctl(SHM_LOCK));
        }
        if destroyed {
            self.call(at, shmctl(libc::IPC_RMID));
        }
        self.come_back(at, namespace);
    }

    /// What each process has done to semaphores last, and will take back when it ends.
    pub(super) fn semaphores(&mut self, at: ProcessIndex, process: &Process) {
        let Some(contents) = self.contents_of(process) else {
            return;
        };
        for set in &contents.semaphores {
            for (number, semaphore) in set.semaphores.iter().enumerate() {
                if semaphore.last == Some(at) {
                    let (id, value) = (set.object.id, u32::from(semaphore.value));
                    let call = Call::new(libc::SYS_semctl);
                    self.call(at, call.with(arguments![id, number, SETVAL, value]));
                }
            }
        }
    }
}

/// Bytes of all messages.
fn held(queue: &MessageQueue) -> u64 {
    queue.messages.iter().map(|it| it.text.len() as u64).sum()
}
