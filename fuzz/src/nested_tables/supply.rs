//! Where tables get their frames: a pool that refuses at random, and watches what a CPU may still walk.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;

use xenolith_hal::{FrameSource, Mfn};
use xenolith_x86::guest::frame_pool::Pool;

/// CPUs that enter guests.
pub const CPUS: usize = 2;

/// A pool of frames for tables.
pub struct Supply {
    pub pool: Pool,
    /// Frames that are given out before one is refused; none for ever.
    pub patience: Option<u32>,
    /// A frame was refused.
    pub refused: bool,
    /// The tables that each CPU may have cached, while it is inside.
    pub held: Rc<RefCell<[HashSet<u64>; CPUS]>>,
}

impl FrameSource for Supply {
    fn take(&mut self) -> Option<Mfn> {
        if self.patience == Some(0) {
            self.refused = true;
            return None;
        }
        self.patience = self.patience.map(|left| left - 1);
        let frame = self.pool.take();
        self.refused |= frame.is_none();
        if let Some(mfn) = frame {
            let held = self.held.borrow();
            assert!(
                held.iter().all(|tables| !tables.contains(&mfn.0)),
                "{mfn:?} is used again while a CPU may walk it"
            );
        }
        frame
    }

    fn give_back(&mut self, frame: Mfn) {
        self.pool.give_back(frame);
    }
}
