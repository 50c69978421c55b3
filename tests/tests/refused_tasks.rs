//! Tasks that cannot be dumped so that they could be restored: every one is named, nothing is left, and they go on.

use crux_tests::workload::{is_refused, start};
use crux_tests::{Lab, Setup};

fn scenario_is_refused(scenario: &str, words: &[&str]) {
    Lab::test(Setup::ROOT, |lab| {
        is_refused(lab, &mut start(lab, scenario)?, words)
    });
}

#[test]
fn root_a_parent_that_waits_for_vfork_is_refused_with_its_child() {
    let words = ["does not stop", "waits for its child of vfork(2), process"];
    scenario_is_refused("lasting-vfork", &words);
}

#[test]
fn root_what_cannot_be_known_of_sockets_is_refused() {
    let words = [
        "an answer waits",
        "a packet socket with a membership (PACKET_ADD_MEMBERSHIP)",
        "waiting to be accepted in which data waits already",
        "\"/tmp/before\", which was renamed to \"/tmp/after\" since",
    ];
    scenario_is_refused("refused-sockets", &words);
}

#[test]
fn root_a_lease_is_refused() {
    scenario_is_refused(
        "lease",
        &["descriptor 3 has a lease, which cannot be dumped yet"],
    );
}

#[test]
fn root_a_namespace_that_nobody_is_in_is_refused() {
    let words = ["is of a uts namespace that no process of the container is in"];
    scenario_is_refused("empty-namespace", &words);
}

#[test]
fn root_processes_that_share_memory_are_refused() {
    scenario_is_refused(
        "memory-of-two",
        &["it shares its memory with another process"],
    );
}

#[test]
fn root_a_proc_of_a_nested_pid_namespace_is_refused() {
    let words = ["the proc on \"/proc\" is that of a pid namespace within the container's"];
    scenario_is_refused("nested-proc", &words);
}
