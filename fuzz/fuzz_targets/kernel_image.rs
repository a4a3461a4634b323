//! A kernel module: probe it and unpack it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use machine_model::Region;
use xenolith_host::image::{GunzipError, Kernel, Request, place};

const LIMIT: u64 = 16 << 20;

fuzz_target!(|file: &[u8]| {
    // A gzip file, as it is and as what an EFI zboot program holds; and one whose header is the input's.
    let packed = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3], file].concat();
    let mut zboot = [0; 64];
    zboot[..8].copy_from_slice(b"MZ\0\0zimg");
    zboot[8] = 64;
    zboot[12..16].copy_from_slice(&(packed.len() as u32).to_le_bytes());
    zboot[24..28].copy_from_slice(b"gzip");
    unpack(&[&zboot, packed.as_slice()].concat());
    unpack(&[&zboot[..8], file].concat());
    unpack(&packed);
    unpack(file);
});

fn unpack(file: &[u8]) {
    let Ok(kernel) = Kernel::probe(file).inspect_err(|error| drop(error.to_string())) else { return };
    let mut total = 0u64;
    let result: Result<u64, GunzipError<std::convert::Infallible>> = kernel.unpack(LIMIT, &mut |piece| {
        total += piece.len() as u64;
        Ok(())
    });
    assert!(total <= LIMIT);
    if let Ok(size) = result {
        assert_eq!(size, total);
    }
    let kernel_size = kernel.header.memory_size(total);
    let text_offset = kernel.header.text_offset;
    let bank = Region::new(0x4000_0000, 512 << 20);
    let _ = place(&Request { bank, text_offset, kernel_size, device_tree_size: 0x4000, initrd_size: total });
}
