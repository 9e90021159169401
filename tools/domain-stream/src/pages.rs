//! Pages of a domain in one record.

use crate::form::{FRAME_MASK, KIND_ALLOCATED, KIND_BROKEN, KIND_MASK, KIND_NONE, KIND_PLAIN, KIND_SHIFT};
use crate::{Cause, PAGES_MAX};

const PAGE: usize = 4096;
const WORD: usize = 8;

/// Frames with their data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pages {
    /// Each with whether it has data.
    frames: Vec<(u64, bool)>,
    data: Vec<u8>,
}

impl Pages {
    /// The most bytes of a record of pages.
    pub const BYTES_MAX: usize = WORD + PAGES_MAX * (WORD + PAGE);

    /// Reads a record's body.
    pub fn read(body: &[u8]) -> Result<Self, Cause> {
        let cut = || Cause::Length(body.len() as u64);
        let (head, rest) = body.split_first_chunk::<WORD>().ok_or_else(cut)?;
        let [a, b, c, d, reserved @ ..] = *head;
        let count = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if count == 0 || count > PAGES_MAX || reserved != [0; 4] {
            return Err(Cause::Content("it has no pages, or more than a record may have"));
        }
        let (words, data) = rest.split_at_checked(count.saturating_mul(WORD)).ok_or_else(cut)?;
        let frames: Result<Vec<(u64, bool)>, Cause> = words.as_chunks::<WORD>().0.iter().map(frame).collect();
        let frames = frames?;
        let with_data = frames.iter().filter(|(_, has_data)| *has_data).count();
        if data.len() != with_data.saturating_mul(PAGE) {
            return Err(cut());
        }
        Ok(Self { frames, data: data.to_vec() })
    }

    /// Returns the frames in their order, each with its data; one without data is only there.
    pub fn iter(&self) -> impl Iterator<Item = (u64, Option<&[u8]>)> {
        let mut data = self.data.chunks(PAGE);
        self.frames.iter().map(move |&(frame, has_data)| (frame, if has_data { data.next() } else { None }))
    }
}

fn frame(word: &[u8; WORD]) -> Result<(u64, bool), Cause> {
    let word = u64::from_le_bytes(*word);
    if word & !(FRAME_MASK | KIND_MASK) != 0 {
        return Err(Cause::Content("a frame has bits that it may not have"));
    }
    match word >> KIND_SHIFT {
        KIND_PLAIN => Ok((word & FRAME_MASK, true)),
        KIND_BROKEN | KIND_ALLOCATED | KIND_NONE => Ok((word & FRAME_MASK, false)),
        _ => Err(Cause::Content("a frame holds a page table, which a PVH domain's does not")),
    }
}
