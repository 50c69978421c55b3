//! eventfd, signalfd and timerfd.
//!
//! Kind: pure.

use crate::tasks::compile::Compiler;
use crux_image::tasks::{EventCounter, FileIndex, OpenFile, ProcessIndex, TimerFile};
use crux_script::{Block, Call, arguments};

const NANOSECONDS: u64 = 1_000_000_000;

impl Compiler<'_> {
    pub(super) fn open_event(
        &mut self,
        at: ProcessIndex,
        index: FileIndex,
        file: &OpenFile,
        event: EventCounter,
    ) {
        let semaphore = match event.semaphore {
            true => libc::EFD_SEMAPHORE,
            false => 0,
        };
        let flags = libc::EFD_CLOEXEC | semaphore | nonblock(file);
        // The call takes 32 bits of it.
        let first = u32::try_from(event.count).unwrap_or(0);
        let fd = self.call(
            at,
            Call::new(libc::SYS_eventfd2).with(arguments![first, flags]),
        );
        if u64::from(first) != event.count {
            let count = self.arena.block(Block::words(&[event.count]));
            let write = Call::new(libc::SYS_write).with(arguments![fd, count, 8_u32]);
            self.call(at, write.exactly(8));
        }
        self.keep(at, fd, self.numbers.file(index));
    }

    pub(super) fn open_signals(
        &mut self,
        at: ProcessIndex,
        index: FileIndex,
        file: &OpenFile,
        mask: u64,
    ) {
        let mask = self.arena.block(Block::words(&[mask]));
        let flags = libc::SFD_CLOEXEC | nonblock(file);
        let call = Call::new(libc::SYS_signalfd4).with(arguments![-1_i32, mask, 8_u32, flags]);
        let fd = self.call(at, call);
        self.keep(at, fd, self.numbers.file(index));
    }

    pub(super) fn open_timer(
        &mut self,
        at: ProcessIndex,
        index: FileIndex,
        file: &OpenFile,
        timer: &TimerFile,
    ) {
        let flags = libc::TFD_CLOEXEC | nonblock(file);
        let call = Call::new(libc::SYS_timerfd_create).with(arguments![timer.clock, flags]);
        let fd = self.call(at, call);
        self.keep(at, fd, self.numbers.file(index));
    }

    /// As late as can be: they run from here on. By who opened them.
    pub(in crate::tasks::compile) fn timer_files(&mut self, at: ProcessIndex) {
        let tasks = self.tasks;
        let timers: Vec<_> = self.openers.of(at).iter().map(|object| object[0]).collect();
        for index in timers {
            let crux_image::tasks::OpenTarget::Timer(timer) = &tasks.files[index.at()].target
            else {
                continue;
            };
            let fd = self.numbers.file(index);
            let (flags, first) = first(timer);
            let [first, interval] =
                [first, timer.interval].map(|it| [it / NANOSECONDS, it % NANOSECONDS]);
            let times = Block::words(&[interval, first].concat());
            let times = self.arena.block(times);
            let call = Call::new(libc::SYS_timerfd_settime).with(arguments![fd, flags, times]);
            self.call(at, call);
            if timer.ticks > 0 {
                let ticks = self.arena.block(Block::words(&[timer.ticks]));
                const TFD_IOC_SET_TICKS: u64 = 0x4008_5400;
                let call =
                    Call::new(libc::SYS_ioctl).with(arguments![fd, TFD_IOC_SET_TICKS, ticks]);
                self.call(at, call);
            }
        }
    }
}

/// The flags of timerfd_settime(2), and when it expires first. The day goes on while nobody runs; other clocks are
/// those of this boot of the machine, on which the time that was left is what counts.
fn first(timer: &TimerFile) -> (i32, u64) {
    let of_day = matches!(
        timer.clock,
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_ALARM
    );
    let cancel = match timer.cancel_on_set {
        true => libc::TFD_TIMER_CANCEL_ON_SET,
        false => 0,
    };
    match (timer.remaining, timer.absolute && of_day) {
        (0, absolute) => (
            if absolute {
                libc::TFD_TIMER_ABSTIME | cancel
            } else {
                0
            },
            0,
        ),
        (_, true) => (libc::TFD_TIMER_ABSTIME | cancel, timer.deadline),
        (remaining, false) => (0, remaining),
    }
}

fn nonblock(file: &OpenFile) -> i32 {
    match file.flags.nonblock {
        true => libc::O_NONBLOCK,
        false => 0,
    }
}
