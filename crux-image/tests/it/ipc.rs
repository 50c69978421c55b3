//! Records of what ipc namespaces hold: what the rules refuse.

use super::task_record;
use super::vivid;
use crux_image::render;
use crux_image::tasks::*;

fn ipc() -> IpcContents {
    let object = IpcObject {
        id: 3,
        key: 7,
        uid: 1,
        gid: 2,
        creator_uid: 0,
        creator_gid: 0,
        mode: 0o640,
    };
    IpcContents {
        namespace: IpcNsIndex(0),
        limits: IpcLimits {
            shmmax: u64::MAX,
            shmall: u64::MAX,
            shmmni: 4096,
            shm_rmid_forced: 0,
            msgmax: 8192,
            msgmnb: 16384,
            msgmni: 32000,
            sem: [32000, 1_024_000_000, 500, 32000],
            mqueue: [256, 10, 8192, 10, 8192],
        },
        semaphores: vec![SemaphoreSet {
            object,
            used: true,
            semaphores: vec![
                Semaphore {
                    value: 1,
                    last: Some(ProcessIndex(1)),
                },
                Semaphore {
                    value: 0,
                    last: None,
                },
            ],
        }],
        queues: vec![MessageQueue {
            object,
            bytes: 16384,
            messages: vec![Message {
                kind: 1,
                text: vec![0, 1],
            }],
        }],
        segments: vec![Segment {
            memory: SharedMemoryIndex(0),
            creator_uid: 0,
            creator_gid: 0,
            locked: false,
        }],
        adjustments: vec![Adjustment {
            process: ProcessIndex(1),
            set: 3,
            number: 1,
            value: -1,
        }],
    }
}

fn record() -> Tasks {
    let segment = SharedMemory {
        kind: SharedMemoryKind::SystemV {
            id: 3,
            key: 0,
            uid: 0,
            gid: 0,
            mode: 0o600,
            destroyed: false,
        },
        size: 1,
        pages: Vec::new(),
    };
    let namespace = IpcNamespace {
        user_namespace: None,
    };
    Tasks {
        shared_memory: vec![segment],
        ipc_namespaces: vec![namespace],
        ipc_contents: vec![ipc()],
        ..task_record::record()
    }
}

/// One change to a good record each, and what is said of it.
#[test]
fn every_rule_of_ipc_is_kept() {
    type Change = fn(&mut Tasks);
    let cases: &[(Change, &str)] = &[
        (
            |t| t.ipc_contents[0].namespace = IpcNsIndex(1),
            "names IPC namespace 1",
        ),
        (
            |t| t.ipc_contents.push(t.ipc_contents[0].clone()),
            "an ipc namespace is there twice",
        ),
        (
            |t| t.ipc_contents[0].limits.sem[3] = u64::MAX,
            "limit of an ipc namespace",
        ),
        (
            |t| {
                let set = t.ipc_contents[0].semaphores[0].clone();
                t.ipc_contents[0].semaphores.push(set);
            },
            "the id of an ipc object is there twice",
        ),
        (
            |t| t.ipc_contents[0].semaphores[0].semaphores.clear(),
            "a set of semaphores does not have",
        ),
        (
            |t| t.ipc_contents[0].semaphores[0].semaphores[0].value = 1 << 15,
            "the semaphore is 32768",
        ),
        (
            |t| t.ipc_contents[0].queues[0].messages[0].kind = 0,
            "type of a message",
        ),
        (
            |t| t.ipc_contents[0].queues[0].object.mode = 0o1000,
            "mode of an ipc object",
        ),
        (
            |t| t.ipc_contents[0].segments[0].memory = SharedMemoryIndex(9),
            "names shared memory 9",
        ),
        (
            |t| t.ipc_contents[0].segments.clear(),
            "nothing leads to it",
        ),
        (
            |t| t.ipc_contents[0].adjustments[0].number = 2,
            "names semaphore 2",
        ),
    ];
    let mounts = vivid::mounts();
    record().check(&mounts).unwrap();
    for (change, words) in cases {
        let mut tasks = record();
        change(&mut tasks);
        let said = tasks.check(&mounts).unwrap_err().to_string();
        assert!(said.contains(words), "{said:?} has not {words:?}");
    }
}

#[test]
fn a_person_sees_what_ipc_namespaces_hold() {
    let (tasks, mounts) = (record(), vivid::mounts());
    let tree = render::tasks_tree(&tasks, &mounts);
    let line = "IPC           1 set of semaphores, 1 message queue, 1 segment\n";
    assert!(tree.contains(line), "{tree}");
    let json = serde_json::to_value(render::tasks_record(&tasks, &mounts)).unwrap();
    assert_eq!(json["ipc"][0]["queues"][0]["holds"][0], 2);
    assert_eq!(json["ipc"][0]["semaphores"][0]["mode"], "640");
}
