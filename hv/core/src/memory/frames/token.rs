//! Frames in the hands of the hypervisor, as values that can be used up but not copied.
//!
//! Each stands for something in the frame table that somebody must give back: dropping one on the floor leaks a
//! frame, and never frees one that is in use.

use xenolith_hal::{DomId, Mfn, PageOrder};

/// A block that was handed out and put to no use yet. Nobody else can reach it.
#[must_use = "a frame that is dropped is lost"]
#[derive(Debug, PartialEq, Eq)]
pub struct FreeFrame {
    pub(super) mfn: Mfn,
    pub(super) order: PageOrder,
}

/// A block of a domain's memory that no translation maps yet.
#[must_use = "a frame that is dropped is lost until its domain dies"]
#[derive(Debug, PartialEq, Eq)]
pub struct OwnedFrame {
    pub(super) mfn: Mfn,
    pub(super) order: PageOrder,
    pub(super) owner: DomId,
}

/// A frame of the hypervisor's that a domain may see.
#[must_use = "a frame that is dropped is lost"]
#[derive(Debug, PartialEq, Eq)]
pub struct SharedFrame {
    pub(super) mfn: Mfn,
    pub(super) owner: DomId,
}

/// A reference that keeps a frame from being freed.
#[must_use = "a reference that is dropped keeps the frame for ever"]
#[derive(Debug, PartialEq, Eq)]
pub struct PageRef {
    pub(super) mfn: Mfn,
}

impl FreeFrame {
    /// The first frame of the block.
    #[must_use]
    pub const fn mfn(&self) -> Mfn {
        self.mfn
    }

    /// The size of the block.
    #[must_use]
    pub const fn order(&self) -> PageOrder {
        self.order
    }
}

impl OwnedFrame {
    /// The first frame of the block.
    #[must_use]
    pub const fn mfn(&self) -> Mfn {
        self.mfn
    }

    /// The size of the block.
    #[must_use]
    pub const fn order(&self) -> PageOrder {
        self.order
    }

    /// Hands the block over to the translation that maps it from now on. It ends by [`super::Frames::release`], frame
    /// by frame.
    #[must_use]
    pub const fn into_mapping(self) -> Mfn {
        self.mfn
    }
}

impl SharedFrame {
    /// The frame.
    #[must_use]
    pub const fn mfn(&self) -> Mfn {
        self.mfn
    }
}

impl PageRef {
    /// The frame.
    #[must_use]
    pub const fn mfn(&self) -> Mfn {
        self.mfn
    }

    /// Hands the reference over to a translation, of kind Grant or Foreign, that maps the frame from now on.
    #[must_use]
    pub const fn into_mapping(self) -> Mfn {
        self.mfn
    }

    /// The reference that a translation of kind Grant or Foreign held, after it was unmapped. Once for each mapping.
    pub const fn of_mapping(mfn: Mfn) -> Self {
        Self { mfn }
    }
}
