//! The answer to an access that a guest may not make.

use xenolith_hal::Exception;

/// The guest gets a general protection fault with error code 0, and nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GeneralProtection;

impl From<GeneralProtection> for Exception {
    fn from(_: GeneralProtection) -> Self {
        Self::GENERAL_PROTECTION
    }
}
