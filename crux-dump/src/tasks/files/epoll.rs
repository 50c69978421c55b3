//! epoll: what is registered, and which files that are.
//!
//! Kind: effect where kernel objects are compared; parsers are pure. /proc tells the number with which a
//! file was registered. What that number leads to may have changed since: kcmp(2) knows the file.

use super::fdinfo::fields;
use super::sys::kcmp_epoll;
use super::{Collector, Seen};
use crate::tasks::{Target, TaskCause};
use crux_image::tasks::{EpollTarget, FileIndex, OpenTarget};
use crux_mount::sys::SysError;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::HashMap;

/// An epoll whose targets are to be found when all files are known.
pub(super) struct Epoll {
    file: FileIndex,
    /// In which process, by what number.
    at: (u32, u32),
    watched: Vec<Watched>,
}

/// A line of /proc.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Watched {
    number: u32,
    events: u32,
    data: u64,
    inode: u64,
}

/// Where a description can be found: process, number.
pub(super) type Place = (u32, u32);

impl Epoll {
    pub(super) fn new(target: &Target, seen: &Seen, file: FileIndex) -> Option<Self> {
        let lines = fields(&seen.text, "tfd");
        Some(Self {
            file,
            at: (target.pid, seen.number),
            watched: lines.map(parse).collect::<Option<_>>()?,
        })
    }
}

/// What stands behind `tfd:`.
fn parse(line: &str) -> Option<Watched> {
    let mut words = line.split_ascii_whitespace();
    let number = words.next()?.parse().ok()?;
    let words: Vec<&str> = words.collect();
    // A name with a colon, and its value with or without a space between.
    let value = |name: &str| {
        let (at, rest) = words
            .iter()
            .enumerate()
            .find_map(|(at, word)| Some((at, word.strip_prefix(name)?.strip_prefix(':')?)))?;
        let text = match rest {
            "" => words.get(at + 1)?,
            rest => rest,
        };
        u64::from_str_radix(text, 16).ok()
    };
    Some(Watched {
        number,
        events: value("events")? as u32,
        data: value("data")?,
        inode: value("ino")?,
    })
}

impl Collector<'_> {
    /// The targets of all epolls.
    pub(super) fn epolls(&mut self, targets: &[Target]) -> Result<(), SysError> {
        if self.epolls.is_empty() {
            return Ok(());
        }
        for epoll in std::mem::take(&mut self.epolls) {
            let target = targets.iter().find(|target| target.pid == epoll.at.0);
            let Some(target) = target else { continue };
            let mut found = Vec::with_capacity(epoll.watched.len());
            let mut counts = HashMap::<u32, u32>::new();
            for watched in &epoll.watched {
                let count = counts.entry(watched.number).or_default();
                let slot = (epoll.at.1, watched.number, *count);
                *count += 1;
                match self.registered(epoll.at, slot, watched.inode)? {
                    Some((place, file)) => {
                        self.one_shot(target, epoll.at.1, place, targets, watched)?;
                        found.push(EpollTarget {
                            file,
                            number: watched.number,
                            events: watched.events,
                            data: watched.data,
                        });
                    }
                    None => {
                        let number = watched.number;
                        let what = format!(
                            "watches a file (registered as {number}) of which no process has a descriptor any more"
                        );
                        self.refuse_number(target, epoll.at.1, TaskCause::Other(what));
                    }
                }
            }
            self.files.files[epoll.file.at()].target = OpenTarget::Epoll(found);
        }
        Ok(())
    }

    /// The file that is registered in a slot: the one that has its number is asked first.
    fn registered(
        &self,
        epoll: Place,
        slot: (u32, u32, u32),
        inode: u64,
    ) -> Result<Option<(Place, FileIndex)>, SysError> {
        let place = (epoll.0, slot.1);
        let likely = self.places.get(&place).map(|file| (place, *file));
        let others = self.by_inode.get(&inode).into_iter().flatten().copied();
        for (place, file) in likely.into_iter().chain(others) {
            if kcmp_epoll(place.0, place.1, epoll.0, slot)? {
                return Ok(Some((place, file)));
            }
        }
        Ok(None)
    }

    /// One that was reported is disarmed again by being reported: there has to be something to report.
    fn one_shot(
        &mut self,
        holder: &Target,
        number: u32,
        place: Place,
        targets: &[Target],
        watched: &Watched,
    ) -> Result<(), SysError> {
        let probe = EpollTarget {
            file: FileIndex(0),
            number: watched.number,
            events: watched.events,
            data: watched.data,
        };
        let owner = targets.iter().find(|target| target.pid == place.0);
        let Some(owner) = owner.filter(|_| probe.is_disarmed()) else {
            return Ok(());
        };
        let copy = super::pipes::duplicate(owner, place.1)?;
        let mut fds = [PollFd::new(
            &copy,
            PollFlags::IN | PollFlags::OUT | PollFlags::PRI,
        )];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut fds, Some(&now)).map_err(|errno| SysError::new("poll(target)", errno))?;
        if fds[0].revents().is_empty() {
            let number_of = watched.number;
            let what = format!(
                "watches {number_of} once, has told of it, and nothing is ready there: that cannot be dumped yet"
            );
            self.refuse_number(holder, number, TaskCause::Other(what));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_numbers_in_words() {
        let line = "       12 events:       19 data: ffffffff0000000c  pos:0 ino:a2f sdev:10";
        let wanted = Watched {
            number: 12,
            events: 0x19,
            data: 0xffff_ffff_0000_000c,
            inode: 0xa2f,
        };
        assert_eq!(parse(line), Some(wanted));
        assert_eq!(parse("12 events: 19"), None);
    }
}
