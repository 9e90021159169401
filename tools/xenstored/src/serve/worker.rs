//! The worker: it takes messages from sockets and rings, lets the state machine handle them, writes the journal and
//! sends responses. It may be killed at any moment.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::epoll;
use xenstore_wire::Message;

use super::handover::{self, What};
use super::options::Options;
use super::outside::Outside;
use super::stream::{Arrived, Stream};
use super::{keeper, startup};
use crate::engine::{Engine, FIRST_SOCKET};
use crate::journal::{Journal, Record};

/// Number of messages of one connection that are handled before other connections have their turn.
const TURNS: u32 = 16;

/// A keeper that ends sooner than this may have failed to start, and the next one is started after a pause.
const KEEPER_LIVES: Duration = Duration::from_secs(5);

/// Pause before a keeper that had too much to read is told again of a live update.
const UPDATE_IS_TOLD_AGAIN: Duration = Duration::from_millis(10);

/// Epoll data of descriptors that are not connections.
const LINE: u64 = u64::MAX;
const EVENTS: u64 = u64::MAX - 1;

/// A socket, with the events that epoll waits for on it.
#[derive(Debug)]
pub struct Socket {
    pub descriptor: OwnedFd,
    waits_for: epoll::EventFlags,
}

/// The worker.
pub struct Worker {
    pub engine: Engine,
    pub outside: Outside,
    pub journal: Journal,
    pub sockets: BTreeMap<u32, Socket>,
    /// Local port of `VIRQ_DOM_EXC`.
    pub ends_port: u32,
    /// The socket to the keeper.
    pub line: OwnedFd,
    pub listener: OwnedFd,
    epoll: OwnedFd,
    /// When another keeper was last started, and how often in a row that was too soon.
    last_keeper: Option<Instant>,
    hasty_keepers: u32,
    /// When the next keeper is due, if there is none.
    next_keeper: Option<Instant>,
    /// The keeper, if this worker started it.
    keeper: Option<Child>,
    /// The keeper was told of the program of a live update.
    update_is_told: bool,
    /// Closed connections of which the keeper was not told yet. It may wait for this program itself, with connections that
    /// are new, so that neither may wait for the other.
    closed: VecDeque<u32>,
    /// Epoll says when the keeper can be told more.
    waits_for_line: bool,
    /// Connections that may have work, each once.
    runnable: VecDeque<u32>,
    is_runnable: BTreeSet<u32>,
}

/// Result of a step of a connection.
enum Step {
    /// There may be more to do at once.
    Again,
    /// It waits for the other side; with `to_send`, for room.
    Waits {
        to_send: bool,
    },
    Closed,
}

/// Runs the worker. Its standard input is the socket to the keeper.
///
/// **Errors:** a device or a file that it needs is missing.
pub fn work(options: &Options) -> Result<()> {
    let mut worker = startup::start(options)?;
    // If the keeper is gone, the first turn of the loop finds out and starts another.
    let _ = handover::send(worker.line.as_fd(), What::Serving, 0, &[], None);
    keeper::leave_output();
    worker.run()
}

