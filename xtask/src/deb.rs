//! `cargo xtask deb`: Debian's packages of the hypervisor and of its tools, in `target/deb/`.
//!
//! Each is a tree with the files where they lie on a user's machine, which `dpkg-deb` packs. What the packages hold besides
//! built files is in `packaging/`, where `@NAME@` stands for what is known only here.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use flate2::{Compression, GzBuilder};
use xenolith_tests::places;

use crate::build::{self, BuildArguments};
use crate::debian::programs;
use crate::process;
use crate::progress::Step;
use crate::setup::{self, Need};

/// Makes Debian's packages of the hypervisor and of its tools, in target/deb/.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct DebArguments {
    /// Let lintian look at them, too; an error of its fails the command
    #[arg(long)]
    pub lint: bool,
}

/// The version of Xen's interface. GRUB's script for Xen compares this part with the version of Debian's own Xen: ours is the
/// later one, so its entry comes first.
const INTERFACE: &str = "4.17";

const DPKG: Need = Need { why: "packs Debian's packages", shown_by: &["dpkg-deb"], packages: &["dpkg"] };
const SHLIBDEPS: Need =
    Need { why: "finds the libraries that programs need", shown_by: &["dpkg-shlibdeps"], packages: &["dpkg-dev"] };
const LINTIAN: Need = Need { why: "looks for faults in packages", shown_by: &["lintian"], packages: &["lintian"] };

/// What the programs of the tools are built from, their names, and where they lie.
const PROGRAMS: [(&str, &str, &str); 2] = [
    ("xenolith-domain", "xenolith-domain", "usr/sbin/xenolith-domain"),
    ("xenstored", "xenstored", "usr/libexec/xenolith/xenstored"),
];

/// Documents of the hypervisor's package, from `docs/`.
const DOCUMENTS: [&str; 4] = ["options.md", "hvm.md", "migration.md", "unproven.md"];

/// Runs `cargo xtask deb`.
///
/// **Errors:** something does not build; a file cannot be read or written; with `lint`, an error of lintian's.
pub fn command(arguments: DebArguments) -> Result<()> {
    for package in make()? {
        if arguments.lint {
            setup::ensure(&[&LINTIAN])?;
            let step = Step::begin(format!("lintian on {}", name_of(&package)));
            process::run(
                Command::new("lintian")
                    .args(["--fail-on", "error", "--tag-display-limit", "0", "--allow-root"])
                    .arg(&package),
            )?;
            step.end("no error");
        }
        println!("{}", package.display());
    }
    Ok(())
}

/// Makes both packages, and returns their files.
///
/// **Errors:** as [`command`].
pub fn make() -> Result<Vec<PathBuf>> {
    setup::ensure(&[&DPKG, &SHLIBDEPS])?;
    build::command(BuildArguments::default())?;
    Ok(vec![hypervisor()?, tools()?])
}

/// Returns the version of both packages.
fn version() -> String {
    format!("{INTERFACE}+{}", env!("CARGO_PKG_VERSION"))
}

/// Returns the name of the hypervisor's file in `/boot`.
fn image_name() -> String {
    format!("xenolith-{}-amd64.gz", version())
}

fn hypervisor() -> Result<PathBuf> {
    let tree = Tree::begin("xenolith-hypervisor")?;
    let image = image_name();
    tree.copy(&places::images().join("xenolith.gz"), &format!("boot/{image}"), 0o644)?;
    // With its symbols, for `addr2line` and debuggers; not in /boot, where GRUB's script would take it for a hypervisor.
    let symbols = format!("usr/lib/debug/xenolith/{}", image.trim_end_matches(".gz"));
    tree.copy(&build::linked_hypervisor(), &symbols, 0o644)?;
    tree.copy(&tree.source("xenolith.cfg"), "etc/default/grub.d/xenolith.cfg", 0o644)?;
    for document in DOCUMENTS {
        let text = fs::read(places::root().join("docs").join(document)).with_context(|| format!("no {document}"))?;
        tree.pack(&text, &format!("usr/share/doc/{}/{document}.gz", tree.package))?;
    }
    tree.write("DEBIAN/conffiles", "/etc/default/grub.d/xenolith.cfg\n", 0o644)?;
    tree.script("postinst", &[])?;
    tree.script("prerm", &[("IMAGE", &image)])?;
    tree.finish(&[])
}

