//! Kernels, bare and packed.

use proptest::prelude::*;
use xenolith_bootinfo::kernel_file::{Compression, KernelFile, KernelFileError};

/// What all of them hold: text, and code as XZ's filter for x86 knows it.
fn kernel() -> Vec<u8> {
    let mut kernel = b"\x7fELF".to_vec();
    for number in 0..8 {
        kernel.extend(format!("the rock {number:03} inside the rock; ").as_bytes());
        kernel.extend(b"\xe8\x10\0\0\0 call;");
    }
    kernel
}

/// By Python's `gzip` with a file name added, and by its `lzma` with the filter for x86.
const GZIP: &[u8] = &[
    0x1f, 0x8b, 0x08, 0x08, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0x76, 0x6d, 0x6c, 0x69, 0x6e, 0x75, 0x78, 0x00, 0xab,
    0x77, 0xf5, 0x71, 0x2b, 0xc9, 0x48, 0x55, 0x28, 0xca, 0x4f, 0xce, 0x56, 0x30, 0x30, 0x30, 0x50, 0xc8, 0xcc, 0x2b,
    0xce, 0x4c, 0x49, 0x55, 0x80, 0x89, 0x59, 0x2b, 0xbc, 0x10, 0x60, 0x60, 0x60, 0x50, 0x48, 0x4e, 0xcc, 0xc9, 0xb1,
    0x46, 0x52, 0x68, 0x48, 0xac, 0x42, 0x23, 0x62, 0x15, 0x1a, 0x13, 0xab, 0xd0, 0x84, 0x58, 0x85, 0xa6, 0xc4, 0x2a,
    0x34, 0x23, 0x56, 0xa1, 0x39, 0x5e, 0x85, 0x00, 0x08, 0x74, 0xac, 0xa1, 0x4c, 0x01, 0x00, 0x00,
];
const XZ: &[u8] = &[
    0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0x00, 0x01, 0x69, 0x22, 0xde, 0x36, 0x02, 0x01, 0x04, 0x00, 0x21, 0x01, 0x08,
    0x00, 0xd2, 0xb9, 0x74, 0xcb, 0xe0, 0x01, 0x4b, 0x00, 0x51, 0x5d, 0x00, 0x3f, 0x91, 0x45, 0x84, 0x6c, 0x86, 0xe7,
    0x6a, 0x8b, 0x8a, 0xc7, 0xa4, 0x84, 0x30, 0x27, 0x8f, 0x6e, 0x2a, 0xff, 0x17, 0x1d, 0xb1, 0xae, 0x75, 0xb4, 0xa8,
    0xd5, 0x22, 0xb7, 0x47, 0xbe, 0xfe, 0xe2, 0x9c, 0x2d, 0xe6, 0xfe, 0x2f, 0x45, 0xa9, 0xfa, 0xb3, 0xae, 0xb6, 0xfe,
    0x8e, 0x64, 0x73, 0x5c, 0xf7, 0x59, 0x97, 0x00, 0x52, 0x0c, 0x0c, 0x49, 0x9c, 0x57, 0x09, 0xdc, 0xc3, 0xe0, 0x4b,
    0xdd, 0x09, 0x14, 0x31, 0xe9, 0xa3, 0xe4, 0x05, 0x71, 0x71, 0xb9, 0x26, 0x82, 0x1e, 0x45, 0x65, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x08, 0x74, 0xac, 0xa1, 0x00, 0x01, 0x69, 0xcc, 0x02, 0x00, 0x00, 0x00, 0x1e, 0x47, 0x42, 0x6a, 0x3e,
    0x30, 0x0d, 0x8b, 0x02, 0x00, 0x00, 0x00, 0x00, 0x01, 0x59, 0x5a,
];

/// By `zstd --ultra -22 --long=27` from a pipe: a window of 128 MiB, no length, a checksum.
const WIDE_ZSTD: &[u8] = &[
    0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x88, 0x1d, 0x02, 0x00, 0xc4, 0x02, 0x7f, 0x45, 0x4c, 0x46, 0x74, 0x68, 0x65, 0x20,
    0x72, 0x6f, 0x63, 0x6b, 0x20, 0x30, 0x30, 0x30, 0x20, 0x69, 0x6e, 0x73, 0x69, 0x64, 0x65, 0x20, 0x3b, 0x20, 0xe8,
    0x10, 0x00, 0x00, 0x00, 0x20, 0x63, 0x61, 0x6c, 0x6c, 0x3b, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x09, 0x20,
    0x90, 0x63, 0x0f, 0xb7, 0x2c, 0xef, 0x92, 0x2d, 0xe5, 0xf2, 0x96, 0xec, 0x8a, 0xc0, 0x12, 0x3f, 0xf7, 0xb6, 0x31,
    0x4d, 0x76, 0xeb, 0x6d,
];
/// 16 KiB of words in disorder, packed in the same way: entropy coded literals and sequences. The checksum vouches for
/// what comes out.
const WORDS_ZSTD: &[u8] = include_bytes!("words.zst");
const WORDS: usize = 16 << 10;

