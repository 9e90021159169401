//! Kernels' files that are right, and files that lie.

use std::io::Write;

use domains::{Kernel, KernelError};
use proptest::prelude::*;

use crate::world::kernel;

const MEMORY: u64 = 1 << 30;

fn read(file: Vec<u8>) -> Result<Kernel<'static>, KernelError> {
    Kernel::read(file.leak(), MEMORY)
}

/// Changes bytes of the good kernel.
fn changed(at: usize, bytes: &[u8]) -> Result<Kernel<'static>, KernelError> {
    let mut file = kernel();
    file[at..at + bytes.len()].copy_from_slice(bytes);
    read(file)
}

fn header_error(outcome: Result<Kernel<'static>, KernelError>) -> String {
    match outcome {
        Err(KernelError::Header(what)) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn segments_and_entry_are_as_the_file_says() {
    let kernel = read(kernel()).unwrap();
    assert_eq!((kernel.entry(), kernel.end(), kernel.segments().len()), (0x100_0000, 0x100_2000, 1));
    let segment = &kernel.segments()[0];
    assert_eq!((segment.address, segment.memory), (0x100_0000, 0x2000));
    assert_eq!(&kernel.bytes(segment)[..10], b"the kernel");
}

#[test]
fn lies_in_headers_are_refused_by_name() {
    let long = |value: u64| value.to_le_bytes();
    // The first segment's header is at 64: offset 8, physical address 24, file 32, memory 40.
    assert!(header_error(changed(64 + 32, &long(0x3000))).contains("longer in the file than in memory"));
    assert!(header_error(changed(64 + 8, &long(0x1001))).contains("outside of the file"));
    assert!(header_error(changed(64 + 8, &long(u64::MAX))).contains("outside of the file"));
    assert!(header_error(changed(64 + 24, &long(u64::MAX))).contains("below 4 GiB"));
    assert!(header_error(changed(64 + 40, &long(u64::MAX))).contains("below 4 GiB"));
    assert!(header_error(changed(64 + 24, &long(0x200_0000))).contains("lies in no segment"));
    // The note's segment becomes another of the same address.
    let mut file = kernel();
    file.copy_within(64..120, 120);
    assert!(header_error(read(file)).contains("overlap"));
    // The entry is in the middle of nothing, and then no address.
    assert!(header_error(changed(0x210, &[0, 0, 0, 9])).contains("lies in no segment"));
    assert!(header_error(changed(0x204, &[3, 0, 0, 0])).contains("no address of 32 bits"));
    header_error(changed(0x204, &[0xff; 4]));
    header_error(changed(52, &[64, 0, 1, 0, 2, 0]));
    header_error(changed(32, &long(u64::MAX)));
}

#[test]
fn a_file_that_is_no_pvh_kernel_is_refused_by_name() {
    assert_eq!(changed(0x20c, b"Lin\0"), Err(KernelError::NoEntry));
    assert_eq!(changed(120, &[0; 4]), Err(KernelError::NoEntry));
    assert_eq!(changed(4, &[3]), Err(KernelError::Unknown));
    assert_eq!(read(Vec::new()), Err(KernelError::Unknown));
    assert_eq!(read(b"#!/bin/sh\n".to_vec()), Err(KernelError::Unknown));
    assert_eq!(read(b"\x7fELF".to_vec()), Err(KernelError::Unknown));
}

/// Makes a bzImage with one sector of code and this payload, as long as `stated`.
fn bz_image(payload: &[u8], stated: u32) -> Vec<u8> {
    let mut file = vec![0; 0x400];
    file[0x1f1] = 1;
    file[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    file[0x202..0x208].copy_from_slice(b"HdrS\x08\x02");
    file[0x24c..0x250].copy_from_slice(&stated.to_le_bytes());
    [&file, payload].concat()
}

fn packed(data: Vec<u8>, length: u32) -> Vec<u8> {
    let payload = [data, length.to_le_bytes().to_vec()].concat();
    let stated = payload.len() as u32;
    bz_image(&payload, stated)
}

#[test]
fn a_kernel_is_found_in_a_bz_image_packed_or_not() {
    let plain = read(kernel()).unwrap();
    assert_eq!(read(bz_image(&kernel(), 0x2000)).unwrap(), plain);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&kernel()).unwrap();
    let gzip = gzip.finish().unwrap();
    let stated = gzip.len() as u32;
    assert_eq!(read(bz_image(&gzip, stated)).unwrap(), plain);
    let block = lz4_flex::block::compress(&kernel());
    let lz4 = [&b"\x02\x21\x4c\x18"[..], &(block.len() as u32).to_le_bytes(), &block].concat();
    assert_eq!(read(packed(lz4.clone(), 0x2000)).unwrap(), plain);
    assert_eq!(read(packed(lz4.clone(), 0x1fff)), Err(KernelError::Damaged("lz4")));
    assert_eq!(read(packed(lz4, 0x2001)), Err(KernelError::Damaged("lz4")));
    let options = lzma_rust2::XzOptions::with_preset(1);
    let mut xz = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
    xz.write_all(&kernel()).unwrap();
    let xz = xz.finish().unwrap();
    assert_eq!(read(packed(xz.clone(), 0x2000)).unwrap(), plain);
    assert_eq!(read(packed(xz.clone(), 0x1000)), Err(KernelError::Damaged("xz")));
    assert_eq!(read(packed(xz[..xz.len() / 2].to_vec(), 0x2000)), Err(KernelError::Damaged("xz")));
}

#[test]
fn a_bz_image_that_lies_is_refused() {
    assert_eq!(read(bz_image(&kernel(), 0x2001)), Err(KernelError::Truncated));
    assert_eq!(read(bz_image(&kernel(), u32::MAX)), Err(KernelError::Truncated));
    let mut old = bz_image(&kernel(), 0x2000);
    old[0x206] = 7;
    assert_eq!(read(old), Err(KernelError::TooOld));
    assert_eq!(read(packed(b"BZh".to_vec(), 1)), Err(KernelError::Compression("bzip2")));
    let bomb = packed(b"\xfd7zXZ\0".to_vec(), u32::MAX);
    assert_eq!(read(bomb), Err(KernelError::TooLarge { bytes: 0xffff_ffff, memory: MEMORY }));
}

proptest! {
    #[test]
    fn damage_anywhere_is_refused_or_harmless(at in 0_usize..0x240, byte: u8) {
        let mut file = kernel();
        file[at] = byte;
        if let Ok(kernel) = read(file) {
            for segment in kernel.segments() {
                prop_assert!(kernel.bytes(segment).len() as u64 <= segment.memory && segment.end() <= 1 << 32);
            }
        }
    }
}
