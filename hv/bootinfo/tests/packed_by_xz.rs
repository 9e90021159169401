//! Kernels packed with XZ: as Linux's build does it, and otherwise.

use std::io::Write;

use lzma_rust2::{CheckType, FilterType, XzOptions, XzWriter};
use proptest::prelude::*;
use xenolith_bootinfo::kernel_file::{Compression, KernelFile, KernelFileError};

/// How a file is packed.
#[derive(Clone, Copy, Debug)]
struct Packing {
    preset: u32,
    check: CheckType,
    is_filtered: bool,
}

impl Packing {
    const LINUX: Self = Self { preset: 1, check: CheckType::Crc32, is_filtered: true };

    fn xz(self, data: &[u8]) -> Vec<u8> {
        let mut options = XzOptions::with_preset(self.preset);
        options.set_check_sum_type(self.check);
        if self.is_filtered {
            options.prepend_pre_filter(FilterType::BcjX86, 0);
        }
        let mut writer = XzWriter::new(Vec::new(), options).unwrap();
        writer.write_all(data).unwrap();
        writer.finish().unwrap()
    }
}

/// A bzImage around a payload that unpacks to `length` bytes.
fn bz_image(payload: &[u8], length: usize) -> Vec<u8> {
    let mut file = vec![0; 5 * 512];
    file[0x1f1] = 4;
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
    let (mut into, mut work) = (vec![0; kernel.unpacked_bytes()], vec![0; kernel.work_bytes()]);
    kernel.unpack(&mut into, &mut work, 64 << 20)?;
    Ok(into)
}

/// Bytes as code has them: pieces that come again, near and far, and calls and jumps, some of them close together.
fn code() -> impl Strategy<Value = Vec<u8>> {
    let call = (0xe8..=0xe9_u8, any::<[u8; 3]>(), prop_oneof![Just(0), Just(0xff), any::<u8>()])
        .prop_map(|(first, low, high)| [&[first], &low[..], &[high]].concat());
    let branches = prop::collection::vec(prop_oneof![Just(0xe8), Just(0xe9), Just(0), Just(0xff), Just(0x90)], 1..12);
    let piece = prop_oneof![
        call,
        branches,
        prop::collection::vec(any::<u8>(), 1..40),
        (any::<u8>(), 1..600_usize).prop_map(|(byte, count)| vec![byte; count])
    ];
    (prop::collection::vec(piece, 1..40), prop::collection::vec(any::<prop::sample::Index>(), 0..200)).prop_map(
        |(pieces, again)| {
            let more = again.iter().flat_map(|index| index.get(&pieces).clone());
            pieces.concat().into_iter().chain(more).collect()
        },
    )
}

fn packing() -> impl Strategy<Value = Packing> {
    let check = prop_oneof![3 => Just(CheckType::Crc32), 1 => Just(CheckType::Crc64)];
    (0..7_u32, check, any::<bool>()).prop_map(|(preset, check, is_filtered)| Packing { preset, check, is_filtered })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_packed_comes_out_again(code in code(), packing in packing()) {
        prop_assert_eq!(unpacked(&packing.xz(&code), code.len()), Ok(code));
    }

    #[test]
    fn a_changed_byte_is_noticed(
        code in code(), place in any::<prop::sample::Index>(), bits in 1..=255_u8, is_filtered in any::<bool>()
    ) {
        let mut file = Packing { is_filtered, ..Packing::LINUX }.xz(&code);
        let place = place.index(file.len());
        file[place] ^= bits;
        prop_assert!(unpacked(&file, code.len()).is_err());
    }

    #[test]
    fn a_file_that_ends_early_is_noticed(code in code(), end in any::<prop::sample::Index>()) {
        let file = Packing::LINUX.xz(&code);
        prop_assert!(unpacked(&file[..end.index(file.len())], code.len()).is_err());
    }
}

#[test]
fn the_form_of_linux_needs_no_window_and_others_do() {
    let length = 5000;
    let work = |packing: Packing| {
        let file = bz_image(&packing.xz(&vec![7; length]), length);
        let kernel = KernelFile::open(&file).unwrap();
        assert_eq!(kernel.compression(), Compression::Xz);
        kernel.work_bytes()
    };
    assert_eq!(work(Packing::LINUX), 0);
    assert_eq!(work(Packing { is_filtered: false, ..Packing::LINUX }), 0);
    assert_ne!(work(Packing { check: CheckType::Crc64, ..Packing::LINUX }), 0);
}

#[test]
fn what_does_not_pack_and_what_goes_over_many_chunks_comes_out_again() {
    let mut state = 1_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    let random: Vec<u8> = (0..200_000).map(|_| noise()).collect();
    let long: Vec<u8> =
        (0..5_000_000_u32).map(|at| if at % 1000 < 990 { (at / 4096) as u8 } else { noise() }).collect();
    for data in [random, long, vec![0xe8; 100_000]] {
        let xz = Packing::LINUX.xz(&data);
        assert!(unpacked(&xz, data.len()) == Ok(data.clone()), "{} bytes", data.len());
        let more = unpacked(&xz, data.len() + 1);
        assert!(more.is_err(), "{} bytes are not one more", data.len());
    }
}
