//! Kernels packed with XZ, as Linux's build packs them and in other ways.

use std::io::Write;

use lzma_rust2::{CheckType, FilterType, LzmaOptions, XzOptions, XzWriter};
use proptest::prelude::*;
use xenolith_bootinfo::kernel_file::{Compression, KernelFile, KernelFileError};

/// What may be taken from the heap.
const HEAP: usize = 4 << 20;

/// How a file is packed.
#[derive(Debug, Clone, Copy)]
struct Way {
    literal_context: u32,
    literal_place: u32,
    place: u32,
    x86: bool,
    check: CheckType,
    window: u32,
}

/// As Linux's build packs it.
const LINUX: Way =
    Way { literal_context: 3, literal_place: 0, place: 2, x86: true, check: CheckType::Crc32, window: 1 << 16 };

fn packed(data: &[u8], way: Way) -> Vec<u8> {
    let mut options = XzOptions::with_preset(3);
    options.lzma_options = LzmaOptions {
        lc: way.literal_context,
        lp: way.literal_place,
        pb: way.place,
        dict_size: way.window,
        ..LzmaOptions::with_preset(3)
    };
    options.set_check_sum_type(way.check);
    if way.x86 {
        options.prepend_pre_filter(FilterType::BcjX86, 0);
    }
    let mut writer = XzWriter::new(Vec::new(), options).unwrap();
    writer.write_all(data).unwrap();
    writer.finish().unwrap()
}

/// The smallest bzImage around a payload.
fn bz_image(payload: &[u8], length: usize) -> Vec<u8> {
    let mut file = vec![0; 2 * 512];
    file[0x1f1] = 1;
    file[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    file[0x202..0x206].copy_from_slice(b"HdrS");
    file[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
    file[0x24c..0x250].copy_from_slice(&u32::try_from(payload.len() + 4).unwrap().to_le_bytes());
    file.extend(payload);
    file.extend(u32::try_from(length).unwrap().to_le_bytes());
    file
}

fn unpacked(payload: &[u8], length: usize) -> Result<Vec<u8>, KernelFileError> {
    let file = bz_image(payload, length);
    let kernel = KernelFile::open(&file)?;
    let mut into = vec![0x5a; length];
    kernel.unpack(&mut into, HEAP).map(|()| into)
}

/// Bytes in which there are calls with near and far operands, runs, and things that were there before.
fn code() -> impl Strategy<Value = Vec<u8>> {
    let operand = prop_oneof![0_u32..0x2000, 0xffff_e000..=u32::MAX, any::<u32>()];
    let call = (prop_oneof![Just(0xe8), Just(0xe9)], operand)
        .prop_map(|(opcode, operand)| [&[opcode], &operand.to_le_bytes()[..]].concat());
    let run = (any::<u8>(), 1_usize..700).prop_map(|(byte, length)| vec![byte; length]);
    let pattern =
        (proptest::collection::vec(any::<u8>(), 2..12), 1_usize..60).prop_map(|(part, times)| part.repeat(times));
    let noise = proptest::collection::vec(prop_oneof![any::<u8>(), Just(0xe8), Just(0xe9), Just(0xff), Just(0)], 1..40);
    proptest::collection::vec(prop_oneof![3 => call, 1 => run, 1 => pattern, 3 => noise], 0..120)
        .prop_map(|parts| parts.concat())
}

fn way() -> impl Strategy<Value = Way> {
    let check = prop_oneof![Just(CheckType::None), Just(CheckType::Crc32), Just(CheckType::Crc64)];
    (0_u32..=4, 0_u32..=4, 0_u32..=4, any::<bool>(), check).prop_map(|(context, by_place, place, x86, check)| Way {
        literal_context: context,
        literal_place: by_place.min(4 - context),
        place,
        x86,
        check,
        window: 1 << 16,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_was_packed_comes_out_again(data in code(), way in way()) {
        prop_assert_eq!(unpacked(&packed(&data, way), data.len()), Ok(data));
    }

    #[test]
    fn a_changed_byte_is_noticed(data in code(), place in any::<prop::sample::Index>(), change in 1_u8..) {
        prop_assume!(!data.is_empty());
        let mut file = packed(&data, LINUX);
        // Behind the magic.
        let place = 6 + place.index(file.len() - 6);
        file[place] ^= change;
        match unpacked(&file, data.len()) {
            Ok(same) => prop_assert_eq!(same, data, "byte {}", place),
            Err(error) => prop_assert!(
                matches!(error, KernelFileError::Damaged(Compression::Xz) | KernelFileError::WrongLength),
                "{error}"
            ),
        }
    }

    #[test]
    fn a_file_that_ends_early_is_damaged(data in code(), place in any::<prop::sample::Index>()) {
        let file = packed(&data, LINUX);
        let length = 6 + place.index(file.len() - 6);
        prop_assert_eq!(unpacked(&file[..length], data.len()), Err(KernelFileError::Damaged(Compression::Xz)));
    }
}

#[test]
fn a_long_file_of_many_chunks_comes_out_again() {
    let mut dice = 1_u32;
    let data: Vec<u8> = (0..3 << 20)
        .map(|place: u32| {
            dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Two kinds of stretches: one that packs well, and one that does not.
            if place >> 17 & 1 == 0 { (place / 7) as u8 } else { (dice >> 24) as u8 }
        })
        .collect();
    assert_eq!(unpacked(&packed(&data, LINUX), data.len()).as_ref(), Ok(&data));
}

/// As Linux's build packs it from 6.11 on, but for the unpacked size.
#[test]
fn a_stated_window_larger_than_the_heap_does_no_harm_to_a_small_kernel() {
    let data: Vec<u8> = (0..1 << 20).map(|place: u32| (place / 7) as u8).collect();
    let wide = Way { window: 128 << 20, ..LINUX };
    assert_eq!(unpacked(&packed(&data, wide), data.len()).as_ref(), Ok(&data));
    let mut damaged = packed(&data, wide);
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    assert_eq!(unpacked(&damaged, data.len()), Err(KernelFileError::Damaged(Compression::Xz)));
}

#[test]
fn a_window_larger_than_the_heap_is_no_memory() {
    let file = bz_image(&packed(&vec![7; 1 << 20], LINUX), 1 << 20);
    let kernel = KernelFile::open(&file).unwrap();
    let mut into = vec![0; 1 << 20];
    assert_eq!(kernel.unpack(&mut into, 0), Err(KernelFileError::NoMemory(Compression::Xz)));
    assert_eq!(kernel.unpack(&mut into, HEAP), Ok(()));
}
