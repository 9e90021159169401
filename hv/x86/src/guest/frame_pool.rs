//! Frames made of ordinary memory, for tests and fuzzing.

use super::frame_access::FrameAccess;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::sync::{Mutex, PoisonError};
use xenolith_hal::{FrameSource, Mfn, PageWords};

/// Table frames begin here, so that they are told from the frames that are mapped.
const FIRST: u64 = 0x8_0000;

struct State {
    free: Vec<u64>,
    taken: usize,
}

/// Some frames, and which of them are free.
#[derive(Clone)]
pub struct Pool {
    pages: Arc<[Box<PageWords>]>,
    state: Arc<Mutex<State>>,
}

impl Pool {
    /// Creates this many frames of zeros, all of them free.
    #[must_use]
    pub fn new(frames: u64) -> Self {
        let pages = (0..frames).map(|_| Box::new(PageWords::new())).collect();
        let free = (0..frames).rev().map(|index| FIRST + index).collect();
        Self { pages, state: Arc::new(Mutex::new(State { free, taken: 0 })) }
    }

    /// Returns how many are in use.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).taken
    }
}

impl FrameAccess for Pool {
    fn frame(&self, mfn: Mfn) -> Option<&PageWords> {
        self.pages.get(mfn.0.checked_sub(FIRST)? as usize).map(Box::as_ref)
    }
}

impl FrameSource for Pool {
    fn take(&mut self) -> Option<Mfn> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let frame = Mfn(state.free.pop()?);
        state.taken += 1;
        drop(state);
        self.frame(frame)?.clear();
        Some(frame)
    }

    fn give_back(&mut self, frame: Mfn) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(self.frame(frame).is_some(), "{frame:?} was never a table");
        assert!(!state.free.contains(&frame.0), "{frame:?} given back twice");
        state.free.push(frame.0);
        state.taken -= 1;
    }
}
