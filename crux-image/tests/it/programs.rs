//! eBPF programs that no image may have.

use super::{task_record, vivid};
use crux_image::tasks::BpfProgram;

#[test]
fn programs_of_other_kinds_places_and_instructions_are_refused() {
    let sound = task_record::second();
    assert_eq!(sound.check(&vivid::mounts()), Ok(()));
    let cases: [fn(&mut BpfProgram); 8] = [
        |it| it.kind = 1,
        |it| it.expected = 1,
        |it| it.name = b"sixteen_letters_".to_vec(),
        |it| it.name = b"a b".to_vec(),
        // A load of what a descriptor of the loader's leads to, and a call of a function of the kernel's.
        |it| it.instructions.insert(0, 0x18 | 1 << 12),
        |it| it.instructions.insert(0, 0x85 | 2 << 12),
        |it| it.attached[0].point = 6,
        |it| it.attached[0].cgroup = b"/elsewhere".to_vec(),
    ];
    for (at, change) in cases.into_iter().enumerate() {
        let mut tasks = sound.clone();
        change(&mut tasks.programs[0]);
        assert!(tasks.check(&vivid::mounts()).is_err(), "case {at}");
    }
}