/// One block of literals in the old format.
fn lz4(data: &[u8]) -> Vec<u8> {
    let mut block = vec![0xf0];
    let mut length = data.len() - 15;
    while length >= 255 {
        block.push(255);
        length -= 255;
    }
    block.push(u8::try_from(length).unwrap());
    block.extend(data);
    let mut file = b"\x02\x21\x4c\x18".to_vec();
    file.extend(u32::try_from(block.len()).unwrap().to_le_bytes());
    file.extend(block);
    file
}

/// One frame of one raw block.
fn zstd(data: &[u8]) -> Vec<u8> {
    let mut file = b"\x28\xb5\x2f\xfd\x60".to_vec();
    file.extend(u16::try_from(data.len() - 256).unwrap().to_le_bytes());
    file.extend(&u32::try_from(data.len() << 3 | 1).unwrap().to_le_bytes()[..3]);
    file.extend(data);
    file
}

/// A bzImage around a payload, with the length behind it that Linux's build puts there.
fn bz_image(payload: &[u8], length: Option<usize>) -> Vec<u8> {
    let mut file = vec![0; 5 * 512 + 16];
    file[0x1f1] = 4;
    file[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    file[0x202..0x206].copy_from_slice(b"HdrS");
    file[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
    let mut payload = payload.to_vec();
    payload.extend(length.into_iter().flat_map(|length| u32::try_from(length).unwrap().to_le_bytes()));
    file[0x248..0x24c].copy_from_slice(&16_u32.to_le_bytes());
    file[0x24c..0x250].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
    file.extend(payload);
    file.extend([0xcc; 64]);
    file
}

fn unpacked(file: &[u8]) -> Result<Vec<u8>, KernelFileError> {
    unpacked_with(file, 64 << 20)
}

#[test]
fn every_supported_form_unpacks_to_the_same_kernel() {
    let (kernel, length) = (kernel(), Some(kernel().len()));
    assert_eq!(unpacked(&kernel), Ok(kernel.clone()));
    assert_eq!(unpacked(GZIP), Ok(kernel.clone()));
    for (file, compression) in [
        (bz_image(&kernel, None), Compression::None),
        (bz_image(GZIP, None), Compression::Gzip),
        (bz_image(XZ, length), Compression::Xz),
        (bz_image(&lz4(&kernel), length), Compression::Lz4),
        (bz_image(&zstd(&kernel), length), Compression::Zstd),
    ] {
        assert_eq!(KernelFile::open(&file).unwrap().compression(), compression);
        assert_eq!(unpacked(&file), Ok(kernel.clone()), "{compression}");
    }
}

#[test]
fn a_form_that_is_not_supported_is_named() {
    let file = bz_image(b"BZh91AY", Some(7));
    assert_eq!(unpacked(&file), Err(KernelFileError::Unsupported(Compression::Bzip2)));
    assert!(KernelFileError::Unsupported(Compression::Bzip2).to_string().contains("bzip2"));
}

#[test]
fn a_file_that_is_no_kernel_is_refused() {
    for file in [&b""[..], b"MZ", b"#!/bin/sh", XZ] {
        assert_eq!(KernelFile::open(file), Err(KernelFileError::Unknown));
    }
    let mut old = bz_image(b"x", None);
    old[0x206] = 7;
    assert_eq!(KernelFile::open(&old), Err(KernelFileError::TooOld));
    let cut = bz_image(&kernel(), None);
    assert_eq!(KernelFile::open(&cut[..cut.len() - 100]), Err(KernelFileError::Truncated));
}

/// Unpacks with so much of the heap.
fn unpacked_with(file: &[u8], heap_bytes: usize) -> Result<Vec<u8>, KernelFileError> {
    let kernel = KernelFile::open(file)?;
    let mut into = vec![0; kernel.unpacked_bytes()];
    kernel.unpack(&mut into, heap_bytes)?;
    Ok(into)
}

#[test]
fn a_zstd_window_of_128_mib_needs_no_heap() {
    let file = bz_image(WIDE_ZSTD, Some(kernel().len()));
    assert_eq!(unpacked_with(&file, 512 << 10), Ok(kernel()));
    let words = unpacked_with(&bz_image(WORDS_ZSTD, Some(WORDS)), 512 << 10).unwrap();
    assert!(
        words.starts_with(b"\x7fELF") && words.iter().skip(4).all(|byte| byte.is_ascii_lowercase() || *byte == b' ')
    );
}

#[test]
fn without_any_heap_there_is_no_memory_for_zstd() {
    let file = bz_image(&zstd(&kernel()), Some(kernel().len()));
    assert_eq!(unpacked_with(&file, 0), Err(KernelFileError::NoMemory(Compression::Zstd)));
}

#[test]
fn a_zstd_frame_that_states_another_length_is_noticed() {
    let mut packed = zstd(&kernel());
    packed[5] ^= 1;
    assert_eq!(unpacked(&bz_image(&packed, Some(kernel().len()))), Err(KernelFileError::WrongLength));
}

#[test]
fn a_zstd_frame_of_another_length_than_the_file_says_is_noticed() {
    for length in [kernel().len() + 1, 2 * kernel().len(), 1 << 20] {
        assert_eq!(unpacked(&bz_image(WIDE_ZSTD, Some(length))), Err(KernelFileError::WrongLength), "{length}");
    }
    // A block that is longer than all of the kernel is damage already.
    for length in [0, 1, kernel().len() - 1] {
        assert!(unpacked(&bz_image(WIDE_ZSTD, Some(length))).is_err(), "{length}");
    }
    assert!(unpacked(&bz_image(&[WIDE_ZSTD, WIDE_ZSTD].concat(), Some(kernel().len()))).is_err());
}

/// 400 thousand runs of 128 KiB each: 50 GB from 1.6 MB.
#[test]
fn a_zstd_frame_that_never_ends_is_noticed_at_once() {
    let mut file = b"\x28\xb5\x2f\xfd\x00\x88".to_vec();
    for _ in 0..400_000 {
        file.extend(&(128_u32 << 10 << 3 | 1 << 1).to_le_bytes()[..3]);
        file.push(0x5a);
    }
    assert_eq!(unpacked(&bz_image(&file, Some(1 << 20))), Err(KernelFileError::WrongLength));
}

#[test]
fn what_stands_behind_a_zstd_frame_is_damage() {
    let mut packed = WIDE_ZSTD.to_vec();
    packed.extend([0; 8]);
    let file = bz_image(&packed, Some(kernel().len()));
    assert_eq!(unpacked(&file), Err(KernelFileError::Damaged(Compression::Zstd)));
}

#[test]
fn a_changed_byte_of_a_checked_zstd_frame_is_noticed() {
    let words = unpacked(&bz_image(WORDS_ZSTD, Some(WORDS))).unwrap();
    let changed = |place: usize| {
        let mut packed = WORDS_ZSTD.to_vec();
        packed[place] ^= 0x10;
        unpacked(&bz_image(&packed, Some(WORDS)))
    };
    // The first bytes are the magic, flags, and what the frame says of its window, which changes nothing.
    assert_eq!(changed(5).as_ref(), Ok(&words));
    // A table has bits that no symbol needs: what comes out is an error, or the same.
    for place in (6..200).chain((200..WORDS_ZSTD.len()).step_by(17)) {
        assert!(changed(place).map_or(true, |same| same == words), "byte {place}");
    }
}

#[test]
fn a_wrong_length_is_noticed() {
    let long = bz_image(XZ, Some(kernel().len() + 1));
    assert_eq!(unpacked(&long), Err(KernelFileError::WrongLength));
    for short in [bz_image(XZ, Some(10)), bz_image(&lz4(&kernel()), Some(10)), bz_image(&zstd(&kernel()), Some(10))] {
        assert!(unpacked(&short).is_err());
    }
}

proptest! {
    #[test]
    fn damaged_files_do_no_harm(which in 0_usize..6, damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let length = Some(kernel().len());
        let mut file = match which {
            0 => bz_image(GZIP, None),
            1 => bz_image(XZ, length),
            2 => bz_image(&lz4(&kernel()), length),
            3 => bz_image(&zstd(&kernel()), length),
            4 => bz_image(WORDS_ZSTD, Some(WORDS)),
            _ => GZIP.to_vec(),
        };
        for (place, value) in damage {
            let place = place.index(file.len());
            file[place] = value;
        }
        if let Ok(kernel) = KernelFile::open(&file) && kernel.unpacked_bytes() < 1 << 24 {
            let mut into = vec![0; kernel.unpacked_bytes()];
            let _ = kernel.unpack(&mut into, 1 << 24);
        }
    }
}
