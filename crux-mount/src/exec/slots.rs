//! The descriptors of what a plan has made so far.
//!
//! Kind: effect. A plan keeps every mount until its end, and a process may have only so many
//! descriptors. When most of them are in use, a process is forked, which has them all; this one
//! closes its own and asks for those that a step needs again. It decides nothing else.

use super::child;
use super::error::{StepError, named};
use crate::plan::Slot;
use crate::sys;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, Signal, set_parent_process_death_signal};
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

/// Fewer than this are not worth a process: then descriptors are short for another reason.
const WORTH: usize = 32;

/// What each slot holds, here or on a shelf.
pub(super) struct Slots {
    here: HashMap<Slot, OwnedFd>,
    shelved: HashMap<Slot, (usize, i32)>,
    shelves: Vec<Shelf>,
    /// Descriptors with a higher number mean that it is time for a shelf.
    highest: u64,
}

/// A process that holds descriptors, and answers with the one whose number it gets.
struct Shelf {
    process: Pid,
    socket: OwnedFd,
}

/// The descriptor of a slot.
pub(super) enum Held<'a> {
    Here(BorrowedFd<'a>),
    Fetched(OwnedFd),
}

impl AsFd for Held<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Here(descriptor) => *descriptor,
            Self::Fetched(descriptor) => descriptor.as_fd(),
        }
    }
}

impl Slots {
    /// For a process that may have so many descriptors. A quarter of them is left to single steps.
    pub(super) fn new(descriptors: u64) -> Self {
        Self {
            here: HashMap::new(),
            shelved: HashMap::new(),
            shelves: Vec::new(),
            highest: descriptors - descriptors / 4,
        }
    }

    pub(super) fn fill(&mut self, slot: Slot, descriptor: OwnedFd) -> Result<(), StepError> {
        // The kernel gives out the lowest number that is free.
        let full = descriptor.as_raw_fd() as u64 >= self.highest;
        self.here.insert(slot, descriptor);
        if full && self.here.len() >= WORTH {
            self.shelve()?;
        }
        Ok(())
    }

    pub(super) fn get(&self, slot: Slot) -> Result<Held<'_>, StepError> {
        if let Some(descriptor) = self.here.get(&slot) {
            return Ok(Held::Here(descriptor.as_fd()));
        }
        let &(shelf, number) = self.shelved.get(&slot).ok_or(StepError::EmptySlot(slot))?;
        self.shelves[shelf].fetch(number).map(Held::Fetched)
    }

    /// What a slot holds, which is empty then.
    pub(super) fn take(&mut self, slot: Slot) -> Result<OwnedFd, StepError> {
        if let Some(descriptor) = self.here.remove(&slot) {
            return Ok(descriptor);
        }
        let place = self.shelved.remove(&slot);
        let (shelf, number) = place.ok_or(StepError::EmptySlot(slot))?;
        self.shelves[shelf].fetch(number)
    }

    fn shelve(&mut self) -> Result<(), StepError> {
        let shelf = Shelf::start()?;
        let at = self.shelves.len();
        self.shelves.push(shelf);
        let moved = self.here.drain();
        self.shelved
            .extend(moved.map(|(slot, descriptor)| (slot, (at, descriptor.as_raw_fd()))));
        Ok(())
    }
}

impl Drop for Slots {
    /// A shelf has the sockets of those that are older, so the newest ends first.
    fn drop(&mut self) {
        while let Some(Shelf { process, socket }) = self.shelves.pop() {
            drop(socket);
            // It ends at the end of its socket; one that was killed has ended too.
            let _ = child::reap(process);
        }
    }
}

impl Shelf {
    /// A copy of this process that has all of its descriptors, and does nothing but give them back.
    fn start() -> Result<Self, StepError> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(named("socketpair"))?;
        let Some(process) = sys::fork()? else {
            drop(ours);
            // RACE: where the parent is gone already, the socket has ended.
            let _ = set_parent_process_death_signal(Some(Signal::KILL));
            serve(&theirs);
            sys::exit_now(0);
        };
        Ok(Self {
            process,
            socket: ours,
        })
    }

    fn fetch(&self, number: i32) -> Result<OwnedFd, StepError> {
        rustix::io::write(&self.socket, &number.to_ne_bytes()).map_err(named("write(shelf)"))?;
        child::receive(&self.socket)
    }
}

/// In the child: answers until nobody asks.
fn serve(socket: &OwnedFd) {
    let mut number = [0; 4];
    while let Ok(4) = rustix::io::read(socket, &mut number) {
        let held = sys::inherited(i32::from_ne_bytes(number));
        if child::send(socket, held).is_err() {
            return;
        }
    }
}
