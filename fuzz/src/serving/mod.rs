//! The layer of xenstored that serves: rings and sockets whose owners send messages that are cut, halved or nonsense, flood,
//! stop reading, and lie about how far they read and wrote, also in the middle of the daemon's look.
//!
//! It is the daemon's own worker, with its journal and its mailboxes in a directory; only the machine is memory. It is killed
//! now and then, and another goes on. All the while a domain and a tool that keep to the rules are answered soon and find
//! what they wrote; each message that is framed well has one answer, in order; and memory stays bounded.

mod good;
mod machine;
mod ring;
mod socket;

use std::path::Path;

use fastrand::Rng;
use xenstored::serve::Inside;

use good::Good;
use machine::World;
use ring::RingPeer;
use socket::SocketPeer;

/// What this process may hold in memory. Two thirds of it is what one input takes at the most; the rest is the program.
const RESIDENT_MAX: u64 = 192 << 20;
/// What the journal and the mailboxes may take, which are in memory too.
const FILES_MAX: u64 = 48 << 20;
/// Turns within which a client that keeps to the rules is answered.
pub const SOON: u32 = 8;
/// Turns within which all that was asked is answered once its owner reads.
const DRAINED: u32 = 200_000;

/// The bytes of messages of one who may send anything.
#[derive(Debug, Default)]
pub struct Outgoing {
    bytes: Vec<u8>,
    /// Messages in them, or what stands in the place of one.
    messages: u64,
}

impl Outgoing {
    /// Adds a message.
    fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.messages += 1;
    }

    /// Adds what a broken or hostile client sends in place of a message.
    fn add_nonsense(&mut self, dice: &mut Rng, message: &[u8]) {
        match dice.u8(..4) {
            0 => self.add(&message[..dice.usize(..message.len())]),
            1 => {
                let mut damaged = message.to_vec();
                crate::mutation::damage(dice, &mut damaged[..16]);
                self.add(&damaged);
            }
            2 => self.add(&(0..dice.usize(1..100)).map(|_| dice.u8(..)).collect::<Vec<_>>()),
            _ => {
                // A header that claims a body which never comes, or one that cannot be.
                let mut header = message[..16].to_vec();
                let length = if dice.bool() { dice.u32(..4097) } else { crate::mutation::number(dice) as u32 };
                header[12..].copy_from_slice(&length.to_le_bytes());
                self.add(&header);
            }
        }
    }

    /// Removes what was sent, and returns how many messages that were when all of it is.
    fn sent(&mut self, count: usize) -> u64 {
        self.bytes.drain(..count);
        if self.bytes.is_empty() { std::mem::take(&mut self.messages) } else { 0 }
    }
}

/// Runs one input and returns how many messages were sent.
pub fn run(dice: &mut Rng) -> u64 {
    let directory = tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" });
    let directory = directory.expect("a directory for the journal");
    let world = World::new(dice, directory.path());
    let mut inside = Inside::start(&directory.path().join("state"), world.machine()).expect("the worker starts");
    let mut good = Good::new(&mut inside, &world);
    // One ring whose page changes at any moment, one whose owner only sends too much; sockets likewise.
    let mut rings = [RingPeer::new(&world, 1, false), RingPeer::new(&world, 3, true)];
    let mut sockets = [SocketPeer::new(false), SocketPeer::new(true)];
    let rounds = if dice.u8(..40) == 0 { dice.u32(2000..6000) } else { dice.u32(50..600) };
    let mut sent = 0;
    for _ in 0..rounds {
        for _ in 0..dice.u8(1..5) {
            match dice.u8(..5) {
                0 | 1 => sent += rings[0].act(dice, &world),
                2 => sent += rings[1].act(dice, &world),
                which => sent += sockets[usize::from(which == 4)].act(dice, &mut inside),
            }
        }
        for _ in 0..dice.u8(..3) {
            inside.turn().expect("the worker goes on");
        }
        match dice.u8(..250) {
            0 => inside = inside.kill(world.machine()).expect("the next worker starts"),
            1 => good.domain_ends(&mut inside, &world, &mut rings[1]),
            2..20 => sent += good.check(dice, &mut inside, &world),
            _ => {}
        }
    }
    drained(&mut inside, &world, &mut rings[1], &mut sockets[1]);
    sent += good.check(dice, &mut inside, &world);
    assert_eq!(inside.engine().disagreements(), Vec::<String>::new());
    bounded(&directory.path().join("state"));
    sent
}

/// Sees that each message that was framed well is answered.
fn drained(inside: &mut Inside, world: &World, ring: &mut RingPeer, socket: &mut SocketPeer) {
    world.calm();
    for _ in 0..DRAINED {
        ring.drain(world);
        socket.drain();
        inside.turn().expect("the worker goes on");
        if ring.is_answered() && socket.is_answered() {
            return;
        }
    }
    panic!("requests are not answered though their owner reads");
}

/// Sees that what this process holds is bounded, however many messages it had.
fn bounded(state: &Path) {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("the kernel tells of memory");
    let pages: u64 = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).expect("a number of pages");
    assert!(pages * 4096 <= RESIDENT_MAX, "{} MiB are resident", (pages * 4096) >> 20);
    let files = std::fs::read_dir(state.join("state")).expect("the journal's directory").flatten();
    let bytes: u64 = files.filter_map(|file| Some(file.metadata().ok()?.len())).sum();
    assert!(bytes <= FILES_MAX, "journal and mailboxes take {} MiB", bytes >> 20);
}
