//! Saved domains: what is written is read, and what is cut, mangled or of another form is refused by the record's name.
#![forbid(unsafe_code)]

use domain_stream::{Cause, Item, Reader, StreamError, Tsc, Writer};
use proptest::prelude::*;
use xen_abi::cpu_policy::{CpuidLeaf, MsrEntry};

const CONFIG: &[u8] = b"{\"c_info\":{}}\0";
const TSC: Tsc = Tsc { mode: 2, khz: 1_000_000, nanoseconds: 5, incarnation: 1, reserved: 0 };
/// Where what follows begins: libxl's header, libxc's, its records, each record with its name.
const LIBXL: usize = 32 + 16 + 4 + CONFIG.len();
const LIBXC: usize = LIBXL + 16 + 8;
const RECORDS: usize = LIBXC + 24 + 16;

fn leaf() -> CpuidLeaf {
    CpuidLeaf { leaf: 1, subleaf: u32::MAX, a: 2, b: 3, c: 4, d: 5 }
}

fn file() -> Vec<u8> {
    let mut writer = Writer::begin(Vec::new(), CONFIG).unwrap();
    writer.policy(&[leaf()], &[MsrEntry { idx: 0xce, flags: 0, val: 7 }]).unwrap();
    writer.pages(&[5, 7], &[[5; 4096], [7; 4096]].concat()).unwrap();
    writer.pages(&[], &[]).unwrap();
    writer.pages(&[1 << 20], &[9; 4096]).unwrap();
    writer.state(&TSC, b"context", &[(1, 0xfeffc), (17, 0xfefff)]).unwrap();
    writer.end().unwrap()
}

fn read(file: &[u8]) -> Result<Vec<Item>, StreamError> {
    let mut reader = Reader::begin(file)?;
    let mut items = Vec::new();
    while let Some(item) = reader.next()? {
        items.push(item);
    }
    Ok(items)
}

fn error(file: &[u8]) -> String {
    read(file).unwrap_err().to_string()
}

/// Returns the records of libxc: where each begins and ends.
fn records(file: &[u8]) -> Vec<(usize, usize)> {
    let (mut at, mut found) = (RECORDS, Vec::new());
    loop {
        let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
        let end = at + 8 + (word(at + 4) as usize).next_multiple_of(8);
        found.push((at, end));
        if word(at) == 0 {
            return found;
        }
        at = end;
    }
}

#[test]
fn what_is_written_is_read_in_its_order() {
    let items = read(&file()).unwrap();
    assert_eq!(Reader::begin(&file()[..]).unwrap().config(), CONFIG);
    let frames: Vec<Vec<(u64, Option<u8>)>> = items
        .iter()
        .filter_map(|item| match item {
            Item::Pages(pages) => {
                Some(pages.iter().map(|(frame, data)| (frame, data.map(|data| data[4095]))).collect())
            }
            _ => None,
        })
        .collect();
    assert_eq!(frames, [vec![(5, Some(5)), (7, Some(7))], vec![(1 << 20, Some(9))]]);
    assert_eq!(items[0], Item::Leaves(vec![leaf()]));
    assert_eq!(items[1], Item::Msrs(vec![MsrEntry { idx: 0xce, flags: 0, val: 7 }]));
    assert_eq!(
        items[4..],
        [Item::Tsc(TSC), Item::Context(b"context".to_vec()), Item::Parameters(vec![(1, 0xfeffc), (17, 0xfefff)]),]
    );
}

#[test]
fn a_file_that_is_cut_names_the_record_in_which_it_ends() {
    let file = file();
    for length in 0..file.len() {
        let error = read(&file[..length]).unwrap_err();
        assert!(matches!(error.cause, Cause::Cut), "{length}: {error}");
    }
    assert!(error(&file[..40]).starts_with("xl's header at byte 0: the file ends in it"));
    assert!(error(&file[..LIBXL + 9]).starts_with(&format!("libxl's header at byte {LIBXL}: ")));
    let (begin, end) = records(&file)[3];
    assert!(error(&file[..end - 1]).starts_with(&format!("PAGE_DATA at byte {begin}: ")));
}

