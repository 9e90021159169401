//! The fault of an access that a guest may not make.

use xenolith_hal::Exception;

/// A general protection fault (#GP) with error code 0; nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GeneralProtection;

impl From<GeneralProtection> for Exception {
    fn from(_: GeneralProtection) -> Self {
        Self::GENERAL_PROTECTION
    }
}
