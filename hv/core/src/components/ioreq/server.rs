//! One server: its ports, its pages and its state.

use super::range_set::MOST_RANGES;
use super::request::{self, Request, Scribbled, State};
use super::ring;
use crate::memory::frames::{PageRef, Pages, SharedFrame};
use alloc::vec::Vec;
use xen_abi::hvm_op::{HVM_IOREQSRV_BUFIOREQ_ATOMIC, HVM_IOREQSRV_BUFIOREQ_LEGACY, HVM_IOREQSRV_BUFIOREQ_OFF};
use xen_abi::{DomId, Errno, Gfn, Mfn, Port, VcpuId};
use xenolith_hal::PageWords;
use xenolith_sync::atomic::{AtomicBool, AtomicU64, Ordering};
use xenolith_sync::{SpinLock, rank};

/// What a server with all its ranges takes of the heap at most, in bytes, without its ports.
pub const SERVER_HEAP_BYTES: u64 = (size_of::<Server>() + 3 * 2 * MOST_RANGES * size_of::<(u64, u64)>()) as u64;

/// How a server takes requests that nobody waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Buffering {
    Off,
    /// By a ring whose pointers grow for ever.
    Legacy,
    /// By a ring whose pointers are folded back, both at once.
    Atomic,
}

impl Buffering {
    /// Returns the way with this number in the public interface.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            HVM_IOREQSRV_BUFIOREQ_OFF => Some(Self::Off),
            HVM_IOREQSRV_BUFIOREQ_LEGACY => Some(Self::Legacy),
            HVM_IOREQSRV_BUFIOREQ_ATOMIC => Some(Self::Atomic),
            _ => None,
        }
    }
}

/// One of a server's pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    Buffered = 0,
    Synchronous = 1,
}

/// A frame of the guest that serves as a page of a server.
#[derive(Debug)]
pub struct GuestFrame {
    pub gfn: Gfn,
    pub page: PageRef,
    /// The guest does not see it at present.
    pub hidden: bool,
}

/// What stands behind a page of a server.
#[derive(Debug, Default)]
pub enum Page {
    #[default]
    None,
    /// A frame of the hypervisor's, which the device model maps as a resource.
    Resource(SharedFrame),
    /// A frame of the guest's, which the device model maps by its number (the older way).
    Guest(GuestFrame),
}

/// The parts of a new server.
#[derive(Debug)]
pub struct ServerParts {
    /// The domain that creates it and may change it.
    pub emulator: DomId,
    pub buffering: Buffering,
    /// The guest's port for each vCPU, by number.
    pub ports: Vec<Port>,
    /// The guest's port for the buffered page, if there is one.
    pub buffered_port: Option<Port>,
}

/// The outcome of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// There is none yet; the request is in this state.
    Waiting(State),
    /// This was read. Ones if the server is gone.
    Done(u64),
}

/// A server.
pub struct Server {
    parts: ServerParts,
    enabled: AtomicBool,
    closed: AtomicBool,
    pages: SpinLock<[Page; 2], rank::IoreqServer>,
    /// The frames of the pages, 0 for none, so that an access takes no lock.
    frames: [AtomicU64; 2],
    ring: SpinLock<(), rank::IoreqServer>,
}

impl Server {
    /// Creates a server that is not enabled.
    pub fn new(parts: ServerParts) -> Self {
        Self {
            parts,
            enabled: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            pages: SpinLock::new([Page::None, Page::None]),
            frames: [AtomicU64::new(0), AtomicU64::new(0)],
            ring: SpinLock::new(()),
        }
    }

    /// Returns the domain that created it.
    pub const fn emulator(&self) -> DomId {
        self.parts.emulator
    }

    /// Returns true if it has a page of requests that nobody waits for.
    pub fn is_buffering(&self) -> bool {
        self.parts.buffering != Buffering::Off
    }

    /// Returns the guest's ports for each vCPU.
    pub fn ports(&self) -> &[Port] {
        &self.parts.ports
    }

    /// Returns the guest's port for the buffered page.
    pub const fn buffered_port(&self) -> Option<Port> {
        self.parts.buffered_port
    }

