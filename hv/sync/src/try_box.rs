//! A box whose memory may be missing.

extern crate alloc;

use alloc::alloc::{Layout, alloc};
use alloc::boxed::Box;
use core::ptr::NonNull;

/// Puts a value into a box. `Box::new` ends the program where memory is short, and so the host; the one that does not is
/// unstable.
///
/// # Errors
/// Gives the value back if memory is short.
pub fn try_box<T>(value: T) -> Result<Box<T>, T> {
    let layout = Layout::new::<T>();
    if layout.size() == 0 {
        // Takes no memory.
        return Ok(Box::new(value));
    }
    // SAFETY: the layout is not empty.
    let memory = unsafe { alloc(layout) }.cast::<T>();
    let Some(memory) = NonNull::new(memory) else { return Err(value) };
    // SAFETY: the memory is large enough and aligned for the value, and nobody else's: it is what a box of this type has.
    unsafe {
        memory.write(value);
        Ok(Box::from_raw(memory.as_ptr()))
    }
}
