//! Memory that another domain or program may change at any moment, with safe accesses: by value, within bounds, and
//! never through a Rust reference.
//!
//! ```
//! # let directory = tempfile::tempdir().unwrap();
//! # let path = directory.path().join("file");
//! use mapped_memory::Mapping;
//!
//! let file = std::fs::File::options().read(true).write(true).create_new(true).open(path).unwrap();
//! file.set_len(4096).unwrap();
//! let (one, other) = (Mapping::of_file(&file, 0, 4096).unwrap(), Mapping::of_file(&file, 0, 4096).unwrap());
//! one.write(100, b"hello");
//! one.store_u32(0, 5);
//! let mut bytes = [0; 5];
//! other.read(100, &mut bytes);
//! assert_eq!((&bytes, other.load_u32(0)), (b"hello", 5));
//! ```

mod counted;
mod mapping;

pub use counted::Counted;
pub use mapping::Mapping;
