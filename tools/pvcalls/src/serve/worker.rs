//! The process that serves one guest.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, Rlimit, setrlimit};

use super::link::{Nodes, State, read};
use super::xen::Xen;
use super::{Link, Log, Serving, Store};
use crate::{Counters, Device, Guest, Record, Tcp, Usage};

/// How often counters are written.
const METRICS: Duration = Duration::from_secs(5);
/// Events that are taken before the engine has its turn.
const EVENTS: usize = 256;

/// The daemon of one guest.
pub struct Worker<L: Link> {
    link: L,
    store: Store,
    nodes: Nodes,
    domain: u16,
    name: String,
    serving: Serving,
    log: Log,
    device: Option<Device<L::Guest, Tcp>>,
    state: State,
    /// xenstored knew the domain when it connected.
    is_introduced: bool,
    began: Instant,
    metrics: Option<(PathBuf, Instant)>,
    unlogged: u64,
}

impl<L: Link> Worker<L> {
    /// Begins to serve a guest, whose device may be there or not.
    ///
    /// **Errors:** xenstore or the log fails.
    pub fn new(link: L, mut store: Store, domain: u16, serving: Serving) -> Result<Self> {
        let nodes = Nodes::new(domain)?;
        let log = serving.log.as_ref().map(|to| to.join(format!("pvcalls-{domain}.json")));
        let log =
            Log::open(log.as_deref(), serving.log_rate).context("the log cannot be opened; is --log a directory?")?;
        for (path, token) in nodes.watched().iter().zip(["back", "front"]) {
            store.watch(path, token)?;
        }
        store.watch("@releaseDomain", "release")?;
        let name = read(&mut store, &xenstore::StorePath::of_domain(domain).child("name")?)?;
        let name = name.unwrap_or_else(|| format!("domain-{domain}"));
        let began = Instant::now();
        let metrics = serving.metrics.as_ref().map(|to| (to.join(format!("pvcalls-{domain}.prom")), began));
        let state = State::Unknown;
        let is_introduced = false;
        Ok(Self {
            is_introduced,
            link,
            store,
            nodes,
            domain,
            name,
            serving,
            log,
            device: None,
            state,
            began,
            metrics,
            unlogged: 0,
        })
    }

    /// Does what waits, at most after `limit`. Returns false once the device is gone.
    ///
    /// **Errors:** xenstore fails.
    pub fn step(&mut self, limit: Duration, also: Option<&UnixStream>) -> Result<bool> {
        let mut limit = limit;
        if let Some(device) = &mut self.device {
            let now = self.began.elapsed();
            match device.turn(now) {
                Ok(true) => limit = Duration::ZERO,
                Ok(false) => {
                    let until = device.deadline().map_or(limit, |until| until.saturating_sub(now));
                    limit = limit.min(until);
                }
                Err(broken) => {
                    eprintln!("xenolith-pvcalls: {}: the ring of commands is closed: {broken}", self.name);
                    self.close(State::Closing)?;
                }
            }
        }
        self.write_records();
        self.wait(limit, also)?;
        for _ in 0..EVENTS {
            let Some(port) = self.link.take() else { break };
            self.device.iter_mut().for_each(|device| device.on_event(port));
        }
        if let Some(device) = &mut self.device {
            for (token, readiness) in device.sockets_mut().wait(Some(Timespec::default()))? {
                device.on_socket(token, readiness);
            }
        }
        let mut changed = self.state == State::Unknown;
        while let Some(event) = self.store.next_event(Some(Duration::ZERO))? {
            // A toolstack may write the device before it introduces the domain.
            if event.token == "release" && self.is_introduced && !self.store.is_introduced(self.domain)? {
                self.close(State::Closed)?;
                return Ok(false);
            }
            changed = true;
        }
        if changed { self.negotiate() } else { Ok(true) }
    }

