//! Things that are made once, and again when what they are made from changes.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xenolith_tests::places;

use crate::progress::Step;

/// Changes when the way of making things does, so that what older trees made is made again.
const EDITION: u32 = 3;

/// A directory below `target/debian/` and the digest of what it is made from.
#[derive(Clone, Debug)]
pub struct Product {
    pub directory: PathBuf,
    /// Names what it was made from; whatever is made from it takes this in.
    pub digest: String,
}

/// Returns the product `name`, made by `make` in an empty directory unless it is there and made from the same.
///
/// `from` is what it is made from: words, versions, digests of other products. `sources` are files and directories of
/// the tree, taken by what they hold.
///
/// **Errors:** those of `make`; a source cannot be read; the directory cannot be written.
pub fn made(
    name: &str,
    what: &str,
    from: &[&str],
    sources: &[&Path],
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<Product> {
    let directory = places::target().join("debian").join(name);
    let digest = digest(from, sources)?;
    let stamp = directory.join("made-from");
    // One run makes it, others that want it meanwhile wait.
    let beside = directory.with_extension("lock");
    fs::create_dir_all(places::target().join("debian")).context("cannot make target/debian")?;
    let lock = File::create(&beside).with_context(|| format!("cannot write {}", beside.display()))?;
    lock.lock().with_context(|| format!("cannot lock {}", beside.display()))?;
    if fs::read_to_string(&stamp).is_ok_and(|found| found == digest) {
        return Ok(Product { directory, digest });
    }
    let step = Step::begin(what);
    // Made beside and moved, so that an interrupted run leaves no half product.
    let part = directory.with_extension("part");
    remove(&part)?;
    fs::create_dir_all(&part).with_context(|| format!("cannot make {}", part.display()))?;
    make(&part)?;
    fs::write(part.join("made-from"), &digest).context("cannot write what it was made from")?;
    remove(&directory)?;
    fs::rename(&part, &directory).with_context(|| format!("cannot put {} in its place", directory.display()))?;
    step.end("done");
    Ok(Product { directory, digest })
}

fn remove(directory: &Path) -> Result<()> {
    if !directory.exists() {
        return Ok(());
    }
    fs::remove_dir_all(directory).with_context(|| format!("cannot remove {}", directory.display()))
}

fn digest(from: &[&str], sources: &[&Path]) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    EDITION.hash(&mut hasher);
    from.hash(&mut hasher);
    for source in sources {
        take_in(source, &mut hasher)?;
    }
    Ok(format!("{:016x}", hasher.finish()))
}

/// Takes in a file's name, whether it may be run, and what it holds; of a directory all that is in it.
fn take_in(path: &Path, hasher: &mut DefaultHasher) -> Result<()> {
    let metadata = fs::symlink_metadata(path).with_context(|| format!("cannot find {}", path.display()))?;
    path.file_name().hash(hasher);
    if metadata.is_dir() {
        let entries = fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut inside: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        inside.sort();
        return inside.iter().try_for_each(|each| take_in(each, hasher));
    }
    (metadata.permissions().mode() & 0o111).hash(hasher);
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))?.hash(hasher);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let place = places::target().join("tmp").join(format!("product-{name}-{}", std::process::id()));
        fs::create_dir_all(&place).unwrap();
        place
    }

    #[test]
    fn a_changed_word_or_file_or_mode_changes_the_digest() {
        let place = scratch("digest");
        fs::write(place.join("a"), "one").unwrap();
        let first = digest(&["word"], &[&place]).unwrap();
        assert_eq!(first, digest(&["word"], &[&place]).unwrap());
        assert_ne!(first, digest(&["other"], &[&place]).unwrap());
        fs::set_permissions(place.join("a"), fs::Permissions::from_mode(0o755)).unwrap();
        let runnable = digest(&["word"], &[&place]).unwrap();
        assert_ne!(first, runnable);
        fs::write(place.join("a"), "two").unwrap();
        assert_ne!(runnable, digest(&["word"], &[&place]).unwrap());
        fs::remove_dir_all(place).unwrap();
    }

    #[test]
    fn a_product_is_made_once_and_again_when_its_source_changes() {
        let name = format!("test-{}", std::process::id());
        let mut times = 0;
        for from in ["a", "a", "b"] {
            let product = made(&name, "testing", &[from], &[], |place| {
                times += 1;
                fs::write(place.join("file"), from).context("cannot write")
            });
            assert_eq!(fs::read_to_string(product.unwrap().directory.join("file")).unwrap(), from);
        }
        assert_eq!(times, 2);
        fs::remove_dir_all(places::target().join("debian").join(name)).unwrap();
    }
}
