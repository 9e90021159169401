//! The symbol table, as the build has laid it into the image: a magic number, the number of functions, for each by
//! address how far it starts after the one before it (LEB128; the first after the image's base), and the names in the same
//! order, each ended by a NUL.

/// "XSYM".
const MAGIC: u32 = 0x4d59_5358;
const HEADER: usize = 8;

fn number(table: &[u8], at: usize) -> Option<u32> {
    let bytes = table.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// Takes one LEB128 number from the front of `rest`.
fn distance(rest: &mut &[u8]) -> Option<u32> {
    let mut value = 0_u32;
    for shift in [0, 7, 14, 21, 28] {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u32::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Returns the name of the function around `offset` (less `KERNEL_BASE`), where it starts, and where the next one does.
///
/// It looks through the table from its start: who asks has crashed, and has time.
pub fn find(table: &[u8], offset: u32) -> Option<(&str, u32, Option<u32>)> {
    if number(table, 0)? != MAGIC {
        return None;
    }
    let count = number(table, 4)?;
    let mut rest = table.get(HEADER..)?;
    let (mut start, mut found, mut next) = (0_u32, None, None);
    for index in 0..count {
        start = start.checked_add(distance(&mut rest)?)?;
        if start <= offset {
            found = Some((index, start));
        } else if next.is_none() {
            next = Some(start);
        }
    }
    let (index, start) = found?;
    let name = rest.split(|byte| *byte == 0).nth(usize::try_from(index).ok()?)?;
    Some((core::str::from_utf8(name).ok()?, start, next))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn table(functions: &[(u32, &str)]) -> Vec<u8> {
        let (mut distances, mut names, mut before) = (Vec::new(), Vec::new(), 0);
        for (start, name) in functions {
            let mut distance = start - before;
            before = *start;
            while distance >= 0x80 {
                distances.push(distance as u8 | 0x80);
                distance >>= 7;
            }
            distances.push(distance as u8);
            names.extend(name.bytes().chain([0]));
        }
        [&MAGIC.to_le_bytes()[..], &(functions.len() as u32).to_le_bytes(), &distances, &names].concat()
    }

    #[test]
    fn an_address_belongs_to_the_function_that_starts_last_before_it() {
        let table = table(&[(0x100, "first"), (0x180, "second"), (0x200, "third"), (0x10_0000, "last")]);
        assert_eq!(find(&table, 0xff), None);
        assert_eq!(find(&table, 0x100), Some(("first", 0x100, Some(0x180))));
        assert_eq!(find(&table, 0x1ff), Some(("second", 0x180, Some(0x200))));
        assert_eq!(find(&table, 0x5000), Some(("third", 0x200, Some(0x10_0000))));
        assert_eq!(find(&table, 0x20_0000), Some(("last", 0x10_0000, None)));
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
