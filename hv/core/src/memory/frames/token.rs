//! Frames held by the hypervisor, as values that can be used up but not copied (linear tokens).
//!
//! Each stands for something in the frame table that must be given back: losing one leaks a frame, and never frees one
//! that is in use.

use xenolith_hal::{DomId, Mfn, PageOrder};

/// A block that was allocated and not put to a use yet. Nothing else can reach it.
#[must_use = "a frame that is dropped is lost"]
#[derive(Debug, PartialEq, Eq)]
pub struct FreeFrame {
    pub(super) mfn: Mfn,
    pub(super) order: PageOrder,
}

/// A block of a domain's memory that is not in any p2m yet.
#[must_use = "a frame that is dropped is lost until its domain dies"]
#[derive(Debug, PartialEq, Eq)]
pub struct OwnedFrame {
    pub(super) mfn: Mfn,
    pub(super) order: PageOrder,
    pub(super) owner: DomId,
}

/// A frame of the hypervisor that is shared with a domain.
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
    /// Returns the first frame of the block.
    #[must_use]
    pub const fn mfn(&self) -> Mfn {
        self.mfn
    }

    /// Returns the size of the block.
    #[must_use]
    pub const fn order(&self) -> PageOrder {
        self.order
    }
}

impl OwnedFrame {
    /// Returns the first frame of the block.
    #[must_use]
    pub const fn mfn(&self) -> Mfn {
        self.mfn
    }

    /// Returns the size of the block.
    #[must_use]
    pub const fn order(&self) -> PageOrder {
        self.order
    }

    /// Hands the block over to the p2m that maps it from now on. It ends by [`super::Frames::release`], frame by frame.
    #[must_use]
    pub const fn into_mapping(self) -> Mfn {
        self.mfn
    }
}

impl SharedFrame {
    /// Returns the frame.
    #[must_use]
    pub const fn mfn(&self) -> Mfn {
        self.mfn
    }
}

impl PageRef {
    /// Returns the frame.
    #[must_use]
    pub const fn mfn(&self) -> Mfn {
        self.mfn
    }

    /// Hands the reference over to a p2m entry, of kind Grant or Foreign, that maps the frame from now on.
    #[must_use]
    pub const fn into_mapping(self) -> Mfn {
        self.mfn
    }

    /// Takes back the reference of a p2m entry of kind Grant or Foreign, after it was unmapped. Once for each mapping.
    pub const fn of_mapping(mfn: Mfn) -> Self {
        Self { mfn }
    }
}
