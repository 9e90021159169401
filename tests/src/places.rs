//! Where things lie in the working tree.

use std::path::{Path, PathBuf};

/// Returns the root of the working tree this crate was compiled in.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Returns the directory of everything that is made and can be made again.
#[must_use]
pub fn target() -> PathBuf {
    root().join("target")
}

/// Returns the finished images: `xenolith`, `xenolith.gz`, `test-kernel`.
#[must_use]
pub fn images() -> PathBuf {
    target().join("image")
}

/// Returns the serial logs of every machine that was started.
#[must_use]
pub fn logs() -> PathBuf {
    target().join("logs")
}
