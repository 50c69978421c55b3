//! From the sockets that were found to their records, with what is on its way in them.
//!
//! Kind: effect. A descriptor that is on its way is looked at through the copy that this process got of it.

use super::seen::directories;
use super::sockets::SocketError;
use super::{Collector, FilesError, Seen, inet, netlink, own, see, unix};
use crate::tasks::{Part, Target, TaskCause, TaskObstacle};
use crux_image::tasks::{
    FileIndex, FsIndex, Membership, Socket, SocketCredentials, SocketFamily, SocketIndex,
    SocketState, UnixMessage,
};
use std::os::fd::AsRawFd as _;

impl Collector<'_> {
    /// Finds the sockets of a process, and what is on its way in them, and in that.
    pub(super) fn note_sockets(
        &mut self,
        target: &Target,
        at: usize,
        found: &[Seen],
    ) -> Result<(), FilesError> {
        let mut new = Vec::new();
        for seen in found {
            new.extend(self.sockets.note(target, Some(at), seen)?);
        }
        while let Some(index) = new.pop() {
            let brought = self.brought(index)?;
            self.note_pipes(&brought);
            for seen in &brought {
                new.extend(self.sockets.note(&self.this, None, seen)?);
            }
        }
        Ok(())
    }

    /// What is on its way in a socket.
    fn brought(&self, index: SocketIndex) -> Result<Vec<Seen>, FilesError> {
        let messages = self.sockets.found[index.at()].queue.iter();
        let numbers: Vec<_> = messages
            .flat_map(|message| &message.files)
            .map(|file| file.as_raw_fd().unsigned_abs())
            .collect();
        if numbers.is_empty() {
            return Ok(Vec::new());
        }
        let (links, infos) = directories(&self.this).map_err(own)?;
        let seen = numbers.iter().map(|number| see((&links, &infos), *number));
        seen.collect::<Result<_, _>>().map_err(own)
    }

    /// Records all of them, when all descriptors are known.
    pub(super) fn record_sockets(&mut self, targets: &[Target]) -> Result<(), FilesError> {
        for at in 0..self.sockets.found.len() {
            let index = SocketIndex::from(at);
            let files = self.files_brought(index)?;
            let state = match self.sockets.found[at].family {
                SocketFamily::Unix => self.unix(index, files, targets)?,
                SocketFamily::Netlink => {
                    let state = netlink::netlink(&self.sockets.found[at]);
                    self.settle(index, state.map(SocketState::Netlink))?
                }
                SocketFamily::Packet => {
                    let state = netlink::packet(&self.sockets.found[at]);
                    self.settle(index, state.map(SocketState::Packet))?
                }
                SocketFamily::Inet | SocketFamily::Inet6 => {
                    let state = inet::record(&self.sockets, &self.sockets.found[at]);
                    self.settle(index, state)?
                }
            };
            let Some(state) = state else { continue };
            let found = &mut self.sockets.found[at];
            let joined = std::mem::take(&mut found.joined).into_iter();
            self.files.memberships.extend(joined.map(|it| Membership {
                socket: index,
                device: it.group.device,
                group: it.group.address,
                only: it.filter.only,
                sources: it.filter.sources,
            }));
            self.files.socket_namespaces.push(found.namespace);
            self.files.sockets.push(Socket {
                family: found.family,
                kind: found.kind,
                protocol: found.protocol,
                net_namespace: None,
                options: std::mem::take(&mut found.options),
                state,
            });
        }
        Ok(())
    }

    /// The descriptions that are on their way; with an obstacle some are missing, and nothing is written.
    fn files_brought(&mut self, index: SocketIndex) -> Result<Vec<FileIndex>, FilesError> {
        let mut files = Vec::new();
        let this = self.this.try_clone().map_err(own)?;
        for seen in self.brought(index)? {
            files.extend(self.description(&this, seen)?);
        }
        Ok(files)
    }

    fn unix(
        &mut self,
        index: SocketIndex,
        files: Vec<FileIndex>,
        targets: &[Target],
    ) -> Result<Option<SocketState>, FilesError> {
        let found = &mut self.sockets.found[index.at()];
        let holder = found.holder;
        let mut files = files.into_iter();
        let messages = found.queue.iter_mut().map(|message| UnixMessage {
            data: std::mem::take(&mut message.data),
            files: files.by_ref().take(message.files.len()).collect(),
            credentials: message
                .credentials
                .map(|[pid, uid, gid]| SocketCredentials { pid, uid, gid }),
            sender: message.sender.take(),
        });
        let messages = messages.collect();
        let of = holder.or_else(|| targets.iter().position(|target| !target.zombie));
        let context = of.and_then(|at| self.files.of[at].1).unwrap_or(FsIndex(0));
        // Where there is none, that is an obstacle already.
        let Some(context) = self.files.fs.get(context.at()) else {
            return Ok(None);
        };
        let recorded = unix::record(&self.sockets, index, self.mounts, context, messages);
        self.settle(index, recorded.map(SocketState::Unix))
    }

    /// What stands in the way of a record is an obstacle.
    fn settle(
        &mut self,
        index: SocketIndex,
        recorded: Result<SocketState, SocketError>,
    ) -> Result<Option<SocketState>, FilesError> {
        let found = &self.sockets.found[index.at()];
        let holder = found.holder;
        let (pid, part) = match holder {
            Some(_) => (found.seen_at.0, Part::Descriptor(found.seen_at.1)),
            None => (self.first, Part::Process),
        };
        let error = match recorded {
            Ok(state) => return Ok(Some(state)),
            Err(error) => error,
        };
        let cause = error.cause();
        let cause = words(
            cause.map_err(|error| FilesError::Process { pid, error })?,
            holder,
        );
        self.obstacles.push(TaskObstacle { pid, part, cause });
        Ok(None)
    }
}

fn words(cause: TaskCause, holder: Option<usize>) -> TaskCause {
    match holder {
        Some(_) => cause,
        None => TaskCause::Other(format!("a socket that is on its way in another {cause}")),
    }
}
