//! The worker inside of another program, on that program's machine: the same code serves rings and sockets, one turn at a
//! time. For tests and fuzzers.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Parser;
use rustix::event::Timespec;

use super::handover::{self, What};
use super::machine::Machine;
use super::options::Options;
use super::startup::{self, Kept};
use super::worker::Worker;
use crate::engine::{Engine, FIRST_SOCKET};

const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// A worker whose keeper is the program around it.
pub struct Inside {
    directory: PathBuf,
    worker: Worker,
    line: OwnedFd,
    sockets: BTreeMap<u32, OwnedFd>,
    next: u32,
}

impl std::fmt::Debug for Inside {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Inside").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Inside {
    /// Begins with what lies in a directory, an empty store if nothing does.
    ///
    /// **Errors:** files cannot be made there, or too many descriptors are open.
    pub fn start(directory: &Path, machine: Box<dyn Machine>) -> Result<Self> {
        Self::resume(directory.to_owned(), BTreeMap::new(), FIRST_SOCKET, machine)
    }

    fn resume(
        directory: PathBuf,
        sockets: BTreeMap<u32, OwnedFd>,
        next: u32,
        machine: Box<dyn Machine>,
    ) -> Result<Self> {
        let (line, theirs) = handover::line()?;
        let copies = sockets.iter().map(|(&number, socket)| Ok((number, socket.try_clone()?)));
        // Nobody connects to this one: sockets are given as pairs.
        let (listener, _) = UnixStream::pair()?;
        let sockets_of_worker = copies.collect::<Result<_>>()?;
        let kept = Kept { line: theirs, listener: listener.into(), sockets: sockets_of_worker };
        let options = Options::try_parse_from(["xenstored", "-D", "-T", "/dev/null"])?;
        let worker = startup::resume(&options, &directory, kept, || Ok(machine))?;
        Ok(Self { directory, worker, line, sockets, next })
    }

    /// Ends the worker as a kill does, with no word to anyone, and goes on with another.
    ///
    /// **Errors:** as [`Inside::start`].
    pub fn kill(self, machine: Box<dyn Machine>) -> Result<Self> {
        let Self { directory, worker, line, sockets, next } = self;
        drop((worker, line));
        Self::resume(directory, sockets, next, machine)
    }

    /// Connects a socket, as the keeper does, and returns its other end, which does not block.
    ///
    /// **Errors:** too many descriptors are open.
    pub fn connect(&mut self) -> Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let number = self.next;
        self.next = self.next.wrapping_add(1).max(FIRST_SOCKET);
        handover::send(self.line.as_fd(), What::Connection, number, &[], Some(theirs.as_fd()))?;
        self.sockets.insert(number, theirs.into());
        Ok(ours)
    }

    /// Handles what has arrived, without waiting. Returns whether there is more to do at once.
    ///
    /// **Errors:** those of a turn of the worker's loop.
    pub fn turn(&mut self) -> Result<bool> {
        self.worker.turn(Some(&AT_ONCE))?;
        while let Some(note) = handover::receive(self.line.as_fd(), false)? {
            if note.what == What::Closed {
                self.sockets.remove(&note.number);
            }
        }
        Ok(self.worker.is_busy())
    }

    /// Returns the state machine that is served.
    #[must_use]
    pub const fn engine(&self) -> &Engine {
        &self.worker.engine
    }
}
