//! Files of saved domains that are cut, mangled, spliced or made up.
//!
//! Whatever a file holds, reading it ends, what comes out is within the form's bounds, and a fault names its record. What was
//! not changed is read as it was written.

use domain_stream::{Item, Reader, Tsc, Writer};
use fastrand::Rng;
use xen_abi::cpu_policy::{CpuidLeaf, MsrEntry};

/// Where the records of libxc may begin, with a configuration of two bytes.
const HEADERS: usize = 32 + 16 + 6 + 16 + 8 + 24 + 16;

fn written(dice: &mut Rng) -> Vec<u8> {
    let leaves: Vec<CpuidLeaf> =
        (0..dice.u32(..4)).map(|leaf| CpuidLeaf { leaf, a: dice.u32(..), ..CpuidLeaf::default() }).collect();
    let msrs: Vec<MsrEntry> = (0..dice.u32(..3)).map(|idx| MsrEntry { idx, flags: 0, val: dice.u64(..) }).collect();
    let write = |dice: &mut Rng| {
        let mut writer = Writer::begin(Vec::new(), b"{}")?;
        writer.policy(&leaves, &msrs)?;
        for _ in 0..dice.u8(..3) {
            let frames: Vec<u64> = (0..dice.usize(1..4)).map(|_| dice.u64(..1 << 52)).collect();
            writer.pages(&frames, &vec![dice.u8(..); frames.len() * 4096])?;
        }
        let context: Vec<u8> = (0..dice.usize(1..40)).map(|_| dice.u8(..)).collect();
        let parameters: Vec<(u32, u64)> = (0..dice.u32(..5)).map(|index| (index, dice.u64(..))).collect();
        writer.state(&Tsc::default(), &context, &parameters)?;
        writer.end()
    };
    let outcome: std::io::Result<Vec<u8>> = write(dice);
    outcome.unwrap_or_else(|error| panic!("what is right is written: {error}"))
}

/// Changes a file in some places, most of them where headers and records begin.
fn mangled(dice: &mut Rng, mut file: Vec<u8>) -> Vec<u8> {
    for _ in 0..dice.u8(1..4) {
        let end = if dice.bool() { file.len() } else { file.len().min(HEADERS + 200) };
        let at = dice.usize(..end.max(1));
        match dice.u8(..6) {
            0 => file.truncate(at),
            1 => file.splice(at..at, (0..dice.usize(1..20)).map(|_| dice.u8(..))).for_each(drop),
            2 => drop(file.drain(at..file.len().min(at + dice.usize(1..5000)))),
            3 => {
                let from = dice.usize(..file.len().max(1));
                let piece = file[from.min(file.len())..file.len().min(from + dice.usize(1..5000))].to_vec();
                file.splice(at..at, piece).for_each(drop);
            }
            _ => {
                // A small number or an end of the range goes further than any.
                let value = if dice.bool() { dice.u8(..4) } else { [0xff, 0x80, dice.u8(..)][dice.usize(..3)] };
                file.get_mut(at).into_iter().for_each(|byte| *byte = value);
            }
        }
        if file.is_empty() {
            break;
        }
    }
    file
}

/// Reads a file to its end, and returns how many items it had; none for one that is refused.
fn read(file: &[u8]) -> Option<usize> {
    let fault = |error: domain_stream::StreamError| {
        assert!(!error.record.is_empty() && error.offset <= file.len() as u64 && !error.to_string().is_empty());
    };
    let mut reader = Reader::begin(file).map_err(fault).ok()?;
    assert!(reader.config().len() < file.len());
    let mut items = 0;
    loop {
        let Some(item) = reader.next().map_err(fault).ok()? else { return Some(items) };
        items += 1;
        assert!(items <= file.len() / 8, "more items than the file holds");
        if let Item::Pages(pages) = item {
            let all: Vec<_> = pages.iter().collect();
            assert!((1..=domain_stream::PAGES_MAX).contains(&all.len()));
            assert!(all.iter().all(|(frame, data)| *frame < 1 << 52 && data.is_none_or(|data| data.len() == 4096)));
        }
    }
}

/// Runs one input.
pub fn run(dice: &mut Rng) {
    let file = written(dice);
    assert!(read(&file).is_some_and(|items| items >= 3), "what is written is read");
    read(&mangled(dice, file));
}
