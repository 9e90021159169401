//! The symbol table, as the build has laid it into the image: a magic number, a count, that many pairs of (address less
//! the image's base, place of the name), sorted by address, and the names, each ended by a NUL.

/// "XSYM".
const MAGIC: u32 = 0x4d59_5358;
const HEADER: usize = 8;
const ENTRY: usize = 8;

fn number(table: &[u8], at: usize) -> Option<u32> {
    let bytes = table.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// Returns function `index`: where it starts (less `KERNEL_BASE`) and where its name starts among the names.
fn entry(table: &[u8], index: usize) -> Option<(u32, usize)> {
    let at = HEADER.checked_add(index.checked_mul(ENTRY)?)?;
    Some((number(table, at)?, number(table, at.checked_add(4)?)? as usize))
}

/// Returns the name of the function around `offset`, where it starts, and where the next one does.
pub fn find(table: &[u8], offset: u32) -> Option<(&str, u32, Option<u32>)> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn table(functions: &[(u32, &str)]) -> Vec<u8> {
        let (mut index, mut names) = (Vec::new(), Vec::new());
        for (offset, name) in functions {
            index.extend(offset.to_le_bytes());
            index.extend((names.len() as u32).to_le_bytes());
            names.extend(name.bytes().chain([0]));
        }
        [&MAGIC.to_le_bytes()[..], &(functions.len() as u32).to_le_bytes(), &index, &names].concat()
    }

    #[test]
    fn an_address_belongs_to_the_function_that_starts_last_before_it() {
        let table = table(&[(0x100, "first"), (0x180, "second"), (0x200, "third")]);
        assert_eq!(find(&table, 0xff), None);
        assert_eq!(find(&table, 0x100), Some(("first", 0x100, Some(0x180))));
        assert_eq!(find(&table, 0x1ff), Some(("second", 0x180, Some(0x200))));
        assert_eq!(find(&table, 0x5000), Some(("third", 0x200, None)));
    }

    #[test]
    fn a_table_that_was_never_filled_names_nothing() {
        assert_eq!(find(&table(&[]), 0x100), None);
        assert_eq!(find(&[0; 64], 0x100), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_search_panic(body in prop::collection::vec(any::<u8>(), 0..256), offset in any::<u32>()) {
            let table = [&MAGIC.to_le_bytes()[..], &body].concat();
            let _ = find(&table, offset);
        }
    }
}
