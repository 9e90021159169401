//! Rings of requests and responses.

use std::marker::PhantomData;

use xen_abi::io::ring::{
    BackRing as BackIndexes, FrontRing as FrontIndexes, RING_REQ_EVENT, RING_REQ_PROD, RING_RSP_EVENT, RING_RSP_PROD,
    RingShape, must_notify,
};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use crate::{Broken, Shared};

/// What goes through a ring: plain bytes, of which any value is valid.
pub trait Entry: FromBytes + IntoBytes + FromZeros + Immutable + Clone {}
impl<T: FromBytes + IntoBytes + FromZeros + Immutable + Clone> Entry for T {}

/// A ring of no entries, for memory that is too small; every use of it is refused.
fn shape<M: Shared, Request, Response>(memory: &M) -> (RingShape, Option<Broken>) {
    let bytes = memory.length();
    match RingShape::fitting::<Request, Response>(bytes) {
        Some(shape) => (shape, None),
        None => (RingShape::fitting::<u8, u8>(4096).unwrap_or_else(smallest), Some(Broken::Small { bytes })),
    }
}

/// A page always holds a ring of bytes.
fn smallest() -> RingShape {
    RingShape::fitting::<u8, u8>(usize::MAX).unwrap_or_else(smallest)
}

fn copied<T: Entry, M: Shared>(memory: &M, offset: usize) -> T {
    let mut entry = T::new_zeroed();
    memory.read(offset, entry.as_mut_bytes());
    entry
}

/// The back end's side: it takes requests and puts responses.
#[derive(Debug)]
pub struct BackRing<M, Request, Response> {
    memory: M,
    indexes: BackIndexes,
    /// The index of responses up to which the front end was told.
    published: u32,
    broken: Option<Broken>,
    entries: PhantomData<fn(Response) -> Request>,
}

impl<M: Shared, Request: Entry, Response: Entry> BackRing<M, Request, Response> {
    /// Begins with a ring that a front end has set up. Where another back end had answered requests of it, it goes on
    /// behind the last answer.
    #[must_use]
    pub fn attach(memory: M) -> Self {
        let (shape, broken) = shape::<M, Request, Response>(&memory);
        let answered = memory.load_u32(RING_RSP_PROD);
        let mut indexes = BackIndexes::new(shape);
        (indexes.rsp_prod, indexes.req_cons) = (answered, answered);
        Self { memory, indexes, published: answered, broken, entries: PhantomData }
    }

    /// Takes the next request; None if there is none.
    ///
    /// **Errors:** [`Broken`], now and from now on.
    pub fn take(&mut self) -> Result<Option<Request>, Broken> {
        if self.waiting()? == 0 {
            return Ok(None);
        }
        let request = copied(&self.memory, self.indexes.shape().offset_of(self.indexes.req_cons));
        self.indexes.req_cons = self.indexes.req_cons.wrapping_add(1);
        Ok(Some(request))
    }

    /// Returns how many requests wait.
    ///
    /// **Errors:** [`Broken`], now and from now on.
    pub fn waiting(&mut self) -> Result<u32, Broken> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        let other = self.memory.load_u32(RING_REQ_PROD);
        self.indexes.waiting_requests(other).ok_or_else(|| {
            let broken = Broken::Index { own: self.indexes.req_cons, other };
            self.broken = Some(broken);
            broken
        })
    }

    /// Puts a response into the ring; [`BackRing::publish`] shows it.
    ///
    /// **Errors:** [`Broken::Full`] if every request has its response.
    pub fn put(&mut self, response: &Response) -> Result<(), Broken> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        if self.indexes.rsp_prod == self.indexes.req_cons {
            return Err(Broken::Full);
        }
        self.memory.write(self.indexes.shape().offset_of(self.indexes.rsp_prod), response.as_bytes());
        self.indexes.rsp_prod = self.indexes.rsp_prod.wrapping_add(1);
        Ok(())
    }

    /// Shows the responses to the front end, and returns whether it is to be notified.
    pub fn publish(&mut self) -> bool {
        let (old, new) = (self.published, self.indexes.rsp_prod);
        self.published = new;
        self.memory.store_u32(RING_RSP_PROD, new);
        self.memory.fence();
        must_notify(old, new, self.memory.load_u32(RING_RSP_EVENT))
    }

    /// Asks to be notified of the next request, and returns whether one came meanwhile.
    ///
    /// **Errors:** [`Broken`], now and from now on.
    pub fn rest(&mut self) -> Result<bool, Broken> {
        self.memory.store_u32(RING_REQ_EVENT, self.indexes.req_cons.wrapping_add(1));
        self.memory.fence();
        Ok(self.waiting()? > 0)
    }

    /// Returns how many requests were taken and have no response yet.
    #[must_use]
    pub const fn unanswered(&self) -> u32 {
        self.indexes.req_cons.wrapping_sub(self.indexes.rsp_prod)
    }
}

