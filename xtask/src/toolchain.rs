//! Which compiler builds the bare-metal crates.
//!
//! Some machines' rustup fetches the bare-metal target, others have only what their distribution ships: library source
//! to build the core library from. The first of these that will do is taken: the active compiler with a core library
//! for the target, the system's compiler with one, the active one with library source, the system's with source.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use xenolith_tests::places;

use crate::process;
use crate::setup::{self, Need};

/// The target of everything that runs without an operating system.
pub const TARGET: &str = "x86_64-unknown-none";

/// The oldest compiler that takes these crates (`rust-version` in `Cargo.toml`).
const OLDEST: (u32, u32) = (1, 95);

const SYSTEM_RUSTC: &str = "/usr/bin/rustc";
const SYSTEM_CARGO: &str = "/usr/bin/cargo";

/// Debian's own compiler, with the source of its library.
const SYSTEM_RUST: Need = Need {
    why: "a compiler that can build for x86_64-unknown-none (the active one has no core library for it, and \
          `rustup target add x86_64-unknown-none` would do as well)",
    shown_by: &["/usr/lib/rustlib/src/rust/library/core/Cargo.toml"],
    packages: &["rustc-web", "cargo-web", "rust-web-src"],
};
const SYSTEM_CLIPPY: Need = Need {
    why: "clippy of the compiler that builds the bare-metal crates",
    shown_by: &["/usr/bin/cargo-clippy"],
    packages: &["rust-web-clippy"],
};
const LINKER: Need = Need {
    why: "the linker for x86_64-unknown-none (the compiler in use ships none)",
    shown_by: &["ld.lld"],
    packages: &["lld"],
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compiler {
    Active,
    System,
}

/// What a compiler brings for the bare-metal target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Kit {
    core: bool,
    source: bool,
    linker: bool,
}

/// The compiler that was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BareMetal {
    compiler: Compiler,
    build_std: bool,
    own_linker: bool,
}

/// What it is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Build,
    Clippy,
}

impl BareMetal {
    /// Finds a compiler, and installs Debian's where there is none.
    ///
    /// **Errors:** there is none and none can be installed.
    pub fn find(wanted_for: Use) -> Result<Self> {
        let found = match choose(kit("rustc"), kit(SYSTEM_RUSTC)) {
            Some(found) => found,
            None => {
                setup::ensure(&[&SYSTEM_RUST]).context(
                    "no compiler here builds for x86_64-unknown-none; where rustup can fetch it, this does: \
                              rustup target add x86_64-unknown-none",
                )?;
                if choose(kit("rustc"), kit(SYSTEM_RUSTC)).is_none() {
                    setup::renew(&SYSTEM_RUST)?;
                }
                choose(kit("rustc"), kit(SYSTEM_RUSTC))
                    .context("the compiler that apt installed is too old; run: rustup target add x86_64-unknown-none")?
            }
        };
        let mut needs = Vec::new();
        if !found.own_linker {
            needs.push(&LINKER);
        }
        if wanted_for == Use::Clippy && found.compiler == Compiler::System {
            needs.push(&SYSTEM_CLIPPY);
        }
        setup::ensure(&needs)?;
        Ok(found)
    }

    /// Returns a cargo command for the bare-metal target, in a target directory of its own.
    #[must_use]
    pub fn cargo(&self, subcommand: &str) -> Command {
        let mut command = match self.compiler {
            Compiler::Active => Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())),
            Compiler::System => system_cargo(),
        };
        command.arg(subcommand).args(["--target", TARGET, "--target-dir"]).arg(target_directory());
        command.current_dir(places::root());
        if self.build_std {
            command.arg("-Zbuild-std=core,alloc,compiler_builtins").env("RUSTC_BOOTSTRAP", "1");
        }
        if !self.own_linker {
            command.env("CARGO_TARGET_X86_64_UNKNOWN_NONE_LINKER", "ld.lld");
        }
        command
    }

    /// Describes it in words, for the line that `cargo xtask` prints.
    #[must_use]
    pub fn described(&self) -> String {
        let compiler = match self.compiler {
            Compiler::Active => "the active compiler",
            Compiler::System => SYSTEM_RUSTC,
        };
        let core = if self.build_std { "building the core library" } else { "with its core library" };
        format!("{compiler}, {core}")
    }
}

