//! The keeper (supervisor): it listens, holds every socket open, and restarts the worker when that ends. It knows
//! nothing of the store. If the keeper itself is gone, the worker starts another.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, poll};

use super::handover::{self, What};
use super::options::Options;
use super::worker::Socket;
use crate::engine::FIRST_SOCKET;

/// A worker that ends sooner than this failed to start.
const TOO_SOON: Duration = Duration::from_secs(1);
/// Number of failures in a row after which the program of a live update is replaced by the one before.
const TRIES_OF_AN_UPDATE: u32 = 2;
/// The longest pause before the worker is restarted.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The keeper.
struct Keeper {
    listener: OwnedFd,
    sockets: BTreeMap<u32, OwnedFd>,
    next: u32,
    line: OwnedFd,
    /// The worker, if this keeper started it.
    child: Option<Child>,
    /// Command line of the worker.
    program: Vec<String>,
    began: Instant,
    failures: u32,
    was_serving: bool,
    pid_file: Option<PathBuf>,
}

/// Runs the keeper, as a daemon unless `--no-fork` is given.
///
/// **Errors:** the socket cannot be created, or the worker does not start.
pub fn keep(options: &Options) -> Result<()> {
    if options.adopt {
        return adopt(options);
    }
    if !options.no_fork && !has_left() {
        return leave();
    }
    let _ = rustix::process::setsid();
    let path = options.directory().join("socket");
    let listener = listen(&path).with_context(|| format!("cannot listen on {}", path.display()))?;
    let (line, child) = begin(&own_words())?;
    let mut keeper = Keeper::new(listener, line, Some(child), options)?;
    keeper.give_all().context("the program that serves is gone")?;
    keeper.run(options)
}

/// Environment variable of the program that has left its terminal.
const LEFT: &str = "XENSTORED_LEFT_TERMINAL";

/// Starts this program again without a terminal (daemonizes), and waits until the store is served.
fn leave() -> Result<()> {
    let mut command = Command::new(SELF);
    command.arg0("xenstored").args(std::env::args_os().skip(1)).env(LEFT, "1");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0).spawn()?;
    let mut said = String::new();
    if let Some(output) = child.stdout.take() {
        io::BufRead::read_line(&mut io::BufReader::new(output), &mut said)?;
    }
    if said.trim() != SERVED {
        bail!("xenstored did not start; its standard error stream says why");
    }
    Ok(())
}

/// Redirects the standard output and error of a daemonized program to `/dev/null`, since the parent may wait for their
/// end.
pub fn leave_output() {
    if !has_left() {
        return;
    }
    if let Ok(nothing) = fs::File::options().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(&nothing);
        let _ = rustix::stdio::dup2_stderr(&nothing);
    }
}

/// Returns whether this program has left its terminal, so that nobody sees what it writes there.
pub fn has_left() -> bool {
    std::env::var_os(LEFT).is_some()
}

/// Line on the standard output once the store is served.
const SERVED: &str = "served";

/// Creates the listening socket in place of one that another instance left.
fn listen(path: &std::path::Path) -> io::Result<OwnedFd> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    if UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another xenstored serves there"));
    }
    let _ = fs::remove_file(path);
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener.into())
}

/// Path of this program, even if its file was replaced.
const SELF: &str = "/proc/self/exe";

/// Returns the command line of this program.
fn own_words() -> Vec<String> {
    let program = SELF.to_owned();
    let words = std::env::args().skip(1).filter(|word| word != "--adopt" && word != "--serve");
    std::iter::once(program).chain(words).collect()
}

/// Starts this program in another role with one end of a socket pair as its standard input. Returns the other end.
fn spawn(words: &[String], role: &str) -> Result<(OwnedFd, Child)> {
    let (ours, theirs) = handover::line()?;
    let (program, arguments) = words.split_first().context("no program")?;
    let mut command = Command::new(program);
    command.arg0("xenstored").args(arguments).arg(role).stdin(Stdio::from(theirs)).stdout(Stdio::null());
    let child = command.spawn().with_context(|| format!("cannot start {program}"))?;
    Ok((ours, child))
}

fn begin(words: &[String]) -> Result<(OwnedFd, Child)> {
    spawn(words, "--serve")
}

/// Starts another keeper and passes all descriptors to it.
///
/// **Errors:** it cannot be started.
pub fn start_another<'a>(
    listener: &OwnedFd,
    sockets: impl Iterator<Item = (&'a u32, &'a Socket)>,
) -> Result<(OwnedFd, Child)> {
    let (line, keeper) = spawn(&own_words(), "--adopt")?;
    handover::send(line.as_fd(), What::Listener, 0, &[], Some(listener.as_fd()))?;
    for (&number, socket) in sockets {
        handover::send(line.as_fd(), What::Connection, number, &[], Some(socket.descriptor.as_fd()))?;
    }
    handover::send(line.as_fd(), What::Ready, 0, &[], None)?;
    Ok((line, keeper))
}

/// Runs the keeper in place of one that is gone.
fn adopt(options: &Options) -> Result<()> {
    let _ = rustix::process::setsid();
    let line = handover::inherited()?;
    let (mut listener, mut sockets) = (None, BTreeMap::new());
    while let Some(note) = handover::receive(line.as_fd(), true)? {
        match (note.what, note.descriptor) {
            (What::Listener, Some(descriptor)) => listener = Some(descriptor),
            (What::Connection, Some(descriptor)) => drop(sockets.insert(note.number, descriptor)),
            _ => break,
        }
    }
    let mut keeper = Keeper::new(listener.context("no socket that listens was given")?, line, None, options)?;
    keeper.next = sockets.keys().last().map_or(FIRST_SOCKET, |last| last.wrapping_add(1)).max(keeper.next);
    keeper.sockets = sockets;
    keeper.was_serving = true;
    keeper.run(options)
}