fn tools() -> Result<PathBuf> {
    let tree = Tree::begin("xenolith-tools")?;
    let mut placed = Vec::new();
    for (package, program, place) in PROGRAMS {
        let built = programs::built(package)?.join(program);
        tree.copy(&built, place, 0o755)?;
        process::run(
            Command::new("strip").args(["--strip-unneeded", "--remove-section=.comment"]).arg(tree.root.join(place)),
        )?;
        placed.push(tree.root.join(place));
    }
    tree.copy(&tree.source("README.Debian"), &format!("usr/share/doc/{}/README.Debian", tree.package), 0o644)?;
    let control = fs::read(places::root().join("docs/control-plane.md")).context("no docs/control-plane.md")?;
    tree.pack(&control, &format!("usr/share/doc/{}/control-plane.md.gz", tree.package))?;
    let depends = libraries(&placed)?;
    tree.finish(&[("DEPENDS", &depends)])
}

/// Returns the packages of the libraries that programs need, as a control file names them.
fn libraries(programs: &[PathBuf]) -> Result<String> {
    // It wants a source package's control file to be there.
    let source = places::target().join("deb/source");
    fs::create_dir_all(source.join("debian")).context("cannot make a directory for dpkg-shlibdeps")?;
    fs::write(source.join("debian/control"), "Source: xenolith\n\nPackage: xenolith-tools\nArchitecture: amd64\n")?;
    let said = process::output(Command::new("dpkg-shlibdeps").arg("-O").args(programs).current_dir(&source))?;
    let depends = said.lines().find_map(|line| line.strip_prefix("shlibs:Depends="));
    Ok(depends.context("dpkg-shlibdeps found no library")?.trim().to_owned())
}

/// A package that is being made: the tree of its files.
struct Tree {
    package: &'static str,
    root: PathBuf,
}

impl Tree {
    fn begin(package: &'static str) -> Result<Self> {
        let root = places::target().join("deb").join(package);
        if root.exists() {
            fs::remove_dir_all(&root).with_context(|| format!("cannot remove the last {}", root.display()))?;
        }
        let tree = Self { package, root };
        let text = read(&places::root().join("packaging/copyright"))?;
        let license = read(&places::root().join("LICENSE-MIT"))?;
        let license: Vec<String> =
            license.lines().map(|line| if line.is_empty() { " .".to_owned() } else { format!(" {line}") }).collect();
        let text = filled(&text, &[("MIT", &license.join("\n"))])?;
        tree.write(&format!("usr/share/doc/{package}/copyright"), &text, 0o644)?;
        let changes = format!(
            "xenolith ({}) unstable; urgency=medium\n\n  * What changed is in the project's CHANGELOG.md.\n\n -- The Xenolith developers <maintainers@xenolith.example>  Thu, 01 Jan 2026 00:00:00 +0000\n",
            version()
        );
        tree.pack(changes.as_bytes(), &format!("usr/share/doc/{package}/changelog.gz"))?;
        Ok(tree)
    }

    /// Returns a file of `packaging/` that is this package's.
    fn source(&self, name: &str) -> PathBuf {
        places::root().join("packaging").join(self.package).join(name)
    }

    fn place(&self, place: &str) -> Result<PathBuf> {
        let path = self.root.join(place);
        fs::create_dir_all(path.parent().context("a file lies nowhere")?).context("cannot make a directory")?;
        Ok(path)
    }

