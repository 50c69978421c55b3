//! The rules of open files that are neither sockets nor terminals.

use super::task_record::record;
use super::vivid;
use crux_image::tasks::*;

fn unlinked() -> UnlinkedFile {
    UnlinkedFile {
        directory: record().fs[0].root.clone(),
        name: b"a".to_vec(),
        mode: 0o600,
        uid: 0,
        gid: 0,
        size: 0,
        pages: Vec::new(),
        linked: None,
        kind: UnlinkedKind::Regular,
        times: [FileTime::default(); 2],
        attributes: Vec::new(),
    }
}

/// One change to a good record each, and what is said of it.
#[test]
fn every_rule_of_open_files_is_kept() {
    type Change = fn(&mut Tasks);
    let cases: &[(Change, &str)] = &[
        (
            |t| {
                let (count, semaphore) = (u64::MAX, false);
                t.files[0].target = OpenTarget::Event(EventCounter { count, semaphore })
            },
            "count of an eventfd",
        ),
        (
            |t| {
                let (clock, timer) = (12, TimerFile::default());
                t.files[0].target = OpenTarget::Timer(TimerFile { clock, ..timer })
            },
            "clock of a timer",
        ),
        (
            |t| {
                let (interval, timer) = (u64::MAX, TimerFile::default());
                t.files[0].target = OpenTarget::Timer(TimerFile { interval, ..timer })
            },
            "time of a timer",
        ),
        (
            |t| {
                t.files[0].target = OpenTarget::Epoll(vec![EpollTarget {
                    file: FileIndex(9),
                    number: 3,
                    events: 1,
                    data: 0,
                }])
            },
            "names open file 9",
        ),
        (
            |t| {
                let (fs, directory) = (FsIndex(0), UnlinkedIndex(0));
                t.removed_working.push(RemovedWorking { fs, directory })
            },
            "names unlinked file 0",
        ),
        (
            |t| {
                let (fs, directory) = (FsIndex(0), UnlinkedIndex(0));
                t.unlinked.push(unlinked());
                t.removed_working.push(RemovedWorking { fs, directory })
            },
            "a working directory is none",
        ),
        (
            |t| {
                let mut file = unlinked();
                file.attributes.push((b"a\0".to_vec(), Vec::new()));
                t.unlinked.push(file)
            },
            "a name is",
        ),
        (
            |t| {
                let mut file = unlinked();
                file.times[1].nanoseconds = 1_000_000_000;
                t.unlinked.push(file)
            },
            "nanoseconds of a time",
        ),
        (
            |t| t.files[0].target = OpenTarget::Process(ProcessIndex(9)),
            "names process 9",
        ),
        (
            |t| t.files[0].target = OpenTarget::Namespace(OpenNamespace::Uts(Some(UtsNsIndex(9)))),
            "names UTS namespace 9",
        ),
        (
            |t| {
                let watch = Watch {
                    number: 7,
                    location: t.fs[0].root.clone(),
                    mask: 1,
                };
                t.files[0].target = OpenTarget::Inotify(vec![watch.clone(), watch])
            },
            "watches are not in order",
        ),
    ];
    let mounts = vivid::mounts();
    for (change, words) in cases {
        let mut tasks = record();
        change(&mut tasks);
        let said = tasks.check(&mounts).unwrap_err().to_string();
        assert!(said.contains(words), "{words}: {said}");
    }
}
