//! A reference that is borrowed or shared.

use core::ops::Deref;

/// A `T` that the caller keeps alive, or one that this keeps alive by holding `S` (an `Arc`, mostly).
pub enum Reference<'a, T, S> {
    Borrowed(&'a T),
    Shared(S),
}

impl<T, S: Deref<Target = T>> Deref for Reference<'_, T, S> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        match self {
            Self::Borrowed(borrowed) => borrowed,
            Self::Shared(shared) => shared,
        }
    }
}
