//! A saved context as a stream of records. **Source:** `hvm/save.h`.

use alloc::vec::Vec;
use xen_abi::Errno;
use xen_abi::hvm_save::{HVM_SAVE_CODE_END, HvmSaveDescriptor};
use zerocopy::{FromBytes, Immutable, IntoBytes, transmute};

/// Records as they are written.
#[derive(Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Adds a record; one without a body ends the context.
    ///
    /// **Errors:** `ENOMEM`.
    pub fn record<T: IntoBytes + Immutable>(&mut self, typecode: u16, instance: u16, body: &T) -> Result<(), Errno> {
        let length = size_of::<T>() as u32;
        let descriptor = HvmSaveDescriptor { typecode, instance, length };
        self.put(transmute!(descriptor), body.as_bytes())
    }

    /// Adds a record of any type: one function for all, which saves kilobytes.
    #[inline(never)]
    #[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
    fn put(&mut self, descriptor: [u8; size_of::<HvmSaveDescriptor>()], body: &[u8]) -> Result<(), Errno> {
        self.0.try_reserve(descriptor.len().saturating_add(body.len())).map_err(|_| Errno::ENOMEM)?;
        self.0.extend_from_slice(&descriptor);
        self.0.extend_from_slice(body);
        Ok(())
    }

    /// Returns the bytes written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// One record that was read. Its body is as long as its descriptor says.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    pub typecode: u16,
    pub instance: u16,
    pub body: &'a [u8],
}

impl Record<'_> {
    /// Reads the body.
    ///
    /// **Errors:** `EINVAL` if it has another length.
    pub fn read<T: FromBytes + IntoBytes>(&self) -> Result<T, Errno> {
        T::read_from_bytes(self.body).map_err(|_| Errno::EINVAL)
    }

    /// Reads a body that an older hypervisor may have written shorter: missing bytes are zeros.
    ///
    /// **Errors:** `EINVAL` if it is longer.
    pub fn read_extended<T: FromBytes + IntoBytes>(&self) -> Result<T, Errno> {
        let mut value = T::new_zeroed();
        value.as_mut_bytes().get_mut(..self.body.len()).ok_or(Errno::EINVAL)?.copy_from_slice(self.body);
        Ok(value)
    }
}

/// Records as they are read.
#[derive(Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
    /// The type and the instance of the record that was begun last; of the end where there is none.
    pub began: (u16, u16),
}

impl<'a> Reader<'a> {
    /// Reads from the beginning of `bytes`.
    pub const fn of(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, began: (HVM_SAVE_CODE_END, 0) }
    }

    /// Reads the next record.
    ///
    /// **Errors:** `ENODATA` if there is none; `EINVAL` if its body is cut off.
    pub fn next(&mut self) -> Result<Record<'a>, Errno> {
        self.began = (HVM_SAVE_CODE_END, 0);
        let (descriptor, rest) = HvmSaveDescriptor::read_from_prefix(self.rest).map_err(|_| Errno::ENODATA)?;
        let HvmSaveDescriptor { typecode, instance, length } = descriptor;
        self.began = (typecode, instance);
        let (body, rest) = rest.split_at_checked(length as usize).ok_or(Errno::EINVAL)?;
        self.rest = rest;
        Ok(Record { typecode, instance, body })
    }

    /// Returns the first of the records still to be read that has this type and instance.
    pub fn find(&self, typecode: u16, instance: u16) -> Option<Record<'a>> {
        let mut reader = self.clone();
        loop {
            let record = reader.next().ok()?;
            if (record.typecode, record.instance) == (typecode, instance) {
                return Some(record);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let mut writer = Writer::default();
        writer.record(3, 1, &0x1234_u64).unwrap();
        writer.record(0, 0, &()).unwrap();
        let bytes = writer.into_bytes();
        let mut reader = Reader::of(&bytes);
        let record = reader.next().unwrap();
        assert_eq!((record.typecode, record.instance, record.read()), (3, 1, Ok(0x1234_u64)));
        assert_eq!(record.read::<u32>(), Err(Errno::EINVAL));
        assert_eq!(record.read_extended(), Ok([0x1234_u64, 0]));
        assert_eq!(record.read_extended::<u32>(), Err(Errno::EINVAL));
        assert_eq!(reader.next().map(|end| end.typecode), Ok(0));
        assert_eq!(reader.next().map(|end| end.typecode), Err(Errno::ENODATA));
    }

    #[test]
    fn a_body_that_is_cut_off_is_refused() {
        let mut writer = Writer::default();
        writer.record(3, 1, &0_u64).unwrap();
        let bytes = writer.into_bytes();
        for length in 0..bytes.len() {
            let errno = if length < 8 { Errno::ENODATA } else { Errno::EINVAL };
            let mut reader = Reader::of(&bytes[..length]);
            assert_eq!(reader.next().err(), Some(errno));
            assert_eq!(reader.began, if length < 8 { (HVM_SAVE_CODE_END, 0) } else { (3, 1) });
        }
    }
}
