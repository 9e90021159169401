//! Reading a saved domain.

use std::io::{ErrorKind, Read};

use xen_abi::cpu_policy::{CpuidLeaf, MsrEntry};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::form::{
    ALIGNMENT, CONFIG_MAX, CPUID_POLICY, END, HVM_CONTEXT, HVM_PARAMS, KIND_HVM, LIBXC_IDENT, LIBXC_MARKER,
    LIBXC_VERSION, LIBXL_CONTEXT, LIBXL_EMULATOR_NODES, LIBXL_END, LIBXL_IDENT, LIBXL_VERSION, MSR_POLICY, OPTIONAL,
    PAGE_DATA, PAGE_SHIFT, RECORD_MAX, STATIC_DATA_END, TSC_INFO, VERIFY, XL_JSON, XL_MAGIC, XL_ORDER, XL_STREAM,
    libxc_name, libxl_name,
};
use crate::{Cause, Pages, StreamError, Tsc};

/// What a saved domain has, in the order in which it is to be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// What CPUID tells it.
    Leaves(Vec<CpuidLeaf>),
    /// What MSRs tell it.
    Msrs(Vec<MsrEntry>),
    /// Pages of its memory; of a frame that comes again, the last ones count.
    Pages(Pages),
    /// How its time stamp counter goes on.
    Tsc(Tsc),
    /// The state of its vCPUs and devices.
    Context(Vec<u8>),
    /// Its parameters: number and value.
    Parameters(Vec<(u32, u64)>),
}

/// How far a saved domain was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Among libxl's records; whether libxc's were there.
    Outer(bool),
    /// Among libxc's, before or after what does not change.
    Static,
    Changing,
    Ended,
}

/// A saved domain that is read.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    offset: u64,
    config: Vec<u8>,
    at: At,
    /// The kinds of records that were there and may be there once.
    seen: Vec<u32>,
}

/// Where something is read that may be wrong.
struct Place {
    record: String,
    offset: u64,
}

impl Place {
    fn fails(&self, cause: Cause) -> StreamError {
        StreamError { record: self.record.clone(), offset: self.offset, cause }
    }
}

impl<R: Read> Reader<R> {
    /// Reads up to the first record.
    ///
    /// **Errors:** [`StreamError`].
    pub fn begin(from: R) -> Result<Self, StreamError> {
        let mut reader = Self { from, offset: 0, config: Vec::new(), at: At::Outer(false), seen: Vec::new() };
        reader.xl_header()?;
        reader.libxl_header()?;
        Ok(reader)
    }

    /// Returns the configuration as `xl` keeps it: JSON, with a NUL byte at the end.
    #[must_use]
    pub fn config(&self) -> &[u8] {
        &self.config
    }

    /// Returns the next item; None where the file has come to its end, with all that a domain must have.
    ///
    /// **Errors:** [`StreamError`].
    #[expect(clippy::should_implement_trait, reason = "it fails, and what comes after a failure means nothing")]
    pub fn next(&mut self) -> Result<Option<Item>, StreamError> {
        loop {
            let item = match self.at {
                At::Ended => return Ok(None),
                At::Outer(had_context) => {
                    self.outer(had_context)?;
                    None
                }
                At::Static | At::Changing => self.inner()?,
            };
            if item.is_some() {
                return Ok(item);
            }
        }
    }

    fn place(&self, record: impl Into<String>) -> Place {
        Place { record: record.into(), offset: self.offset }
    }

