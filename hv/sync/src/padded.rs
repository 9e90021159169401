//! A value with cache lines of its own.

use core::ops::Deref;

/// Keeps `T` from sharing cache lines with its neighbours. 128 bytes: processors fetch lines of 64 in pairs.
#[repr(align(128))]
#[derive(Debug, Default)]
pub struct Padded<T>(pub T);

impl<T> Deref for Padded<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}