impl Worker {
    /// Makes a worker that will look at every connection first.
    ///
    /// **Errors:** too many descriptors are open.
    pub fn new(
        engine: Engine,
        outside: Outside,
        journal: Journal,
        ends_port: u32,
        (line, listener): (OwnedFd, OwnedFd),
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &line, epoll::EventData::new_u64(LINE), epoll::EventFlags::IN)?;
        let events = outside.machine.events();
        epoll::add(&epoll, events, epoll::EventData::new_u64(EVENTS), epoll::EventFlags::IN)?;
        Ok(Self {
            engine,
            outside,
            journal,
            sockets: BTreeMap::new(),
            ends_port,
            line,
            listener,
            epoll,
            last_keeper: None,
            hasty_keepers: 0,
            next_keeper: None,
            keeper: None,
            update_is_told: false,
            closed: VecDeque::new(),
            waits_for_line: false,
            runnable: VecDeque::new(),
            is_runnable: BTreeSet::new(),
        })
    }

    /// Adds a socket that has a mailbox.
    ///
    /// **Errors:** too many descriptors are open.
    pub fn add_socket(&mut self, connection: u32, descriptor: OwnedFd) -> io::Result<()> {
        rustix::io::ioctl_fionbio(&descriptor, true)?;
        let waits_for = epoll::EventFlags::IN;
        epoll::add(&self.epoll, &descriptor, epoll::EventData::new_u64(u64::from(connection)), waits_for)?;
        self.sockets.insert(connection, Socket { descriptor, waits_for });
        Ok(())
    }

    /// Queues a connection to have its turn.
    pub fn run_later(&mut self, connection: u32) {
        if self.is_runnable.insert(connection) {
            self.runnable.push_back(connection);
        }
    }

    fn run(&mut self) -> Result<()> {
        while self.turn(self.longest_wait().as_ref())? {}
        Ok(())
    }

    /// Waits for something to happen, at most for `limit`, and handles it. Returns false when the worker is to end.
    ///
    /// **Errors:** the journal cannot be written, or a system call failed that never does.
    pub fn turn(&mut self, limit: Option<&rustix::event::Timespec>) -> Result<bool> {
        self.start_keeper_if_due()?;
        // Only a keeper can start the next worker. This one serves on until it is told to end: a keeper that is gone
        // meanwhile is replaced, and the next one is told again.
        if self.outside.update.is_due && !self.update_is_told {
            let program = self.outside.update.program();
            self.update_is_told = handover::send_now(self.line.as_fd(), What::Update, 0, &program).is_ok();
        }
        let mut events = [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 64];
        let count = match epoll::wait(&self.epoll, &mut events[..], limit) {
            Ok(count) => count,
            Err(rustix::io::Errno::INTR) => 0,
            Err(error) => return Err(error).context("epoll failed"),
        };
        for event in events.iter().take(count) {
            match event.data.u64() {
                LINE => {
                    if !self.handle_keeper()? {
                        return Ok(false);
                    }
                }
                EVENTS => self.take_events()?,
                connection => self.run_later(u32::try_from(connection).unwrap_or(0)),
            }
        }
        for _ in 0..self.runnable.len() {
            let Some(connection) = self.runnable.pop_front() else { break };
            self.is_runnable.remove(&connection);
            self.serve(connection)?;
        }
        self.tell_of_closed()?;
        Ok(true)
    }

    /// Returns whether a connection waits for its turn.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.runnable.is_empty()
    }

    /// Tells the keeper of closed connections, as far as it reads.
    fn tell_of_closed(&mut self) -> Result<()> {
        while let Some(&connection) = self.closed.front() {
            match handover::send_now(self.line.as_fd(), What::Closed, connection, &[]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // If it is gone, the next turn finds out, and the next keeper is given what is open.
                _ => drop(self.closed.pop_front()),
            }
        }
        let waits = !self.closed.is_empty();
        if waits != self.waits_for_line && self.next_keeper.is_none() {
            self.waits_for_line = waits;
            let flags = if waits { epoll::EventFlags::IN | epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
            epoll::modify(&self.epoll, &self.line, epoll::EventData::new_u64(LINE), flags)?;
        }
        Ok(())
    }

    /// Handles messages of the keeper. Returns false when the worker is to end.
    fn handle_keeper(&mut self) -> Result<bool> {
        match handover::receive(self.line.as_fd(), false) {
            Ok(None) => {}
            Ok(Some(note)) => match (note.what, note.descriptor) {
                (What::Connection, Some(descriptor)) => self.accept(note.number, descriptor)?,
                (What::Quit, _) => return Ok(false),
                _ => {}
            },
            // The other program is gone: without one, nobody would keep the sockets when this one ends.
            Err(_) => {
                epoll::delete(&self.epoll, &self.line)?;
                let now = Instant::now();
                let is_hasty = self.last_keeper.is_some_and(|last| now.duration_since(last) < KEEPER_LIVES);
                self.hasty_keepers = if is_hasty { self.hasty_keepers.saturating_add(1) } else { 0 };
                self.next_keeper = Some(now + keeper::pause(self.hasty_keepers));
                self.update_is_told = false;
                (self.closed, self.waits_for_line) = (VecDeque::new(), false);
            }
        }
        Ok(true)
    }

    /// Starts another keeper, if one is due.
    fn start_keeper_if_due(&mut self) -> Result<()> {
        if self.next_keeper.is_none_or(|due| due > Instant::now()) {
            return Ok(());
        }
        match keeper::start_another(&self.listener, self.sockets.iter()) {
            Ok((line, keeper)) => {
                epoll::add(&self.epoll, &line, epoll::EventData::new_u64(LINE), epoll::EventFlags::IN)?;
                (self.line, self.next_keeper, self.last_keeper) = (line, None, Some(Instant::now()));
                if let Some(mut former) = self.keeper.replace(keeper) {
                    // It has ended, since its end of the socket pair is closed; it must not stay a zombie.
                    let _ = former.wait();
                }
                self.outside.log.line("the program that keeps the sockets was gone and was started again");
            }
            Err(error) => {
                self.hasty_keepers = self.hasty_keepers.saturating_add(1);
                self.next_keeper = Some(Instant::now() + keeper::pause(self.hasty_keepers));
                self.outside.log.line(&format!("no program that keeps the sockets can be started: {error:#}"));
            }
        }
        Ok(())
    }

    /// Returns how long to wait for something to happen; None for no limit.
    fn longest_wait(&self) -> Option<rustix::event::Timespec> {
        if !self.runnable.is_empty() {
            return Some(rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 });
        }
        let wait = match self.next_keeper {
            Some(due) => due.saturating_duration_since(Instant::now()),
            None if self.outside.update.is_due && !self.update_is_told => UPDATE_IS_TOLD_AGAIN,
            None => return None,
        };
        rustix::event::Timespec::try_from(wait).ok()
    }

    fn accept(&mut self, connection: u32, descriptor: OwnedFd) -> Result<()> {
        self.engine.connect_socket(connection);
        self.write_journal(0, 0, Vec::new())?;
        self.outside.mailboxes.give(connection, 0, 0).context("no more mailboxes can be made")?;
        self.add_socket(connection, descriptor)?;
        Ok(())
    }

    fn take_events(&mut self) -> Result<()> {
        while let Some(port) = self.outside.machine.take() {
            self.outside.machine.unmask(port);
            if port == self.ends_port {
                self.engine.domains_changed(&mut self.outside);
                self.write_journal(0, 0, Vec::new())?;
            } else if let Some(domain) = self.outside.ports.get(&port) {
                self.run_later(u32::from(*domain));
            }
        }
        Ok(())
    }

    /// Appends the changes to the journal, and queues the connections that have events.
    ///
    /// **Errors:** the memory file system is full: nothing may be acknowledged any more.
    pub fn write_journal(&mut self, connection: u32, serial: u64, answer: Vec<u8>) -> Result<()> {
        let changes = self.engine.take_changes();
        if !changes.is_empty() {
            let record = Record { connection, serial, answer, changes };
            self.journal.append(&record).context("the journal cannot be written; is /run full?")?;
        }
        for connection in self.engine.take_notified() {
            self.run_later(connection);
        }
        Ok(())
    }

    /// Handles messages of a connection, up to [`TURNS`].
    fn serve(&mut self, connection: u32) -> Result<()> {
        let is_socket = connection >= FIRST_SOCKET;
        let mut notifies = false;
        for _ in 0..TURNS {
            match self.step(connection, &mut notifies)? {
                Step::Again => {}
                Step::Waits { to_send } => {
                    if is_socket {
                        self.wait_for(connection, to_send)?;
                    } else if notifies {
                        self.outside.notify(u16::try_from(connection).unwrap_or(0));
                    }
                    return Ok(());
                }
                Step::Closed => return self.close(connection),
            }
        }
        if notifies {
            self.outside.notify(u16::try_from(connection).unwrap_or(0));
        }
        self.run_later(connection);
        Ok(())
    }

    /// Does one step of a connection: sends the outgoing message, or receives the next one and handles it.
    fn step(&mut self, connection: u32, notifies: &mut bool) -> Result<Step> {
        let Some(mailbox) = self.outside.mailboxes.of(connection) else { return Ok(Step::Waits { to_send: false }) };
        let mut stream = match (self.sockets.get(&connection), u16::try_from(connection)) {
            (Some(socket), _) => Stream::Socket(socket.descriptor.as_fd()),
            (None, Ok(domain)) => match self.outside.rings.get_mut(&domain) {
                Some(ring) if ring.asks_anew() => return self.connect_anew(domain),
                Some(ring) if !ring.is_broken => Stream::Ring(ring),
                _ => return Ok(Step::Waits { to_send: false }),
            },
            _ => return Ok(Step::Waits { to_send: false }),
        };
        let was_going = mailbox.going().is_some();
        let sent = stream.send(mailbox, notifies);
        match sent {
            // Most programs ask again only after they were answered: epoll tells when, and nothing is asked for in vain.
            Ok(true) if was_going && connection >= FIRST_SOCKET && !self.engine.has_events(connection) => {
                return Ok(Step::Waits { to_send: false });
            }
            Ok(true) => {}
            Ok(false) => {
                // A domain that sends a long message before it reads on can send it to its end.
                let taken =
                    if connection < FIRST_SOCKET { stream.receive(mailbox, notifies).map(drop) } else { Ok(()) };
                return taken
                    .map_or_else(|broken| self.give_up(connection, broken), |()| Ok(Step::Waits { to_send: true }));
            }
            Err(broken) => return self.give_up(connection, broken),
        }
        if let Some(event) = self.engine.take_event(connection) {
            mailbox.commit(&event.to_bytes(), stream.sent(mailbox), None);
            return Ok(Step::Again);
        }
        match stream.receive(mailbox, notifies) {
            Ok(Arrived::Part) => Ok(Step::Waits { to_send: false }),
            Ok(Arrived::End) => Ok(Step::Closed),
            Ok(Arrived::Message(serial, message)) => self.execute(connection, serial, &message),
            Err(broken) => self.give_up(connection, broken),
        }
    }

    /// Executes a request.
    fn execute(&mut self, connection: u32, serial: u64, message: &Message) -> Result<Step> {
        let answer = self.engine.handle(&mut self.outside, connection, message);
        if self.outside.log.verbose {
            let (asked, said) = (message.body.escape_ascii(), answer.body.escape_ascii());
            let line = format!("{connection} {} {asked}: {} {said}", message.kind, answer.kind);
            self.outside.log.line(&line);
        }
        for domain in std::mem::take(&mut self.outside.fresh) {
            self.run_later(u32::from(domain));
        }
        let answer = answer.to_bytes();
        self.write_journal(connection, serial, answer.clone())?;
        let Some(mailbox) = self.outside.mailboxes.of(connection) else { return Ok(Step::Waits { to_send: false }) };
        let start = match self.outside.rings.get(&u16::try_from(connection).unwrap_or(u16::MAX)) {
            Some(ring) => u64::from(ring.given()),
            None => mailbox.count_sent(),
        };
        mailbox.commit(&answer, start, Some(serial));
        if self.journal.has_grown() {
            self.journal.begin_anew(&self.engine.snapshot()).context("the journal cannot be begun anew")?;
        }
        Ok(Step::Again)
    }

    /// Reconnects a ring whose domain asks for it.
    fn connect_anew(&mut self, domain: u16) -> Result<Step> {
        let connection = u32::from(domain);
        self.engine.reset(connection);
        self.write_journal(0, 0, Vec::new())?;
        if let Some(mailbox) = self.outside.mailboxes.of(connection) {
            mailbox.clear(0, 0);
        }
        if let Some(ring) = self.outside.rings.get_mut(&domain) {
            ring.connect_anew();
        }
        self.outside.notify(domain);
        Ok(Step::Again)
    }

    /// Ends a connection that broke the protocol: a socket is closed, a ring is ignored until its domain reconnects.
    fn give_up(&mut self, connection: u32, why: u32) -> Result<Step> {
        let Ok(domain) = u16::try_from(connection) else { return Ok(Step::Closed) };
        self.outside.log.line(&format!("domain {domain} broke the rules of its ring (error {why}); it is left alone"));
        self.engine.reset(connection);
        self.write_journal(0, 0, Vec::new())?;
        if let Some(ring) = self.outside.rings.get_mut(&domain) {
            ring.give_up(why);
            if let Some(mailbox) = self.outside.mailboxes.of(connection) {
                mailbox.clear(u64::from(ring.taken()), u64::from(ring.given()));
            }
        }
        self.outside.notify(domain);
        Ok(Step::Waits { to_send: false })
    }

    fn wait_for(&mut self, connection: u32, to_send: bool) -> Result<()> {
        let Some(socket) = self.sockets.get_mut(&connection) else { return Ok(()) };
        let flags = if to_send { epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
        if socket.waits_for != flags {
            socket.waits_for = flags;
            let data = epoll::EventData::new_u64(u64::from(connection));
            epoll::modify(&self.epoll, &socket.descriptor, data, flags)?;
        }
        Ok(())
    }

    /// Removes a closed socket.
    fn close(&mut self, connection: u32) -> Result<()> {
        self.engine.disconnect(connection);
        self.write_journal(0, 0, Vec::new())?;
        self.outside.mailboxes.take(connection);
        if let Some(socket) = self.sockets.remove(&connection) {
            epoll::delete(&self.epoll, &socket.descriptor)?;
        }
        self.closed.push_back(connection);
        Ok(())
    }
}
