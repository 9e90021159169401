//! Start of the worker, with recovery of the state of an earlier instance.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use super::handover::{self, What};
use super::keeper;
use super::log::Log;
use super::machine::{Files, Machine, Xen};
use super::mailbox::Mailboxes;
use super::options::Options;
use super::outside::Outside;
use super::update::Update;
use super::worker::Worker;
use crate::engine::{Engine, FIRST_SOCKET, Host};
use crate::journal::{Journal, Record};
use crate::store::Change;

/// Time within which the event channels of an earlier instance are closed after its end.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the keeper passed.
pub struct Kept {
    pub line: OwnedFd,
    pub listener: OwnedFd,
    pub sockets: BTreeMap<u32, OwnedFd>,
}

/// Starts the worker.
///
/// **Errors:** a device or a file that it needs is missing.
pub fn start(options: &Options) -> Result<Worker> {
    let kept = kept()?;
    resume(options, &options.directory(), kept, || machine(options.rings_in_files.as_deref()))
}

/// Makes a worker that goes on with what lies in a directory.
///
/// **Errors:** as [`start`].
pub fn resume(
    options: &Options,
    directory: &Path,
    kept: Kept,
    machine: impl FnOnce() -> Result<Box<dyn Machine>>,
) -> Result<Worker> {
    let (journal, records) = Journal::open(&directory.join("state"))
        .with_context(|| format!("the journal in {} cannot be opened", directory.display()))?;
    let mut mailboxes =
        Mailboxes::open(&directory.join("state/mailboxes")).context("the mailboxes cannot be opened")?;
    let limits = options.limits().map_err(anyhow::Error::msg)?;
    let mut engine = Engine::new(limits, clock(), options.keep_orphans);
    let is_first = records.is_empty();
    let answers = replay(&mut engine, records);
    if is_first {
        engine.furnish();
        // What lies there is of another start of the machine.
        mailboxes.owners().into_iter().for_each(|owner| mailboxes.take(owner));
    }
    let alive: Vec<u32> = kept.sockets.keys().copied().collect();
    engine.resume_after(&alive);

    let mut log = Log::default();
    log.verbose = options.verbose;
    if let Some(path) = &options.trace_file {
        log.open(path).with_context(|| format!("cannot log to {}", path.display()))?;
    } else if keeper::has_left() {
        // Nobody would see its standard error stream.
        let path = directory.join("log");
        log.open_bounded(&path).with_context(|| format!("cannot log to {}", path.display()))?;
    }
    let mut outside = Outside {
        machine: machine()?,
        rings: BTreeMap::new(),
        ports: BTreeMap::new(),
        fresh: Vec::new(),
        mailboxes,
        log,
        update: Update::default(),
    };
    let ends_port = retry(|| outside.machine.bind_ends()).context("another program is told of domains' ends")?;
    attach_rings(&mut engine, &mut outside, options)?;
    let mut worker = Worker::new(engine, outside, journal, ends_port, (kept.line, kept.listener))?;
    take_over_sockets(&mut worker, kept.sockets)?;
    finish_answers(&mut worker, &answers);
    worker.engine.domains_changed(&mut worker.outside);
    worker.write_journal(0, 0, Vec::new())?;
    for connection in worker.outside.mailboxes.owners() {
        worker.run_later(connection);
        // Domain 0's kernel takes the first event for the sign that the store is there; and a domain that waited for a
        // response when another instance ended looks again.
        if let Ok(domain) = u16::try_from(connection) {
            worker.outside.notify(domain);
        }
    }
    Ok(worker)
}

fn kept() -> Result<Kept> {
    let line = handover::inherited().context("the program that serves is started by xenstored itself")?;
    let (mut listener, mut sockets) = (None, BTreeMap::new());
    loop {
        let note = handover::receive(line.as_fd(), true).context("the keeper is gone")?;
        match note.map(|note| (note.what, note.number, note.descriptor)) {
            Some((What::Listener, _, Some(descriptor))) => listener = Some(descriptor),
            Some((What::Connection, number, Some(descriptor))) => drop(sockets.insert(number, descriptor)),
            Some((What::Ready, ..)) => break,
            _ => bail!("the keeper said what makes no sense here"),
        }
    }
    Ok(Kept { line, listener: listener.context("the keeper gave no socket that listens")?, sockets })
}