    fn wait(&mut self, limit: Duration, also: Option<&UnixStream>) -> Result<()> {
        let limit = Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        };
        let link = self.link.watched();
        let mut polled = vec![PollFd::from_borrowed_fd(link, PollFlags::IN), PollFd::new(&self.store, PollFlags::IN)];
        polled.extend(also.map(|also| PollFd::from_borrowed_fd(also.as_fd(), PollFlags::IN)));
        if let Some(device) = &self.device {
            polled.push(PollFd::new(device.sockets(), PollFlags::IN));
        }
        match poll(&mut polled, Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("cannot wait for events"),
        }
    }

    /// Looks at the states of both ends, and goes on with the handshake. Returns false once the device is gone.
    fn negotiate(&mut self) -> Result<bool> {
        let back = self.nodes.back_state(&mut self.store)?;
        let front = self.nodes.front_state(&mut self.store)?;
        let online = self.nodes.back(&mut self.store, "online")?.is_some_and(|online| online.trim() == "1");
        if back == State::Unknown {
            self.close(State::Closed)?;
            return Ok(false);
        }
        match (self.state, front) {
            // The toolstack takes the device away.
            (_, State::Unknown | State::Closed) if !online => {
                self.close(State::Closed)?;
                return Ok(false);
            }
            // A process before this one had served it: the guest has to close what it had.
            (State::Unknown, State::Initialised | State::Connected)
                if !matches!(back, State::Initialising | State::InitWait) =>
            {
                self.close(State::Closing)?;
            }
            (State::Unknown | State::Closed | State::Closing, State::Unknown | State::Initialising) => self.offer()?,
            (State::Unknown, State::Initialised | State::Connected) => {
                self.offer()?;
                self.connect()?;
            }
            (State::InitWait, State::Initialised | State::Connected) => self.connect()?,
            (State::Connected, State::Closing | State::Closed | State::Unknown | State::Initialising)
            | (State::Closing | State::InitWait | State::Unknown, State::Closing | State::Closed) => {
                self.close(State::Closed)?;
            }
            _ => {}
        }
        Ok(true)
    }

    fn offer(&mut self) -> Result<()> {
        self.nodes.announce(&mut self.store, self.serving.limits().order.number())?;
        self.state = State::InitWait;
        Ok(())
    }

    /// Maps the ring of commands and begins to serve it; a guest whose nodes make no sense is told to close.
    fn connect(&mut self) -> Result<()> {
        match self.device() {
            Ok(device) => {
                self.device = Some(device);
                self.is_introduced = self.store.is_introduced(self.domain)?;
                self.state = State::Connected;
                self.nodes.set_state(&mut self.store, State::Connected)
            }
            Err(error) => {
                eprintln!("xenolith-pvcalls: {}: not connected: {error:#}", self.name);
                self.close(State::Closing)
            }
        }
    }

    fn device(&mut self) -> Result<Device<L::Guest, Tcp>> {
        let rules = self.nodes.back(&mut self.store, "rules")?;
        let publish = self.nodes.back(&mut self.store, "publish")?;
        let policy = self.serving.policy(rules.as_deref(), publish.as_deref()).context("the device's policy")?;
        let (grant, port) = self.nodes.offered(&mut self.store)?;
        let mut guest = self.link.guest();
        let ring = guest.map(&[grant]).context("the ring of commands cannot be mapped")?;
        let sockets = Tcp::new().context("no epoll descriptor")?;
        let port = guest.bind(port).context("the event channel cannot be bound")?;
        Ok(Device::new(guest, sockets, ring, port, policy, self.serving.limits()))
    }

    /// Ends what is served, and says so in xenstore.
    fn close(&mut self, state: State) -> Result<()> {
        if let Some(mut device) = self.device.take() {
            let records = device.take_records();
            let (ended, counters) = device.close();
            self.log_all(records.iter().chain(&ended));
            self.write_metrics(&counters, Usage::default());
        }
        self.state = state;
        self.nodes.set_state(&mut self.store, state)
    }

    fn log_all<'a>(&mut self, records: impl Iterator<Item = &'a Record>) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        for record in records {
            if !self.log.line(now, &record.line(&self.name, self.domain, now)) {
                self.unlogged = self.unlogged.saturating_add(1);
            }
        }
    }

    fn write_records(&mut self) {
        let Some(device) = &mut self.device else { return };
        let (records, usage) = (device.take_records(), device.usage());
        let due = self.metrics.as_ref().is_some_and(|(_, due)| *due <= Instant::now());
        let counters = due.then(|| device.counters().clone());
        self.log_all(records.iter());
        if let Some(counters) = counters {
            self.write_metrics(&counters, usage);
        }
    }

    fn write_metrics(&mut self, counters: &Counters, usage: Usage) {
        let Some((path, due)) = &mut self.metrics else { return };
        *due = Instant::now().checked_add(METRICS).unwrap_or(*due);
        let mut counters = counters.clone();
        counters.unlogged = self.unlogged;
        let next = path.with_extension("next");
        // Readers see the old file or the new one. Counters that cannot be written stop nothing.
        let text = counters.text(&self.name, self.domain, usage);
        let _ = fs::write(&next, text).and_then(|()| fs::rename(&next, path));
    }
}

/// Serves a guest until its device is gone, or a signal asks for the end.
///
/// **Errors:** a device cannot be opened, xenstore fails, or another process serves the guest.
pub fn serve(domain: u16, serving: &Serving) -> Result<()> {
    let _lock = lock(domain)?;
    let link = Xen::open(domain)
        .context("no event channels or grants; is this domain 0, with xen-evtchn and xen-gntdev loaded?")?;
    let store = Store::connect().context("xenstore is not reached; is xenstored running?")?;
    let files = serving.sockets.saturating_add(256) as u64;
    // Where that may not be, calls are answered by EMFILE earlier.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(files), maximum: Some(files) });
    let mut worker = Worker::new(link, store, domain, serving.clone())?;
    if let Some(user) = serving.user {
        become_user(user).with_context(|| format!("cannot become user {user}; is this root?"))?;
    }
    let (ended, signal) = UnixStream::pair()?;
    ended.set_nonblocking(true)?;
    for number in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::low_level::pipe::register(number, signal.try_clone()?)?;
    }
    while worker.step(METRICS, Some(&ended))? {
        if std::io::Read::read(&mut &ended, &mut [0]).is_ok() {
            worker.close(State::Closing)?;
            break;
        }
    }
    Ok(())
}

/// Takes the lock of a guest, so that no two processes serve it.
fn lock(domain: u16) -> Result<fs::File> {
    let path = PathBuf::from(format!("/run/xenolith-pvcalls/{domain}"));
    fs::create_dir_all("/run/xenolith-pvcalls").context("cannot make /run/xenolith-pvcalls; is this root?")?;
    let file = fs::File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    file.try_lock()
        .with_context(|| format!("domain {domain} is served by another process, which has {}", path.display()))?;
    Ok(file)
}

fn become_user(number: u32) -> rustix::io::Result<()> {
    use rustix::thread::{Gid, Uid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};
    let (user, group) = (Uid::from_raw(number), Gid::from_raw(number));
    set_thread_groups(&[])?;
    set_thread_res_gid(group, group, group)?;
    set_thread_res_uid(user, user, user)
}