    fn copy(&self, from: &Path, place: &str, mode: u32) -> Result<()> {
        let to = self.place(place)?;
        fs::copy(from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        set_mode(&to, mode)
    }

    fn write(&self, place: &str, text: &str, mode: u32) -> Result<()> {
        let to = self.place(place)?;
        fs::write(&to, text).with_context(|| format!("cannot write {}", to.display()))?;
        set_mode(&to, mode)
    }

    /// Writes a compressed file; the same text makes the same bytes.
    fn pack(&self, text: &[u8], place: &str) -> Result<()> {
        let to = self.place(place)?;
        let file = File::create(&to).with_context(|| format!("cannot write {}", to.display()))?;
        let mut packed = GzBuilder::new().mtime(0).write(file, Compression::best());
        packed.write_all(text).and_then(|()| packed.finish().map(drop)).context("cannot compress a document")?;
        set_mode(&to, 0o644)
    }

    /// Puts a script of the package's to what dpkg runs.
    fn script(&self, name: &str, words: &[(&str, &str)]) -> Result<()> {
        self.write(&format!("DEBIAN/{name}"), &filled(&read(&self.source(name))?, words)?, 0o755)
    }

    /// Writes the control file, and packs the tree.
    fn finish(&self, words: &[(&str, &str)]) -> Result<PathBuf> {
        let files = files(&self.root)?;
        let size: u64 = files.iter().map(|(_, bytes)| bytes.div_ceil(1024)).sum();
        let (version, size) = (version(), size.to_string());
        let words = [&[("VERSION", version.as_str()), ("SIZE", size.as_str())], words].concat();
        self.write("DEBIAN/control", &filled(&read(&self.source("control"))?, &words)?, 0o644)?;
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        let sums = process::output(Command::new("md5sum").args(&names).current_dir(&self.root))?;
        self.write("DEBIAN/md5sums", &sums, 0o644)?;
        let package = places::target().join("deb").join(format!("{}_{version}_amd64.deb", self.package));
        let step = Step::begin(format!("packing {}", name_of(&package)));
        let mut pack = Command::new("dpkg-deb");
        // Equal files make an equal package, whenever they were made.
        pack.env("SOURCE_DATE_EPOCH", "1767225600").args(["--root-owner-group", "-Zxz", "--build"]);
        process::output(pack.arg(&self.root).arg(&package))?;
        step.end(&format!("{} KiB", fs::metadata(&package).map_or(0, |file| file.len() / 1024)));
        Ok(package)
    }
}

/// Returns the files of a tree and their bytes, but for what dpkg itself reads.
fn files(root: &Path) -> Result<Vec<(String, u64)>> {
    let mut found = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        set_mode(&directory, 0o755)?;
        for entry in fs::read_dir(&directory).context("cannot list a directory")? {
            let path = entry.context("cannot list a directory")?.path();
            if path.is_dir() {
                waiting.push(path);
            } else if let Ok(name) = path.strip_prefix(root)
                && !name.starts_with("DEBIAN")
            {
                found.push((name.display().to_string(), fs::metadata(&path)?.len()));
            }
        }
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot open {}", path.display()))
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Puts words in the place of their names.
///
/// **Errors:** a name is left over.
fn filled(text: &str, words: &[(&str, &str)]) -> Result<String> {
    let filled = words.iter().fold(text.to_owned(), |text, (name, word)| text.replace(&format!("@{name}@"), word));
    let mut parts = filled.split('@').skip(1);
    let is_name = |part: &&str| !part.is_empty() && part.bytes().all(|letter| letter.is_ascii_uppercase());
    if let Some(name) = parts.find(is_name) {
        bail!("nothing is put in the place of @{name}@");
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_entry_comes_before_xens_of_the_same_version() {
        // As GRUB's script compares: what stands behind the first dash.
        let [ours, xens] =
            [image_name(), "xen-4.17-amd64.gz".to_owned()].map(|name| name.split_once('-').unwrap().1.to_owned());
        let later = |one: &str, other: &str| {
            Command::new("dpkg").args(["--compare-versions", one, "gt", other]).status().unwrap().success()
        };
        assert!(later(&ours, &xens), "{ours} is not later than {xens}");
        assert!(!later(&xens, &ours));
    }

    #[test]
    fn a_name_that_nothing_is_put_for_is_an_error() {
        assert_eq!(filled("a @ONE@ <b@c.example>", &[("ONE", "1")]).unwrap(), "a 1 <b@c.example>");
        assert!(filled("a @TWO@", &[("ONE", "1")]).unwrap_err().to_string().contains("@TWO@"));
    }

    #[test]
    fn scripts_of_the_packages_are_understood_by_the_shell() {
        for script in ["postinst", "prerm", "xenolith.cfg"] {
            let path = places::root().join("packaging/xenolith-hypervisor").join(script);
            let said = Command::new("sh").arg("-n").arg(&path).output().unwrap();
            assert!(said.status.success(), "{script}: {}", String::from_utf8_lossy(&said.stderr));
        }
    }
}