#[test]
fn other_versions_and_forms_are_refused_by_name() {
    let with = |at: usize, bytes: &[u8]| {
        let mut file = file();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        error(&file)
    };
    assert!(with(0, b"Y").contains("does not begin as a saved domain does"));
    assert!(with(32, &[1, 2, 3, 4]).contains("another order of bytes"));
    assert!(with(36, &[1]).contains("of an older form"));
    assert!(with(44, &[0xff; 4]).contains("its length 4294967295 is not possible"));
    assert!(with(48, &[0]).contains("is not possible"));
    assert!(with(LIBXL, &[0]).starts_with("libxl's header"));
    assert!(with(LIBXL + 11, &[3]).contains("version 3, where 2 is read"));
    assert!(with(LIBXL + 15, &[1]).contains("big-endian"));
    assert!(with(LIBXC + 8, &[0]).contains("does not begin as libxc's records do"));
    assert!(
        with(LIBXC + 15, &[2]).contains("libxc's header at byte 90: version 2, where 3 is read"),
        "{}",
        with(LIBXC + 15, &[2])
    );
    assert!(with(LIBXC + 17, &[1]).contains("big-endian"));
    assert!(with(LIBXC + 24, &[1]).contains("not a PVH one"));
    assert!(with(LIBXC + 28, &[13]).contains("not of 4 KiB"));
}

#[test]
fn records_that_are_missing_doubled_or_unknown_are_named() {
    let file = file();
    let found = records(&file);
    let without = |index: usize| {
        let (begin, end) = found[index];
        error(&[&file[..begin], &file[end..]].concat())
    };
    let twice = |index: usize| {
        let (begin, end) = found[index];
        error(&[&file[..end], &file[begin..]].concat())
    };
    let with_kind = |index: usize, kind: u32| {
        let mut file = file.clone();
        file[found[index].0..found[index].0 + 4].copy_from_slice(&kind.to_le_bytes());
        read(&file)
    };
    // Leaves, MSRs, end of what is static, pages, pages, TSC, context, parameters, end.
    assert_eq!(found.len(), 9);
    assert!(without(2).starts_with("PAGE_DATA") && without(2).contains("STATIC_DATA_END is missing"));
    assert!(without(5).starts_with("END") && without(5).contains("X86_TSC_INFO is missing"));
    assert!(without(6).contains("HVM_CONTEXT is missing"));
    assert!(without(7).contains("HVM_PARAMS is missing"));
    assert!(without(8).contains("the file ends in it"), "libxl's end is taken for libxc's");
    for (index, name) in [(0, "X86_CPUID_POLICY"), (2, "STATIC_DATA_END"), (6, "HVM_CONTEXT"), (7, "HVM_PARAMS")] {
        let error = twice(index);
        assert!(error.starts_with(name) && error.contains("twice or at the wrong place"), "{error}");
    }
    let error = |outcome: Result<Vec<Item>, StreamError>| outcome.unwrap_err().to_string();
    assert!(error(with_kind(6, 0x99)).starts_with("libxc record 0x99"));
    assert!(error(with_kind(6, 7)).starts_with("SHARED_INFO"));
    assert!(with_kind(3, 0x8000_0099).is_ok(), "what is optional may be left out");
}

#[test]
fn pages_that_cannot_be_are_refused() {
    let file = file();
    let (begin, _) = records(&file)[3];
    let with = |at: usize, bytes: &[u8]| {
        let mut file = file.clone();
        file[begin + at..begin + at + bytes.len()].copy_from_slice(bytes);
        error(&file)
    };
    assert!(with(8, &[0]).starts_with("PAGE_DATA"), "no pages");
    assert!(with(8, &[3]).starts_with("PAGE_DATA"), "more pages than data");
    assert!(with(8, &[0, 5]).contains("more than a record may have"));
    assert!(with(12, &[1]).contains("more than a record may have"));
    assert!(with(23, &[0x10]).contains("a page table"));
    assert!(with(23, &[0x08]).contains("bits that it may not have"));
    assert!(with(23, &[0xf0]).contains("is not possible"), "one has no data");
    assert!(with(4, &[0xff; 4]).contains("its length 4294967295 is not possible"));
}

proptest! {
    #[test]
    fn whatever_is_mangled_ends_in_an_error_or_in_items(at in 0_usize..9000, byte: u8, cut in 0_usize..9000) {
        let mut file = file();
        let length = file.len();
        file[at % length] = byte;
        file.truncate(length - cut % 50);
        let _ = read(&file);
    }
}
