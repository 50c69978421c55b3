//! Whole containers with their processes: dumped while they run, ended, restored, and looked
//! after by the program in them (`crux-workload`).

use crux_tests::workload::{ask, start};
use crux_tests::{Lab, Setup, workload};

/// The judge is judged first: without a dump in between each scenario is content.
#[test]
fn root_workloads_are_content_when_nothing_happens() {
    for scenario in SCENARIOS {
        Lab::test(Setup::ROOT, |lab| {
            let mut container = start(lab, scenario)?;
            ask(&mut container)?;
            ask(&mut container)
        });
    }
}

fn survives(scenario: &str) {
    Lab::test(Setup::ROOT, |lab| {
        let container = start(lab, scenario)?;
        workload::survives(lab, container)
    });
}

/// The kernel continues some calls in another way when they are interrupted once more.
#[test]
fn root_waits_keep_their_length_through_many_dumps() {
    Lab::test(Setup::ROOT, |lab| {
        let mut container = start(lab, "waits")?;
        for _ in 0..5 {
            workload::dump(lab, &container, &["--leave-running"])?;
            std::fs::remove_dir_all(workload::images(lab))?;
        }
        ask(&mut container)?;
        workload::survives(lab, container)
    });
}

/// Of what has been removed the name is another, and segments that were attached for reading only are shown otherwise.
const LOOK_OTHERWISE: [&str; 5] = [
    "lock-of-a-removed-file",
    "removed-files",
    "removed-directories",
    "removed-program",
    "segments",
];

/// Those with eventfds that have a count.
const COUNTS: [&str; 3] = ["eventfd", "epoll", "epoll-of-a-family"];

/// KERNEL: since 6.5 it is told which eventfds are semaphores, and those with a count can be dumped.
fn counts_are_told() -> bool {
    let fd = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).expect("eventfd");
    let path = format!("/proc/self/fdinfo/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
    let info = std::fs::read_to_string(path);
    info.expect("fdinfo").contains("eventfd-semaphore")
}

/// No filter, no descriptor, no mapping, no signal and no setting is other than it was, of any task.
#[test]
fn root_restored_tasks_look_as_they_did() {
    let counts = counts_are_told();
    let wrong: Vec<String> = SCENARIOS
        .iter()
        .filter(|scenario| !LOOK_OTHERWISE.contains(scenario))
        .filter(|scenario| counts || !COUNTS.contains(scenario))
        .filter_map(|scenario| {
            let outcome = Lab::run(Setup::ROOT, |lab| {
                let container = start(lab, scenario)?;
                workload::looks_the_same(lab, container).map(|()| Vec::new())
            });
            let error = outcome.err()?;
            Some(format!("{scenario}: {error:#}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

macro_rules! survive {
    ($($name:ident $scenario:literal;)*) => {
        $(#[test]
        fn $name() {
            survives($scenario);
        })*

        const SCENARIOS: &[&str] = &[$($scenario),*];
    };
}

survive! {
    root_a_single_process_survives "nothing";
    root_memory_survives "memory";
    root_shared_memory_survives "shared-memory";
    root_copied_memory_survives "copy-on-write";
    root_open_files_survive "files";
    root_pipes_survive "pipes";
    root_fifos_survive "fifos";
    root_removed_files_survive "removed-files";
    root_removed_directories_survive "removed-directories";
    root_a_removed_program_survives "removed-program";
    root_pipes_that_were_opened_again_survive "reopened-pipes";
    root_memfds_keep_descriptions_and_seals "memfds";
    root_files_tell_whom_they_told "telling-file";
    root_watches_keep_their_numbers "inotify";
    root_descriptors_of_processes_survive "pidfd";
    root_descriptors_of_namespaces_survive "held-namespaces";
    root_many_open_files_survive "many-files";
    root_locks_survive "locks";
    root_a_lock_of_a_removed_file_survives "lock-of-a-removed-file";
    root_counters_of_events_survive "eventfd";
    root_files_of_signals_survive "signalfd";
    root_files_of_timers_survive "timerfd";
    root_epolls_keep_what_they_watch "epoll";
    root_epolls_keep_what_a_child_has "epoll-of-a-family";
    root_ebpf_programs_survive "ebpf";
    root_signals_survive "signals";
    root_timers_survive "timers";
    root_a_family_survives "tree";
    root_those_who_have_ended_are_still_there "zombie";
    root_terminals_survive "terminals";
    root_controlling_terminals_survive "controlling-terminal";
    root_registers_survive "processor";
    root_sleeps_keep_their_length "sleep";
    root_waits_keep_their_length "waits";
    root_stopped_processes_stay_stopped "stopped";
    root_children_of_vfork_are_awaited "vfork";
    root_identity_survives "identity";
    root_datagrams_of_ip_survive "datagrams";
    root_memberships_in_multicast_groups_survive "multicast";
    root_listening_sockets_of_ip_survive "listening";
    root_connections_of_tcp_survive "connections";
    root_connections_of_tcp_between_processes_survive "connection-of-processes";
    root_half_closed_connections_of_tcp_survive "half-closed-connections";
    root_semaphores_survive "semaphores";
    root_message_queues_survive "message-queues";
    root_segments_survive "segments";
    root_seccomp_filters_survive "seccomp-filters";
    root_threads_survive "threads";
    root_unix_pairs_survive "unix-pairs";
    root_unix_sockets_keep_their_settings "unix-settings";
    root_unix_sockets_with_names_survive "unix-streams";
    root_netlink_sockets_survive "netlink";
    root_packet_sockets_survive "packet";
    root_syslogd_goes_on_logging "syslog";
    root_unix_datagrams_survive "unix-datagrams";
    root_descriptors_on_their_way_survive "unix-descriptors";
    root_who_has_sent_a_message_is_kept "unix-credentials";
    root_namespaces_of_single_processes_survive "namespaces";
    root_a_time_namespace_survives "time-namespace";
    root_nested_user_namespaces_survive "user-namespaces";
    root_nested_pid_namespaces_survive "pid-namespaces";
}
