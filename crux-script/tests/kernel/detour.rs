//! Living tasks that are sent through the stub, by tracers that live and by tracers that die.
//!
//! Kind: tests.

use crate::sys::{child, wait};
use crate::tracer::{Death, Tracer};
use crate::workload::{ALL, STEPS, Waiting, Workload};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use std::fs;

/// A workload under a tracer that dies there.
fn killed(waiting: Waiting, death: Death, at_death: impl Fn(&Workload)) -> Workload {
    let workload = Workload::start(waiting);
    let tracer = child(|| {
        Tracer::run(workload.pid, death, || at_death(&workload));
        0
    });
    let status = wait(tracer);
    assert!(
        matches!(status, WaitStatus::Signaled(_, Signal::SIGKILL, _)),
        "{waiting:?}, {death:?}: {status:?}"
    );
    workload
}

fn is_well(workload: &Workload, what: impl std::fmt::Debug) {
    let status = workload.finish();
    let well = matches!(status, WaitStatus::Exited(_, 0));
    assert!(well, "{:?}, {what:?}: {status:?}", workload.waiting);
}

/// Instructions of a whole way through the stub.
fn steps(waiting: Waiting) -> usize {
    let mut workload = Workload::start(waiting);
    let tracer = child(|| {
        let steps = Tracer::run(workload.pid, Death::Steps(usize::MAX), || ());
        workload.shared.set(STEPS, steps as u64);
        0
    });
    let status = wait(tracer);
    assert!(
        matches!(status, WaitStatus::Exited(_, 0)),
        "{waiting:?}: {status:?}"
    );
    workload.release();
    is_well(&workload, "instruction by instruction");
    workload.shared.get(STEPS) as usize
}

/// Kills a tracer at each of these points; sleepers sleep side by side.
fn all_are_well(waiting: Waiting, deaths: impl IntoIterator<Item = Death>) {
    let workloads: Vec<_> = deaths
        .into_iter()
        .map(|death| {
            let mut workload = killed(waiting, death, |_| ());
            workload.release();
            (workload, death)
        })
        .collect();
    for (workload, death) in &workloads {
        is_well(workload, death);
    }
}

#[test]
fn a_task_notices_nothing_of_a_tracer_that_lives() {
    let ways = [
        Death::Never,
        Death::NeverAndIsSummoned,
        Death::NeverAndAsksAgain,
        Death::NeverButStops,
    ];
    for (waiting, way) in ALL.into_iter().flat_map(|it| ways.map(|way| (it, way))) {
        let mut workload = Workload::start(waiting);
        let tracer = child(|| {
            Tracer::run(workload.pid, way, || ());
            0
        });
        let status = wait(tracer);
        assert!(
            matches!(status, WaitStatus::Exited(_, 0)),
            "{waiting:?}: {status:?}"
        );
        let smaps = fs::read_to_string(format!("/proc/{}/status", workload.pid)).unwrap();
        assert!(smaps.contains("TracerPid:\t0"), "{smaps}");
        workload.release();
        is_well(&workload, way);
    }
}

#[test]
fn a_task_notices_nothing_of_a_tracer_that_dies_at_any_of_its_calls() {
    // Six calls of the stub, an entry and an exit each; pause and sigsuspend take one more.
    let calls = (0..12).map(Death::Calls);
    let deaths: Vec<_> = [
        Death::Seized,
        Death::Interrupted,
        Death::CodeWritten,
        Death::ScriptWritten,
        Death::Answered,
        Death::MaskBack,
        Death::AllBack,
        Death::RegistersBack,
        Death::ScratchBack,
        Death::Done,
    ]
    .into_iter()
    .chain(calls)
    .collect();
    for waiting in ALL {
        all_are_well(waiting, deaths.iter().copied());
    }
}

#[test]
fn a_task_notices_nothing_of_a_tracer_that_dies_at_any_instruction_of_the_stub() {
    for waiting in [Waiting::Sleep, Waiting::Pause, Waiting::Compute] {
        let steps = steps(waiting);
        assert!(steps > 100, "{steps}");
        all_are_well(waiting, (0..steps).map(Death::Steps));
    }
}

#[test]
fn a_task_notices_nothing_of_a_tracer_that_dies_at_some_instructions_of_the_stub() {
    for waiting in [
        Waiting::Poll,
        Waiting::Read,
        Waiting::Futex,
        Waiting::Suspend,
    ] {
        all_are_well(waiting, (0..steps(waiting)).step_by(7).map(Death::Steps));
    }
}

#[test]
fn a_signal_that_came_before_the_tracer_died_ends_a_call_that_any_handler_ends() {
    for waiting in [Waiting::Pause, Waiting::Suspend] {
        // Up to the entry of the last call but one: ppoll, which lets the handler run.
        for count in 0..12 {
            let death = Death::Calls(count);
            let workload = killed(waiting, death, Workload::signal);
            is_well(&workload, death);
        }
        for death in [Death::Answered, Death::MaskBack] {
            let workload = killed(waiting, death, Workload::signal);
            is_well(&workload, death);
        }
    }
}
