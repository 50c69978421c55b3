//! Records of format version 1, which knew files and pipes, and nothing else that is open.
//!
//! Kind: pure. Nothing writes them any more; they are read for ever. A type whose fields change
//! leaves its former self here; enums grow at their end, and stay as they are.

use super::{
    AddressSpace, CgroupNamespace, Clocks, DescriptorTable, FileTime, FsContext, IpcNamespace,
    Location, NetNamespace, OpenFile, PageRun, PidNamespace, Pipe, Process, SharedMemory, Tasks,
    TimeNamespace, UnlinkedFile, UnlinkedKind, UtsNamespace,
};
use serde::Deserialize;

/// [`Tasks`], as version 1 had it.
#[derive(Debug, Deserialize)]
pub(crate) struct TasksVersion1 {
    clocks: Clocks,
    processes: Vec<Process>,
    spaces: Vec<AddressSpace>,
    shared_memory: Vec<SharedMemory>,
    descriptor_tables: Vec<DescriptorTable>,
    files: Vec<OpenFile>,
    unlinked: Vec<UnlinkedFileVersion1>,
    pipes: Vec<Pipe>,
    fs: Vec<FsContext>,
    pid_namespaces: Vec<PidNamespace>,
    uts_namespaces: Vec<UtsNamespace>,
    ipc_namespaces: Vec<IpcNamespace>,
    net_namespaces: Vec<NetNamespace>,
    cgroup_namespaces: Vec<CgroupNamespace>,
    time_namespaces: Vec<TimeNamespace>,
}

/// [`UnlinkedFile`], as version 1 had it: regular files, without times and attributes.
#[derive(Debug, Deserialize)]
struct UnlinkedFileVersion1 {
    directory: Location,
    name: Vec<u8>,
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    pages: Vec<PageRun>,
    linked: Option<Location>,
}

impl From<UnlinkedFileVersion1> for UnlinkedFile {
    fn from(old: UnlinkedFileVersion1) -> Self {
        Self {
            directory: old.directory,
            name: old.name,
            mode: old.mode,
            uid: old.uid,
            gid: old.gid,
            size: old.size,
            pages: old.pages,
            linked: old.linked,
            kind: UnlinkedKind::Regular,
            times: [FileTime::default(); 2],
            attributes: Vec::new(),
        }
    }
}

impl From<TasksVersion1> for Tasks {
    fn from(old: TasksVersion1) -> Self {
        Self {
            clocks: old.clocks,
            processes: old.processes,
            spaces: old.spaces,
            shared_memory: old.shared_memory,
            descriptor_tables: old.descriptor_tables,
            files: old.files,
            unlinked: old.unlinked.into_iter().map(Into::into).collect(),
            pipes: old.pipes,
            fs: old.fs,
            pid_namespaces: old.pid_namespaces,
            uts_namespaces: old.uts_namespaces,
            ipc_namespaces: old.ipc_namespaces,
            net_namespaces: old.net_namespaces,
            cgroup_namespaces: old.cgroup_namespaces,
            time_namespaces: old.time_namespaces,
            ipc_contents: Vec::new(),
            sockets: Vec::new(),
            without_setgroups: Vec::new(),
            seccomp_chains: Vec::new(),
            terminals: Vec::new(),
            controlling: Vec::new(),
            networks: Vec::new(),
            removed_working: Vec::new(),
            cgroups: Vec::new(),
            programs: Vec::new(),
            cgroup_settings: Vec::new(),
            pid_for_children: Vec::new(),
            locks: Vec::new(),
            memberships: Vec::new(),
        }
    }
}
