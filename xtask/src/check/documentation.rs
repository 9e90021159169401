//! rustdoc without a warning: no link of a documentation leads nowhere.

use std::process::Command;

use anyhow::Result;

use super::style::{self, BARE_METAL};
use crate::toolchain::{BareMetal, Use};

/// Libraries whose parts for the machine itself exist on bare metal alone, and the links to them.
const BARE_METAL_LIBRARIES: [&str; 2] = ["xenolith-guest-kit", "xenolith-x86"];

/// Returns the command that runs rustdoc for what runs on the host.
#[must_use]
pub fn host() -> Command {
    let mut command = style::cargo("doc");
    command.arg("--workspace");
    for package in BARE_METAL.iter().chain(&BARE_METAL_LIBRARIES) {
        command.args(["--exclude", package]);
    }
    strict(command)
}

/// Returns the command that runs rustdoc for what runs on bare metal.
///
/// **Errors:** no compiler for it can be had.
pub fn bare_metal() -> Result<Command> {
    let mut command = BareMetal::find(Use::Build)?.cargo("doc");
    for package in BARE_METAL.iter().chain(&BARE_METAL_LIBRARIES) {
        command.args(["-p", package]);
    }
    Ok(strict(command))
}

fn strict(mut command: Command) -> Command {
    command.args(["--no-deps", "--quiet", "--keep-going"]).env("RUSTDOCFLAGS", "-D warnings");
    command
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::process;

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let place = xenolith_tests::places::target().join("documentation-test");
        fs::create_dir_all(place.join("src")).unwrap();
        let manifest = "[package]\nname = \"documented\"\nedition = \"2024\"\n[workspace]\n";
        fs::write(place.join("Cargo.toml"), manifest).unwrap();
        let judged = |text: &str| {
            fs::write(place.join("src/lib.rs"), text).unwrap();
            process::output(strict(style::cargo("doc")).arg("--offline").current_dir(&place))
        };
        judged("//! [`here`]\n\n/// Is there.\npub fn here() {}\n").unwrap();
        let error = judged("//! [`nowhere`]\n").unwrap_err();
        assert!(format!("{error:#}").contains("nowhere"), "{error:#}");
    }
}