impl Keeper {
    fn new(listener: OwnedFd, line: OwnedFd, child: Option<Child>, options: &Options) -> Result<Self> {
        if let Some(path) = &options.pid_file {
            fs::write(path, format!("{}\n", std::process::id()))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(Self {
            listener,
            sockets: BTreeMap::new(),
            next: first_number(),
            line,
            child,
            program: own_words(),
            began: Instant::now(),
            failures: 0,
            was_serving: false,
            pid_file: options.pid_file.clone(),
        })
    }

    /// Passes all descriptors to the worker.
    fn give_all(&self) -> io::Result<()> {
        let line = self.line.as_fd();
        handover::send(line, What::Listener, 0, &[], Some(self.listener.as_fd()))?;
        for (&number, socket) in &self.sockets {
            handover::send(line, What::Connection, number, &[], Some(socket.as_fd()))?;
        }
        handover::send(line, What::Ready, 0, &[], None)
    }

    fn run(&mut self, options: &Options) -> Result<()> {
        let (ended, ends) = UnixStream::pair()?;
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
            signal_hook::low_level::pipe::register(signal, ends.try_clone()?)?;
        }
        loop {
            let [line, listener, end] = wait([self.line.as_fd(), self.listener.as_fd(), ended.as_fd()])?;
            if end {
                return self.quit();
            }
            if listener {
                self.accept()?;
            }
            if line {
                self.handle_messages(options)?;
            }
        }
    }

    fn accept(&mut self) -> Result<()> {
        let flags = rustix::net::SocketFlags::CLOEXEC;
        let Ok(socket) = rustix::net::accept_with(&self.listener, flags) else { return Ok(()) };
        let number = self.next;
        self.next = self.next.wrapping_add(1).max(FIRST_SOCKET);
        // If it is gone, it will be given with the rest to the next.
        let _ = handover::send(self.line.as_fd(), What::Connection, number, &[], Some(socket.as_fd()));
        self.sockets.insert(number, socket);
        Ok(())
    }

    fn handle_messages(&mut self, options: &Options) -> Result<()> {
        match handover::receive(self.line.as_fd(), false) {
            Ok(None) => {}
            Ok(Some(note)) => match note.what {
                What::Closed => drop(self.sockets.remove(&note.number)),
                What::Serving => self.is_serving(options),
                What::Update => {
                    let arguments = own_words().into_iter().skip(1);
                    let mut words = note.words;
                    if words.len() == 1 {
                        words.extend(arguments);
                    }
                    if !words.is_empty() {
                        self.program = words;
                    }
                    // Only now may the worker end. If it has ended already, the next turn starts the other.
                    let _ = handover::send(self.line.as_fd(), What::Quit, 0, &[], None);
                }
                _ => {}
            },
            Err(_) => self.start_again()?,
        }
        Ok(())
    }

    fn is_serving(&mut self, options: &Options) {
        self.failures = 0;
        if !self.was_serving {
            self.was_serving = true;
            if options.output_pid {
                println!("{}", std::process::id());
            }
            if has_left() {
                println!("{SERVED}");
                leave_output();
            }
        }
    }

    /// Restarts the worker and passes all descriptors to it.
    fn start_again(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            // What it had open is closed when this returns.
            child.wait()?;
        }
        if self.began.elapsed() < TOO_SOON {
            self.failed_to_start()?;
        }
        self.began = Instant::now();
        let (line, child) = begin(&self.program)?;
        (self.line, self.child) = (line, Some(child));
        // If it ended already, the next turn starts another.
        let _ = self.give_all();
        Ok(())
    }

    /// Pauses after a worker that failed to start: longer each time, but never for good. It may have been killed from
    /// outside, and a keeper that gives up gives up the store of the whole host.
    ///
    /// **Errors:** the store has never been served.
    fn failed_to_start(&mut self) -> Result<()> {
        self.failures = self.failures.saturating_add(1);
        if !self.was_serving {
            bail!("the program that serves ended as soon as it was started");
        }
        let own = own_words();
        if self.failures > TRIES_OF_AN_UPDATE && self.program != own {
            eprintln!("xenstored: {:?} does not serve; going on with what served before", self.program);
            self.program = own;
        }
        if self.failures.is_power_of_two() && self.failures > TRIES_OF_AN_UPDATE {
            eprintln!("xenstored: what serves the store ended {} times before it served; trying again", self.failures);
        }
        std::thread::sleep(pause(self.failures));
        Ok(())
    }

    fn quit(&mut self) -> Result<()> {
        let _ = handover::send(self.line.as_fd(), What::Quit, 0, &[], None);
        if let Some(mut child) = self.child.take() {
            child.wait()?;
        }
        if let Some(path) = &self.pid_file {
            let _ = fs::remove_file(path);
        }
        Ok(())
    }
}

/// Returns the pause after a number of failures in a row.
pub fn pause(failures: u32) -> Duration {
    Duration::from_millis(10).saturating_mul(failures).min(LONGEST_WAIT)
}

/// Returns a number for the first connection that most likely no other instance used.
fn first_number() -> u32 {
    let dice = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), ());
    FIRST_SOCKET.saturating_add((dice >> 33) as u32)
}

/// Waits until one of the descriptors is readable, and returns which.
fn wait<const N: usize>(descriptors: [BorrowedFd<'_>; N]) -> io::Result<[bool; N]> {
    let mut all = descriptors.map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN));
    loop {
        match poll(&mut all, None) {
            Ok(_) => return Ok(all.map(|each| !each.revents().is_empty())),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