    /// Returns true if it gets requests.
    pub fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::SeqCst)
    }

    /// Enables it, and writes the ports to its page if it has one, or disables it. Returns false if it was so already.
    pub fn set_enabled(&self, enabled: bool, pages: &impl Pages) -> bool {
        if enabled && !self.is_enabled() {
            self.publish_ports(pages);
        }
        self.enabled.swap(enabled, Ordering::SeqCst) != enabled
    }

    /// Marks it as gone: requests that it has not answered read ones. The caller wakes the vCPUs afterwards.
    pub fn close(&self) {
        self.enabled.store(false, Ordering::SeqCst);
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Returns true once it is gone.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    fn publish_ports(&self, pages: &impl Pages) {
        if let Some(page) = self.page(Which::Synchronous, pages) {
            for (vcpu, port) in (0..).zip(self.ports()) {
                request::publish_port(page, VcpuId(vcpu), *port);
            }
        }
    }

    fn frame(&self, which: Which) -> Option<Mfn> {
        let frame = self.frames.get(which as usize)?.load(Ordering::SeqCst);
        (frame != 0).then_some(Mfn(frame))
    }

    /// Returns a page, which stays until the calling CPU is next quiet. None if there is none, or no more.
    fn page<'p>(&self, which: Which, pages: &'p impl Pages) -> Option<&'p PageWords> {
        if self.is_closed() {
            return None;
        }
        pages.page(self.frame(which)?)
    }

    /// Calls `change` with a page under the lock, and returns its frame afterwards.
    ///
    /// **Errors:** `ENOENT` once it is gone, and those of `change`.
    pub fn with_page<T>(
        &self,
        which: Which,
        pages: &impl Pages,
        change: impl FnOnce(&mut Page) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let mut all = self.pages.lock();
        if self.is_closed() {
            return Err(Errno::ENOENT);
        }
        let page = all.get_mut(which as usize).ok_or(Errno::EINVAL)?;
        let before = self.frame(which);
        let done = change(page)?;
        let frame = match page {
            Page::None => None,
            Page::Resource(frame) => Some(frame.mfn()),
            Page::Guest(frame) => Some(frame.page.mfn()),
        };
        if let Some(slot) = self.frames.get(which as usize) {
            slot.store(frame.map_or(0, |frame| frame.0), Ordering::SeqCst);
        }
        if frame != before && self.is_enabled() {
            self.publish_ports(pages);
        }
        Ok(done)
    }

    /// Returns the frame of a page for a device model to map, and makes it with `make` if there is none.
    ///
    /// **Errors:** `EPERM` if it is a frame of the guest's; `ENOMEM`; `ENOENT` once the server is gone.
    pub fn resource(
        &self,
        which: Which,
        pages: &impl Pages,
        make: impl FnOnce() -> Option<SharedFrame>,
    ) -> Result<Mfn, Errno> {
        self.with_page(which, pages, |page| match page {
            Page::Resource(frame) => Ok(frame.mfn()),
            Page::Guest(_) => Err(Errno::EPERM),
            Page::None => {
                let frame = make().ok_or(Errno::ENOMEM)?;
                let mfn = frame.mfn();
                *page = Page::Resource(frame);
                Ok(mfn)
            }
        })
    }

    /// Takes the pages out of a server that is gone, for the caller to release.
    pub fn take_pages(&self) -> [Page; 2] {
        self.frames.iter().for_each(|frame| frame.store(0, Ordering::SeqCst));
        core::mem::take(&mut *self.pages.lock())
    }

    /// Hands a request to the server, and returns the port by which it is to be notified; None if the server has no
    /// page. The vCPU is marked as waiting before, and whether the server is gone is asked afterwards.
    ///
    /// **Errors:** [`Scribbled`].
    pub fn post(&self, pages: &impl Pages, vcpu: VcpuId, request: &Request) -> Result<Option<Port>, Scribbled> {
        let Some(page) = self.page(Which::Synchronous, pages) else { return Ok(None) };
        let Some(port) = self.ports().get(vcpu.0 as usize) else { return Ok(None) };
        request.post(page, vcpu, *port)?;
        Ok(Some(*port))
    }

    /// Returns the outcome of the vCPU's request. `seen` is the state in which it was last.
    ///
    /// **Errors:** [`Scribbled`].
    pub fn poll(&self, pages: &impl Pages, vcpu: VcpuId, seen: State) -> Result<Answer, Scribbled> {
        let Some(page) = self.page(Which::Synchronous, pages) else { return Ok(Answer::Done(u64::MAX)) };
        Ok(match request::poll(page, vcpu, seen)? {
            (State::Answered | State::None, data) => Answer::Done(data),
            (state, _) => Answer::Waiting(state),
        })
    }

    /// Appends a request to the ring, and returns the port by which the server is to be notified; None, with nothing
    /// done, if the server has no ring, or it is full, or the request does not fit into it.
    pub fn post_buffered(&self, pages: &impl Pages, request: &Request) -> Option<Port> {
        let port = self.buffered_port()?;
        let page = self.page(Which::Buffered, pages)?;
        let _ring = self.ring.lock();
        ring::push(page, request, self.parts.buffering == Buffering::Atomic).then_some(port)
    }
}