/// Returns the directory where bare-metal crates are built: apart from the host's, whose compiler may be another.
#[must_use]
pub fn target_directory() -> PathBuf {
    places::target().join("metal")
}

/// Returns the system's cargo, with nothing left in its environment that leads back to another compiler.
fn system_cargo() -> Command {
    let mut command = Command::new(SYSTEM_CARGO);
    let mut path = std::ffi::OsString::from("/usr/bin:");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    for leads_back in ["CARGO", "RUSTUP_TOOLCHAIN", "LD_LIBRARY_PATH", "RUSTC_WRAPPER", "RUSTFLAGS"] {
        command.env_remove(leads_back);
    }
    command.env("PATH", path).env("RUSTC", SYSTEM_RUSTC);
    command
}

/// Takes the first that will do; a `None` is a compiler that is missing or too old.
fn choose(active: Option<Kit>, system: Option<Kit>) -> Option<BareMetal> {
    let candidates = [(Compiler::Active, active), (Compiler::System, system)];
    let with = |has: fn(&Kit) -> bool, build_std| {
        candidates.iter().find_map(|&(compiler, kit)| {
            let kit = kit.filter(has)?;
            Some(BareMetal { compiler, build_std, own_linker: kit.linker })
        })
    };
    with(|kit| kit.core, false).or_else(|| with(|kit| kit.source, true))
}

/// Returns what the compiler `rustc` brings, if it is there and new enough.
fn kit(rustc: &str) -> Option<Kit> {
    let ask = |words: &[&str]| {
        let mut command = Command::new(rustc);
        if rustc == SYSTEM_RUSTC {
            command.env_remove("LD_LIBRARY_PATH");
        }
        process::output(command.args(words)).ok().map(|text| text.trim().to_owned())
    };
    if release(&ask(&["--version"])?)? < OLDEST {
        return None;
    }
    let libraries = PathBuf::from(ask(&["--print", "target-libdir", "--target", TARGET])?);
    let host_libraries = PathBuf::from(ask(&["--print", "target-libdir"])?);
    let root = PathBuf::from(ask(&["--print", "sysroot"])?);
    Some(Kit {
        core: has_core(&libraries),
        source: root.join("lib/rustlib/src/rust/library/core/Cargo.toml").is_file(),
        linker: host_libraries.parent().is_some_and(|host| host.join("bin/rust-lld").is_file()),
    })
}

fn has_core(libraries: &Path) -> bool {
    let files = std::fs::read_dir(libraries).into_iter().flatten().flatten();
    files.map(|file| file.file_name()).any(|name| name.to_string_lossy().starts_with("libcore-"))
}

/// Parses the release of "rustc 1.96.0 (...)": (1, 96).
fn release(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split_whitespace().nth(1)?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CORE: Option<Kit> = Some(Kit { core: true, source: false, linker: true });
    const SOURCE: Option<Kit> = Some(Kit { core: false, source: true, linker: false });
    const BARE: Option<Kit> = Some(Kit { core: false, source: false, linker: true });

    #[test]
    fn a_core_library_that_is_there_wins_over_one_to_be_built() {
        let found = choose(SOURCE, CORE).unwrap();
        assert_eq!(found, BareMetal { compiler: Compiler::System, build_std: false, own_linker: true });
    }

    #[test]
    fn the_active_compiler_wins_over_the_systems() {
        assert_eq!(choose(CORE, CORE).unwrap().compiler, Compiler::Active);
        assert_eq!(choose(SOURCE, SOURCE).unwrap().compiler, Compiler::Active);
    }

    #[test]
    fn the_systems_library_source_is_the_last_resort() {
        let found = choose(BARE, SOURCE).unwrap();
        assert_eq!(found, BareMetal { compiler: Compiler::System, build_std: true, own_linker: false });
        assert_eq!(choose(BARE, BARE), None);
        assert_eq!(choose(BARE, None), None);
    }

    #[test]
    fn the_release_is_read_from_the_version_line() {
        assert_eq!(release("rustc 1.96.0 (ac68faa20 2026-05-25)"), Some((1, 96)));
        assert_eq!(release("something else"), None);
    }
}
