//! The daemon that keeps xenstore in dom0: Debian's, or ours in its place.

use anyhow::Result;
use xenolith_tests::places;

use super::{Debian, kernels, programs};

/// Our programs, and where they lie in dom0: the daemon at the place of Debian's, and what tries it.
const PROGRAMS: [(&str, &str); 4] = [
    ("xenstored", "usr/lib/xen-4.17/bin/xenstored"),
    ("xenstore-compare", "usr/bin/xenstore-compare"),
    ("xenstore-stress", "usr/bin/xenstore-stress"),
    ("xenstore-cost", "usr/bin/xenstore-cost"),
];
/// Where Debian's own daemon lies then.
const DEBIANS: &str = "usr/lib/xen-4.17/bin/xenstored-debian";

/// Makes dom0's initial RAM disc in `target/debian/dom0-store/`, with our daemon in place of Debian's.
///
/// **Errors:** our daemon does not compile; a file cannot be read or written.
pub fn with_ours(debian: &Debian) -> Result<Debian> {
    let built = programs::built("xenstored")?;
    let ours = PROGRAMS.map(|(name, place)| (built.join(name), place));
    let sources = ours.each_ref().map(|(program, _)| program.as_path());
    kernels::with_part(debian, "dom0-store", "putting our xenstored into dom0", &sources, |system| {
        let debians = places::target().join("debian/dom0-packages/root/usr/lib/xen-4.17/bin/xenstored");
        programs::put(system, &ours)?;
        programs::put(system, &[(debians, DEBIANS)])
    })
}
