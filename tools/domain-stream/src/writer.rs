//! Writing a saved domain.

use std::io::{self, Write};

use xen_abi::cpu_policy::{CpuidLeaf, MsrEntry};
use zerocopy::IntoBytes;

use crate::form::{
    ALIGNMENT, CPUID_POLICY, END, HVM_CONTEXT, HVM_PARAMS, KIND_HVM, LIBXC_IDENT, LIBXC_MARKER, LIBXC_VERSION,
    LIBXL_CONTEXT, LIBXL_END, LIBXL_IDENT, LIBXL_VERSION, MSR_POLICY, PAGE_DATA, PAGE_SHIFT, STATIC_DATA_END, TSC_INFO,
    XEN_MAJOR, XEN_MINOR, XL_JSON, XL_MAGIC, XL_ORDER, XL_STREAM,
};
use crate::{PAGES_MAX, Tsc};

/// A saved domain that is written: its policy, its pages, its state, its end.
#[derive(Debug)]
pub struct Writer<W> {
    to: W,
}

impl<W: Write> Writer<W> {
    /// Begins with the configuration as `xl` keeps it.
    ///
    /// **Errors:** those of `to`, here and below.
    pub fn begin(mut to: W, config: &[u8]) -> io::Result<Self> {
        let length = |more: usize| u32::try_from(config.len().saturating_add(more)).map_err(io::Error::other);
        to.write_all(&XL_MAGIC)?;
        for word in [XL_ORDER, XL_JSON | XL_STREAM, 0, length(4)?, length(0)?] {
            to.write_all(&word.to_ne_bytes())?;
        }
        to.write_all(config)?;
        to.write_all(&LIBXL_IDENT.to_be_bytes())?;
        to.write_all(&[LIBXL_VERSION, 0].map(u32::to_be_bytes).concat())?;
        to.write_all(&[LIBXL_CONTEXT, 0].map(u32::to_le_bytes).concat())?;
        to.write_all(&LIBXC_MARKER.to_be_bytes())?;
        to.write_all(&[LIBXC_IDENT, LIBXC_VERSION, 0, 0].map(u32::to_be_bytes).concat())?;
        to.write_all(&[KIND_HVM, PAGE_SHIFT.into(), XEN_MAJOR, XEN_MINOR].map(u32::to_le_bytes).concat())?;
        Ok(Self { to })
    }

    fn record(&mut self, kind: u32, parts: &[&[u8]]) -> io::Result<()> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        self.to.write_all(&kind.to_le_bytes())?;
        self.to.write_all(&u32::try_from(length).map_err(io::Error::other)?.to_le_bytes())?;
        parts.iter().try_for_each(|part| self.to.write_all(part))?;
        let fill = length.next_multiple_of(ALIGNMENT).saturating_sub(length);
        self.to.write_all([0; ALIGNMENT].get(..fill).unwrap_or_default())
    }

    /// Writes what CPUID and MSRs tell the domain.
    pub fn policy(&mut self, leaves: &[CpuidLeaf], msrs: &[MsrEntry]) -> io::Result<()> {
        if !leaves.is_empty() {
            self.record(CPUID_POLICY, &[leaves.as_bytes()])?;
        }
        if !msrs.is_empty() {
            self.record(MSR_POLICY, &[msrs.as_bytes()])?;
        }
        self.record(STATIC_DATA_END, &[])
    }

    /// Writes pages: frames and the data of all of them, one after another; at most [`PAGES_MAX`].
    pub fn pages(&mut self, frames: &[u64], data: &[u8]) -> io::Result<()> {
        if frames.is_empty() {
            return Ok(());
        }
        if frames.len() > PAGES_MAX || data.len() != frames.len().saturating_mul(4096) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let count = u64::try_from(frames.len()).map_err(io::Error::other)?;
        self.record(PAGE_DATA, &[&count.to_le_bytes(), frames.as_bytes(), data])
    }

    /// Writes the state of the domain that stands.
    pub fn state(&mut self, tsc: &Tsc, context: &[u8], parameters: &[(u32, u64)]) -> io::Result<()> {
        self.record(TSC_INFO, &[tsc.as_bytes()])?;
        self.record(HVM_CONTEXT, &[context])?;
        let count = u64::try_from(parameters.len()).map_err(io::Error::other)?;
        let pairs = parameters.iter().flat_map(|&(number, value)| [u64::from(number), value]);
        let words: Vec<u8> = std::iter::once(count).chain(pairs).flat_map(u64::to_le_bytes).collect();
        self.record(HVM_PARAMS, &[&words])
    }

    /// Writes the end, and returns what was written to.
    pub fn end(mut self) -> io::Result<W> {
        self.record(END, &[])?;
        self.record(LIBXL_END, &[])?;
        self.to.flush()?;
        Ok(self.to)
    }
}