    fn bytes<const N: usize>(&mut self, place: &Place) -> Result<[u8; N], StreamError> {
        let mut bytes = [0; N];
        self.fill(place, &mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, place: &Place, bytes: &mut [u8]) -> Result<(), StreamError> {
        self.from.read_exact(bytes).map_err(|error| {
            place.fails(if error.kind() == ErrorKind::UnexpectedEof { Cause::Cut } else { Cause::File(error) })
        })?;
        self.offset = self.offset.saturating_add(bytes.len() as u64);
        Ok(())
    }

    /// Reads a body of a length that was bounded, with what fills it up.
    fn body(&mut self, place: &Place, length: usize) -> Result<Vec<u8>, StreamError> {
        // A file that is short must not cost the memory of what it claims.
        let mut body = Vec::new();
        let padded = length.next_multiple_of(ALIGNMENT);
        let read = self.from.by_ref().take(padded as u64).read_to_end(&mut body);
        let read = read.map_err(|error| place.fails(Cause::File(error)))?;
        self.offset = self.offset.saturating_add(read as u64);
        if read < padded {
            return Err(place.fails(Cause::Cut));
        }
        if body.drain(length..).any(|byte| byte != 0) {
            return Err(place.fails(Cause::Content("what fills it up is not zero")));
        }
        Ok(body)
    }

    fn xl_header(&mut self) -> Result<(), StreamError> {
        let place = self.place("xl's header");
        let fails = |cause| Err(place.fails(cause));
        if self.bytes::<32>(&place)? != XL_MAGIC {
            return fails(Cause::Form("it does not begin as a saved domain does"));
        }
        let mut word = || self.bytes(&place).map(u32::from_ne_bytes);
        let (order, mandatory, _, length) = (word()?, word()?, word()?, word()?);
        if order != XL_ORDER {
            return fails(Cause::Form("it was written by a machine with another order of bytes"));
        }
        if mandatory != XL_JSON | XL_STREAM {
            return fails(Cause::Form("it is of an older form, or has what is not known here"));
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if !(4..=CONFIG_MAX).contains(&length) {
            return fails(Cause::Length(length as u64));
        }
        let mut all = vec![0; length];
        self.fill(&place, &mut all)?;
        let (told, config) = all.split_first_chunk::<4>().ok_or_else(|| place.fails(Cause::Cut))?;
        if usize::try_from(u32::from_ne_bytes(*told)).ok() != Some(config.len()) {
            return fails(Cause::Length(u32::from_ne_bytes(*told).into()));
        }
        self.config = config.to_vec();
        Ok(())
    }

    fn libxl_header(&mut self) -> Result<(), StreamError> {
        let place = self.place("libxl's header");
        let ident = u64::from_be_bytes(self.bytes(&place)?);
        let version = u32::from_be_bytes(self.bytes(&place)?);
        let options = u32::from_be_bytes(self.bytes(&place)?);
        if ident != LIBXL_IDENT {
            return Err(place.fails(Cause::Form("it does not begin as libxl's records do")));
        }
        if version != LIBXL_VERSION {
            return Err(place.fails(Cause::Version { found: version, known: LIBXL_VERSION }));
        }
        if options != 0 {
            return Err(place.fails(Cause::Form("its records are big-endian or of the old form")));
        }
        Ok(())
    }

    /// Reads the kind and the length of a record.
    fn record(&mut self, name: fn(u32) -> String) -> Result<(Place, u32, usize), StreamError> {
        let place = self.place("a record");
        let [kind, length] = [self.bytes(&place)?, self.bytes(&place)?].map(u32::from_le_bytes);
        let place = Place { record: name(kind), ..place };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let most = if name(kind) == libxc_name(PAGE_DATA) { Pages::BYTES_MAX } else { RECORD_MAX };
        if length > most { Err(place.fails(Cause::Length(length as u64))) } else { Ok((place, kind, length)) }
    }

    fn outer(&mut self, had_context: bool) -> Result<(), StreamError> {
        let (place, kind, length) = self.record(libxl_name)?;
        if length != 0 && matches!(kind, LIBXL_END | LIBXL_CONTEXT) {
            return Err(place.fails(Cause::Length(length as u64)));
        }
        match (kind, had_context) {
            (LIBXL_END, true) => self.at = At::Ended,
            (LIBXL_END, false) => return Err(place.fails(Cause::Missing("LIBXC_CONTEXT"))),
            (LIBXL_CONTEXT, false) => {
                self.libxc_headers()?;
                self.at = At::Static;
            }
            (LIBXL_CONTEXT, true) => return Err(place.fails(Cause::Order)),
            // Nodes of a device model, which a PVH domain has none of.
            (LIBXL_EMULATOR_NODES, _) => drop(self.body(&place, length)?),
            _ => return Err(place.fails(Cause::Unknown)),
        }
        Ok(())
    }

    fn libxc_headers(&mut self) -> Result<(), StreamError> {
        let place = self.place("libxc's header");
        let marker = u64::from_be_bytes(self.bytes(&place)?);
        let ident = u32::from_be_bytes(self.bytes(&place)?);
        let version = u32::from_be_bytes(self.bytes(&place)?);
        let options: [u8; 8] = self.bytes(&place)?;
        if (marker, ident) != (LIBXC_MARKER, LIBXC_IDENT) {
            return Err(place.fails(Cause::Form("it does not begin as libxc's records do")));
        }
        if version != LIBXC_VERSION {
            return Err(place.fails(Cause::Version { found: version, known: LIBXC_VERSION }));
        }
        if options != [0; 8] {
            return Err(place.fails(Cause::Form("its records are big-endian, or it has options that there are not")));
        }
        let place = self.place("libxc's header of the domain");
        let kind = u32::from_le_bytes(self.bytes(&place)?);
        let shift = u16::from_le_bytes(self.bytes(&place)?);
        let _reserved: [u8; 2] = self.bytes(&place)?;
        let _writer: [u8; 8] = self.bytes(&place)?;
        if kind != KIND_HVM {
            return Err(place.fails(Cause::Content("the domain is not a PVH one")));
        }
        if shift != PAGE_SHIFT {
            return Err(place.fails(Cause::Content("its pages are not of 4 KiB")));
        }
        Ok(())
    }

    fn inner(&mut self) -> Result<Option<Item>, StreamError> {
        let (place, kind, length) = self.record(libxc_name)?;
        let body = self.body(&place, length)?;
        let fails = |cause| Err(place.fails(cause));
        let is_static = matches!(kind, CPUID_POLICY | MSR_POLICY | STATIC_DATA_END);
        if is_static != (self.at == At::Static) && (is_static || kind & OPTIONAL == 0) {
            return if is_static { fails(Cause::Order) } else { fails(Cause::Missing("STATIC_DATA_END")) };
        }
        if !matches!(kind, PAGE_DATA | VERIFY) && kind & OPTIONAL == 0 {
            if self.seen.contains(&kind) {
                return fails(Cause::Order);
            }
            self.seen.push(kind);
        }
        let length_fails = || place.fails(Cause::Length(body.len() as u64));
        Ok(match kind {
            STATIC_DATA_END | END | VERIFY if !body.is_empty() => return Err(length_fails()),
            STATIC_DATA_END => {
                self.at = At::Changing;
                None
            }
            END => {
                self.finish(&place)?;
                None
            }
            VERIFY => None,
            CPUID_POLICY => Some(Item::Leaves(list(&body).ok_or_else(length_fails)?)),
            MSR_POLICY => Some(Item::Msrs(list(&body).ok_or_else(length_fails)?)),
            PAGE_DATA => Some(Item::Pages(Pages::read(&body).map_err(|cause| place.fails(cause))?)),
            TSC_INFO => Some(Item::Tsc(Tsc::read_from_bytes(&body).map_err(|_| length_fails())?)),
            HVM_CONTEXT if body.is_empty() => return Err(length_fails()),
            HVM_CONTEXT => Some(Item::Context(body)),
            HVM_PARAMS => Some(Item::Parameters(parameters(&place, &body)?)),
            kind if kind & OPTIONAL != 0 => None,
            _ => return fails(Cause::Unknown),
        })
    }

    /// Ends libxc's records: without these no domain can be restored.
    fn finish(&mut self, place: &Place) -> Result<(), StreamError> {
        let needed = [(TSC_INFO, "X86_TSC_INFO"), (HVM_CONTEXT, "HVM_CONTEXT"), (HVM_PARAMS, "HVM_PARAMS")];
        for (kind, name) in needed {
            if !self.seen.contains(&kind) {
                return Err(place.fails(Cause::Missing(name)));
            }
        }
        self.at = At::Outer(true);
        Ok(())
    }
}

/// Returns a body as a list; None if its length is none of one.
fn list<T: FromBytes + IntoBytes + Immutable>(body: &[u8]) -> Option<Vec<T>> {
    let chunks = body.chunks_exact(size_of::<T>());
    chunks.remainder().is_empty().then(|| chunks.filter_map(|chunk| T::read_from_bytes(chunk).ok()).collect())
}

fn parameters(place: &Place, body: &[u8]) -> Result<Vec<(u32, u64)>, StreamError> {
    let words: Vec<[u8; 8]> = body.as_chunks().0.to_vec();
    let length = place.fails(Cause::Length(body.len() as u64));
    let Some(([a, b, c, d, ..], pairs)) = words.split_first() else { return Err(length) };
    let count = usize::try_from(u32::from_le_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX);
    if pairs.len() != count.saturating_mul(2) || !body.len().is_multiple_of(ALIGNMENT) {
        return Err(length);
    }
    let pair = |pair: &[[u8; 8]; 2]| {
        let [number, value] = pair.map(u64::from_le_bytes);
        let number = u32::try_from(number).map_err(|_| place.fails(Cause::Content("a parameter that there is not")))?;
        Ok((number, value))
    };
    pairs.as_chunks().0.iter().map(pair).collect()
}
