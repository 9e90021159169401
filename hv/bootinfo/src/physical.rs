//! Reading physical memory: of the machine at boot, of a slice in a test.

use arrayvec::ArrayString;

use crate::fault::{BootFault, Table};

/// Copies bytes out of physical memory. The machine implements it, and [`ByteSlice`] for tests.
pub trait PhysicalMemory {
    /// Copies `into.len()` bytes from `address` on. Returns false, and leaves `into` in any state, when a byte cannot
    /// be read.
    #[must_use]
    fn read(&self, address: u64, into: &mut [u8]) -> bool;

    /// Reads the `N` bytes at `address`.
    ///
    /// **Errors:** [`BootFault::Unreadable`], which names `table`.
    fn bytes<const N: usize>(&self, table: Table, address: u64) -> Result<[u8; N], BootFault> {
        let mut buffer = [0; N];
        if self.read(address, &mut buffer) { Ok(buffer) } else { Err(BootFault::Unreadable { table, address }) }
    }

    /// Reads the little-endian number at `address + offset`. **Errors:** as [`Self::bytes`].
    fn u32_at(&self, table: Table, address: u64, offset: u64) -> Result<u32, BootFault> {
        let place = address.checked_add(offset).ok_or(BootFault::Unreadable { table, address })?;
        Ok(u32::from_le_bytes(self.bytes(table, place)?))
    }

    /// Reads the little-endian number at `address + offset`. **Errors:** as [`Self::bytes`].
    fn u64_at(&self, table: Table, address: u64, offset: u64) -> Result<u64, BootFault> {
        let place = address.checked_add(offset).ok_or(BootFault::Unreadable { table, address })?;
        Ok(u64::from_le_bytes(self.bytes(table, place)?))
    }

    /// Appends the text at `address` to `text`, up to its NUL or to `limit` bytes, whichever comes first. Bytes that
    /// are not printable ASCII become `?`, so that nothing a loader passes can upset the console.
    ///
    /// **Errors:** `Unreadable`; `TextTooLong` when `text` is full.
    fn append_text<const N: usize>(
        &self,
        table: Table,
        address: u64,
        limit: u64,
        text: &mut ArrayString<N>,
    ) -> Result<(), BootFault> {
        for offset in 0..limit {
            let place = address.checked_add(offset).ok_or(BootFault::Unreadable { table, address })?;
            let [byte] = self.bytes(table, place)?;
            let letter = match byte {
                0 => return Ok(()),
                b'\t' | b'\n' | b'\r' => ' ',
                b' '..=b'~' => char::from(byte),
                _ => '?',
            };
            text.try_push(letter).map_err(|_| BootFault::TextTooLong { table, address })?;
        }
        Ok(())
    }
}

/// A slice that stands for the physical memory from `base` on.
#[derive(Debug, Clone, Copy)]
pub struct ByteSlice<'a> {
    /// The address of the first byte.
    pub base: u64,
    /// The bytes.
    pub bytes: &'a [u8],
}

impl PhysicalMemory for ByteSlice<'_> {
    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        let found = address
            .checked_sub(self.base)
            .and_then(|offset| usize::try_from(offset).ok())
            .and_then(|offset| self.bytes.get(offset..offset.checked_add(into.len())?));
        found.is_some_and(|found| {
            into.copy_from_slice(found);
            true
        })
    }
}