/// Returns a reading of the tree's clock that no earlier instance had, since clients compare generations for equality.
fn clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX >> 1)
}

fn machine(files: Option<&Path>) -> Result<Box<dyn Machine>> {
    Ok(match files {
        Some(directory) => Box::new(Files::open(directory).context("cannot take events from files")?),
        None => Box::new(
            Xen::open().context("cannot reach the hypervisor; is this domain 0, with Linux' modules for Xen?")?,
        ),
    })
}

/// Replays the changes of the journal. Returns the last response of each connection.
fn replay(engine: &mut Engine, records: Vec<Record>) -> BTreeMap<u32, (u64, Vec<u8>)> {
    let mut answers = BTreeMap::new();
    for record in records {
        for change in record.changes {
            if let Change::Reset { connection } = change {
                // Its requests are counted anew.
                answers.remove(&connection);
            }
            engine.replay(change);
        }
        if record.serial != 0 {
            answers.insert(record.connection, (record.serial, record.answer));
        }
    }
    answers
}

/// Retries for a while: the descriptors of an earlier instance are closed a moment after its end is seen.
fn retry<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let began = std::time::Instant::now();
    loop {
        match attempt() {
            Err(_) if began.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(5)),
            outcome => return outcome,
        }
    }
}

fn attach_rings(engine: &mut Engine, outside: &mut Outside, options: &Options) -> Result<()> {
    let mut served: Vec<(u16, u32)> = engine.served().map(|(domain, _, port)| (domain, port)).collect();
    let serves_own = served.iter().any(|(domain, _)| *domain == 0);
    if !options.no_domain_init {
        let port = outside.machine.own_port().context("domain 0's kernel offers no port for xenstore")?;
        if !serves_own {
            engine.serve(0, 0, port);
            served.push((0, port));
        }
        served.iter_mut().filter(|(domain, _)| *domain == 0).for_each(|(_, known)| *known = port);
    }
    for (domain, port) in served {
        use crate::engine::DomainState;
        // One that is gone meanwhile is found out later.
        if domain != 0 && outside.state(domain) == DomainState::Gone {
            outside.mailboxes.take(u32::from(domain));
            continue;
        }
        if let Err(error) = retry(|| outside.attach(domain, port)) {
            outside.log.line(&format!("the ring of domain {domain} cannot be served: {error}"));
            outside.mailboxes.take(u32::from(domain));
        }
    }
    // What is left of connections that are no more.
    for owner in outside.mailboxes.owners() {
        let is_served = u16::try_from(owner).is_ok_and(|domain| outside.rings.contains_key(&domain));
        if owner < FIRST_SOCKET && !is_served {
            outside.mailboxes.take(owner);
        }
    }
    Ok(())
}

fn take_over_sockets(worker: &mut Worker, sockets: BTreeMap<u32, OwnedFd>) -> Result<()> {
    for owner in worker.outside.mailboxes.owners() {
        if owner >= FIRST_SOCKET && !sockets.contains_key(&owner) {
            worker.outside.mailboxes.take(owner);
        }
    }
    for (connection, descriptor) in sockets {
        if !worker.engine.knows(connection) {
            worker.engine.connect_socket(connection);
        }
        if worker.outside.mailboxes.of(connection).is_none() {
            worker.outside.mailboxes.give(connection, 0, 0)?;
        }
        worker.add_socket(connection, descriptor)?;
    }
    Ok(())
}

/// Sends responses that are in the journal and had not begun to be sent.
fn finish_answers(worker: &mut Worker, answers: &BTreeMap<u32, (u64, Vec<u8>)>) {
    for (&connection, (serial, answer)) in answers {
        let Some(mailbox) = worker.outside.mailboxes.of(connection) else { continue };
        if mailbox.coming().is_some_and(|(coming, _)| coming == *serial) {
            let ring = u16::try_from(connection).ok().and_then(|domain| worker.outside.rings.get(&domain));
            let start = ring.map_or_else(|| mailbox.count_sent(), |ring| u64::from(ring.given()));
            mailbox.commit(answer, start, Some(*serial));
        }
    }
}