/// The front end's side: it puts requests and takes responses.
#[derive(Debug)]
pub struct FrontRing<M, Request, Response> {
    memory: M,
    indexes: FrontIndexes,
    /// The index of requests up to which the back end was told.
    published: u32,
    broken: Option<Broken>,
    entries: PhantomData<fn(Request) -> Response>,
}

impl<M: Shared, Request: Entry, Response: Entry> FrontRing<M, Request, Response> {
    /// Sets up a ring, whatever was in the memory before.
    #[must_use]
    pub fn start(memory: M) -> Self {
        let (shape, broken) = shape::<M, Request, Response>(&memory);
        for (offset, value) in [(RING_REQ_PROD, 0), (RING_RSP_PROD, 0), (RING_REQ_EVENT, 1), (RING_RSP_EVENT, 1)] {
            memory.store_u32(offset, value);
        }
        Self { memory, indexes: FrontIndexes::new(shape), published: 0, broken, entries: PhantomData }
    }

    /// Puts a request into the ring; [`FrontRing::publish`] shows it.
    ///
    /// **Errors:** [`Broken::Full`] if as many requests as the ring holds have no response.
    pub fn put(&mut self, request: &Request) -> Result<(), Broken> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        if self.indexes.free_requests() == 0 {
            return Err(Broken::Full);
        }
        self.memory.write(self.indexes.shape().offset_of(self.indexes.req_prod), request.as_bytes());
        self.indexes.req_prod = self.indexes.req_prod.wrapping_add(1);
        Ok(())
    }

    /// Shows the requests to the back end, and returns whether it is to be notified.
    pub fn publish(&mut self) -> bool {
        let (old, new) = (self.published, self.indexes.req_prod);
        self.published = new;
        self.memory.store_u32(RING_REQ_PROD, new);
        self.memory.fence();
        must_notify(old, new, self.memory.load_u32(RING_REQ_EVENT))
    }

    /// Takes the next response; None if there is none. A response is to one of the requests that were put, but which one
    /// it names is the back end's claim.
    ///
    /// **Errors:** [`Broken`], now and from now on.
    pub fn take(&mut self) -> Result<Option<Response>, Broken> {
        if self.waiting()? == 0 {
            return Ok(None);
        }
        let response = copied(&self.memory, self.indexes.shape().offset_of(self.indexes.rsp_cons));
        self.indexes.rsp_cons = self.indexes.rsp_cons.wrapping_add(1);
        Ok(Some(response))
    }

    /// Returns how many responses wait.
    ///
    /// **Errors:** [`Broken`], now and from now on.
    pub fn waiting(&mut self) -> Result<u32, Broken> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        let other = self.memory.load_u32(RING_RSP_PROD);
        self.indexes.waiting_responses(other).ok_or_else(|| {
            let broken = Broken::Index { own: self.indexes.rsp_cons, other };
            self.broken = Some(broken);
            broken
        })
    }

    /// Asks to be notified of the next response, and returns whether one came meanwhile.
    ///
    /// **Errors:** [`Broken`], now and from now on.
    pub fn rest(&mut self) -> Result<bool, Broken> {
        self.memory.store_u32(RING_RSP_EVENT, self.indexes.rsp_cons.wrapping_add(1));
        self.memory.fence();
        Ok(self.waiting()? > 0)
    }
}
