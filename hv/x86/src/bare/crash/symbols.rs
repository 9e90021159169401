//! Addresses by the names of functions.

use core::fmt;

use crate::bare::base::image;
use crate::plain::layout::KERNEL_BASE;
use crate::plain::symbol_table::find;

/// An address, shown as the function it lies in, the offset there and the function's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(pub u64);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offset = self.0.checked_sub(KERNEL_BASE).and_then(|offset| u32::try_from(offset).ok());
        let in_text = image::text().holds(self.0);
        match offset.filter(|_| in_text).and_then(|offset| Some((offset, find(image::symbol_table(), offset)?))) {
            Some((offset, (name, start, next))) => {
                let length = next.unwrap_or((image::text().end.wrapping_sub(KERNEL_BASE)) as u32).wrapping_sub(start);
                write!(f, "{name}+{:#x}/{length:#x}", offset.wrapping_sub(start))
            }
            None => write!(f, "{:016x}", self.0),
        }
    }
}
