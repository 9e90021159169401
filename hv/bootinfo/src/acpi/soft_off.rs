//! Soft-off (ACPI's S5): what is written to switch the machine off, the one thing of AML that is needed here.
//!
//! The DSDT holds it as a constant package of the name `_S5_`; it is looked for as bytes, without an interpreter.
//! **Source:** ACPI 6.5, 7.4.2, 20.2.3 and 20.2.5.4 (encoding of names, numbers and packages).

use super::{CHECKED, HEADER, TableLocation};
use crate::fault::BootFault;
use crate::physical::PhysicalMemory;

const NAME: [u8; 4] = *b"_S5_";
const PACKAGE: u8 = 0x12;
const BYTE: u8 = 0x0a;
const ZERO: u8 = 0x00;
const ONE: u8 = 0x01;

/// Returns the two sleep types of `_S5_` in `table`; none when there is no such package in it.
///
/// **Errors:** `Unreadable`.
pub(super) fn find(memory: &impl PhysicalMemory, table: &TableLocation) -> Result<Option<(u8, u8)>, BootFault> {
    let end = table.length.min(CHECKED);
    let mut window = [0; 4];
    for offset in HEADER..end {
        let [_, rest @ ..] = window;
        let [byte] = table.bytes_at(memory, offset)?;
        let [a, b, c] = rest;
        window = [a, b, c, byte];
        if window == NAME
            && let Some(types) = package(memory, table, offset.saturating_add(1))
        {
            return Ok(Some(types));
        }
    }
    Ok(None)
}

/// Returns the first two numbers of the package at `offset`.
fn package(memory: &impl PhysicalMemory, table: &TableLocation, offset: u64) -> Option<(u8, u8)> {
    let byte = |at: u64| table.bytes_at(memory, at).ok().map(|[byte]| byte);
    if byte(offset)? != PACKAGE {
        return None;
    }
    // The length's first byte says how many more follow; then comes the number of elements.
    let length_bytes = u64::from(byte(offset.checked_add(1)?)? >> 6);
    let elements = offset.checked_add(2)?.checked_add(length_bytes)?;
    if byte(elements)? < 2 {
        return None;
    }
    let number = |at: u64| match byte(at)? {
        short @ (ZERO | ONE) => Some((short, 1)),
        BYTE => Some((byte(at.checked_add(1)?)?, 2)),
        _ => None,
    };
    let first = elements.checked_add(1)?;
    let (one, length) = number(first)?;
    let (two, _) = number(first.checked_add(length)?)?;
    Some((one, two))
}
