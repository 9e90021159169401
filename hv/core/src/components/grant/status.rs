//! The status of one element of a grant operation.

use xen_abi::grant_table::{
    GNTST_BAD_COPY_ARG, GNTST_BAD_DOMAIN, GNTST_BAD_GNTREF, GNTST_BAD_HANDLE, GNTST_BAD_PAGE, GNTST_BAD_VIRT_ADDR,
    GNTST_EAGAIN, GNTST_GENERAL_ERROR, GNTST_NO_SPACE, GNTST_OKAY, GNTST_PERMISSION_DENIED, GrantStatus,
};

/// A `GNTST_*` other than okay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i16)]
pub enum Failure {
    /// For a reason without a number of its own.
    General = GNTST_GENERAL_ERROR,
    /// No such domain.
    BadDomain = GNTST_BAD_DOMAIN,
    /// No such grant.
    BadReference = GNTST_BAD_GNTREF,
    /// No such mapping.
    BadHandle = GNTST_BAD_HANDLE,
    /// A list of frames could not be written.
    BadAddress = GNTST_BAD_VIRT_ADDR,
    /// Permission denied.
    Denied = GNTST_PERMISSION_DENIED,
    /// The page is not one for this use.
    BadPage = GNTST_BAD_PAGE,
    /// A copy would cross the end of a page.
    BadCopy = GNTST_BAD_COPY_ARG,
    /// In use; try again.
    TryAgain = GNTST_EAGAIN,
    /// No handle is left.
    NoSpace = GNTST_NO_SPACE,
}

/// Returns the status that the guest reads.
pub const fn status_of<T>(outcome: &Result<T, Failure>) -> GrantStatus {
    match outcome {
        Ok(_) => GNTST_OKAY,
        Err(failure) => *failure as GrantStatus,
    }
}
