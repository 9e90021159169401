//! The names of functions, as the build has laid them into the image: a magic number, a count, so many pairs of
//! (address less `KERNEL_BASE`, place of the name), sorted by address, and the names, each ended by a NUL.

use core::fmt;

use crate::image;
use crate::layout::KERNEL_BASE;

/// "XSYM".
const MAGIC: u32 = 0x4d59_5358;
const HEADER: usize = 8;
const ENTRY: usize = 8;

/// An address, shown as the function it lies in, the offset there and the function's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(pub u64);

fn number(table: &[u8], at: usize) -> Option<u32> {
    let bytes = table.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// Function `index`: where it starts (less `KERNEL_BASE`) and where its name starts among the names.
fn entry(table: &[u8], index: usize) -> Option<(u32, usize)> {
    let at = HEADER.checked_add(index.checked_mul(ENTRY)?)?;
    Some((number(table, at)?, number(table, at.checked_add(4)?)? as usize))
}

/// The name of the function around `offset`, where it starts, and where the next one does.
fn find(table: &[u8], offset: u32) -> Option<(&str, u32, Option<u32>)> {
    if number(table, 0)? != MAGIC {
        return None;
    }
    let count = number(table, 4)? as usize;
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low.midpoint(high);
        if entry(table, middle)?.0 <= offset { low = middle.checked_add(1)? } else { high = middle }
    }
    let index = low.checked_sub(1)?;
    let (start, name) = entry(table, index)?;
    let names = table.get(HEADER.checked_add(count.checked_mul(ENTRY)?)?..)?;
    let name = names.get(name..)?.split(|byte| *byte == 0).next()?;
    let next = if low < count { entry(table, low).map(|(next, _)| next) } else { None };
    Some((core::str::from_utf8(name).ok()?, start, next))
}

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
