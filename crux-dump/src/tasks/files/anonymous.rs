//! What is open and in no file system that one could look into: of which kind it is.
//!
//! Kind: effect.

use super::{Collector, Seen, counters, epoll, fdinfo, inotify, nothing};
use crate::tasks::{Target, TaskCause};
use crux_image::mounts::FileKind;
use crux_image::tasks::OpenTarget;
use crux_mount::sys::SysError;
use rustix::io::Errno;

impl Collector<'_> {
    /// What pidfd_open(2) gave.
    fn process(&mut self, target: &Target, seen: &Seen) -> OpenTarget {
        const PIDFD_THREAD: u32 = libc::O_EXCL as u32;
        let pid = fdinfo::field(&seen.text, "Pid").and_then(|pid| pid.parse::<i64>().ok());
        let flags = fdinfo::field(&seen.text, "flags");
        let flags = flags.and_then(|flags| u32::from_str_radix(flags, 8).ok());
        let of_thread = flags.is_none_or(|flags| flags & PIDFD_THREAD != 0);
        let known = pid.and_then(|pid| self.by_pid.get(&u32::try_from(pid).ok()?).copied());
        let what = match known {
            Some(process) if !of_thread => return OpenTarget::Process(process),
            Some(_) => "is of a thread",
            None if pid == Some(-1) => "is of a process that has ended and was waited for",
            None => "is of a process outside the container",
        };
        let what = format!("{what} (pidfd_open), which cannot be dumped yet");
        self.refuse(target, seen, TaskCause::Other(what));
        nothing(seen, FileKind::Regular)
    }

    /// What is in no file system, and no pipe or socket.
    pub(super) fn anonymous(
        &mut self,
        target: &Target,
        seen: &Seen,
    ) -> Result<Option<OpenTarget>, SysError> {
        if seen.path == b"anon_inode:[eventpoll]" {
            let epoll = epoll::Epoll::new(target, seen, self.files.files.len().into());
            let epoll = epoll.ok_or(SysError::new("read(fdinfo of an epoll)", Errno::IO))?;
            self.epolls.push(epoll);
            return Ok(Some(OpenTarget::Epoll(Vec::new())));
        }
        if matches!(
            &seen.path[..],
            b"inotify" | b"anon_inode:inotify" | b"anon_inode:[inotify]"
        ) {
            let found = inotify::target(target, seen, self.mounts)?;
            return Ok(Some(found.unwrap_or_else(|what| {
                self.refuse(target, seen, TaskCause::Other(what));
                nothing(seen, FileKind::Regular)
            })));
        }
        if seen.path == b"anon_inode:[pidfd]" || seen.path.starts_with(b"pidfd:[") {
            return Ok(Some(self.process(target, seen)));
        }
        if let Some(found) = self.namespace(target, seen)? {
            return Ok(Some(found));
        }
        if seen.path == b"anon_inode:bpf-prog" {
            return self.program(target, seen).map(Some);
        }
        let found = counters::target(target, seen)?;
        Ok(found.map(|found| {
            found.unwrap_or_else(|what| {
                self.refuse(target, seen, TaskCause::Other(what.to_owned()));
                nothing(seen, FileKind::Regular)
            })
        }))
    }
}
