//! A machine of memory: pages of three domains, and ports.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use fastrand::Rng;
use mapped_memory::Mapping;
use xenstored::engine::DomainState;
use xenstored::serve::{Machine, Page};

/// Offsets in the page of a ring.
pub mod at {
    pub const REQUESTS: usize = 0;
    pub const RESPONSES: usize = 1024;
    pub const REQ_CONS: usize = 2048;
    pub const REQ_PROD: usize = 2052;
    pub const RSP_CONS: usize = 2056;
    pub const RSP_PROD: usize = 2060;
    pub const CONNECTION: usize = 2068;
    pub const ERROR: usize = 2072;
}

/// The domain whose page changes at any moment.
const HOSTILE: u16 = 1;
/// The domain that comes and goes.
const TRANSIENT: u16 = 3;
const FIRST_PORT: u32 = 100;
const ENDS_PORT: u32 = 99;

struct State {
    waiting: VecDeque<u32>,
    is_gone: bool,
    dice: Rng,
    /// One of this number of looks at the hostile domain's page meets a change; 0 for none.
    changes_at: u32,
}

/// What all machines of one input share.
#[derive(Clone)]
pub struct World {
    pages: Arc<[Arc<Mapping>; 3]>,
    state: Arc<Mutex<State>>,
}

impl World {
    pub fn new(dice: &mut Rng, directory: &Path) -> Self {
        let page = |domain: u8| {
            let path = directory.join(format!("page{domain}"));
            let file = std::fs::File::options().read(true).write(true).create_new(true).open(path);
            let file = file.expect("a file for a page");
            file.set_len(4096).expect("room for a page");
            Arc::new(Mapping::of_file(&file, 0, 4096).expect("a page"))
        };
        let changes_at = [0, 30, 300, 3000][dice.usize(..4)];
        let state = State { waiting: VecDeque::new(), is_gone: false, dice: dice.fork(), changes_at };
        Self { pages: Arc::new([1, 2, 3].map(page)), state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody failed")
    }

    /// Returns a machine for another worker.
    pub fn machine(&self) -> Box<dyn Machine> {
        let (ready, mut other) = UnixStream::pair().expect("a pair of sockets");
        // There may always be an event; the worker looks whether there is.
        other.write_all(b"x").expect("room for a byte");
        Box::new(Memory { world: self.clone(), ready, _other: other })
    }

    pub fn page(&self, domain: u16) -> Arc<Mapping> {
        self.pages[usize::from(domain) - 1].clone()
    }

    /// Sends the daemon an event of a domain.
    pub fn raise(&self, domain: u16) {
        let mut state = self.state();
        if state.waiting.len() < 1000 {
            state.waiting.push_back(FIRST_PORT + u32::from(domain));
        }
    }

    /// Lets the third domain end or begin anew.
    pub fn set_gone(&self, is_gone: bool) {
        let mut state = self.state();
        state.is_gone = is_gone;
        state.waiting.push_back(ENDS_PORT);
    }

    /// Lets no page change any more but by its owner's steps.
    pub fn calm(&self) {
        self.state().changes_at = 0;
    }
}

/// A page, and who changes it while it is looked at.
struct Shared {
    page: Arc<Mapping>,
    changer: Option<Arc<Mutex<State>>>,
}

impl Deref for Shared {
    type Target = Mapping;

    fn deref(&self) -> &Mapping {
        if let Some(changer) = &self.changer {
            let mut state = changer.lock().expect("nobody failed");
            let seldom = state.changes_at;
            if seldom > 0 && state.dice.u32(..seldom) == 0 {
                change(&mut state.dice, &self.page);
            }
        }
        &self.page
    }
}

/// Changes an index by a little, which may be believed, or anything.
pub fn change(dice: &mut Rng, page: &Mapping) {
    match dice.u8(..8) {
        0..4 => {
            let index = [at::REQ_CONS, at::REQ_PROD, at::RSP_CONS, at::RSP_PROD][dice.usize(..4)];
            let more = if dice.u8(..8) == 0 { dice.u32(..) } else { dice.u32(..40) };
            page.store_u32(index, page.load_u32(index).wrapping_add(more));
        }
        4 => page.store_u32(at::CONNECTION, dice.u32(..3)),
        5 => page.store_u32(at::ERROR, dice.u32(..4)),
        _ => page.write(dice.usize(..4096), &[dice.u8(..)]),
    }
}

struct Memory {
    world: World,
    ready: UnixStream,
    _other: UnixStream,
}

impl Machine for Memory {
    fn events(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }

    fn take(&mut self) -> Option<u32> {
        self.world.state().waiting.pop_front()
    }

    fn unmask(&mut self, _: u32) {}

    fn notify(&mut self, _: u32) {}

    fn bind(&mut self, domain: u16, _: u32) -> io::Result<u32> {
        Ok(FIRST_PORT + u32::from(domain))
    }

    fn unbind(&mut self, _: u32) {}

    fn bind_ends(&mut self) -> io::Result<u32> {
        Ok(ENDS_PORT)
    }

    fn map(&mut self, domain: u16) -> io::Result<Page> {
        if !(1..=3).contains(&domain) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let changer = (domain == HOSTILE).then(|| self.world.state.clone());
        Ok(Box::new(Shared { page: self.world.page(domain), changer }))
    }

    fn own_port(&mut self) -> io::Result<u32> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn state(&mut self, domain: u16) -> DomainState {
        match domain {
            TRANSIENT if self.world.state().is_gone => DomainState::Gone,
            0..=3 => DomainState::Running,
            _ => DomainState::Gone,
        }
    }
}
