//! Records of seccomp filters: what the rules refuse.

use super::task_record;
use super::vivid;
use crux_image::tasks::*;

fn record() -> Tasks {
    let mut tasks = task_record::record();
    // One that allows everything.
    let program = vec![FilterInstruction {
        code: 6,
        jump_true: 0,
        jump_false: 0,
        constant: 0x7fff_0000,
    }];
    tasks.seccomp_chains = vec![SeccompChain {
        filters: vec![SeccompFilter {
            log: false,
            program,
        }],
    }];
    tasks.processes[1].threads[0].seccomp = SeccompState::Filters(SeccompIndex(0));
    tasks
}

#[test]
fn every_rule_of_filters_is_kept() {
    type Change = fn(&mut Tasks);
    let cases: &[(Change, &str)] = &[
        (
            |t| t.processes[1].threads[0].seccomp = SeccompState::Filters(SeccompIndex(1)),
            "names seccomp filters 1",
        ),
        (
            |t| t.seccomp_chains[0].filters.clear(),
            "not one that the kernel takes",
        ),
        (
            |t| t.seccomp_chains[0].filters[0].program[0].code = 5,
            "not one that the kernel takes",
        ),
        (
            |t| {
                let filter = t.seccomp_chains[0].filters[0].clone();
                t.seccomp_chains[0].filters = vec![filter; 6554];
            },
            "instructions of seccomp filters",
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
fn a_person_sees_how_many_filters_a_thread_has() {
    let text = crux_image::render::one_task(&record(), &vivid::mounts(), 2).unwrap();
    assert!(text.contains("1 seccomp filter\n"), "{text}");
}
