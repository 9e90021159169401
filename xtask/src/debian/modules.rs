//! A kernel's modules: the wanted ones, with what they depend on, and the table by which modprobe finds them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::packages::Kernel;

/// Copies the modules `wanted`, and the modules they depend on, into `root`, with a `modules.dep` for them.
///
/// A name that is not there as a module is passed over: the kernel has it built in, or modprobe will say that it lacks.
///
/// **Errors:** a module cannot be read or copied.
pub fn copy(kernel: &Kernel, wanted: &[&str], root: &Path) -> Result<()> {
    let from = kernel.modules()?;
    let release = from.file_name().context("the directory of modules has no name")?;
    let to = root.join("usr/lib/modules").join(release);
    let all = find(&from)?;
    let mut chosen = BTreeMap::new();
    for name in wanted {
        choose(&plain(name), &all, &mut chosen)?;
    }
    let mut table = String::new();
    for (name, needs) in &chosen {
        let Some(path) = all.get(name) else { continue };
        let place = to.join(path);
        fs::create_dir_all(place.parent().unwrap_or(&to)).context("cannot make a directory of modules")?;
        fs::copy(from.join(path), &place).with_context(|| format!("cannot copy {}", place.display()))?;
        table.push_str(&line(path, &closure(needs, &chosen), &all));
    }
    fs::create_dir_all(&to).context("cannot make the directory of modules")?;
    fs::write(to.join("modules.dep"), table).context("cannot write modules.dep")
}

/// Returns a module's name as the kernel spells it.
fn plain(name: &str) -> String {
    name.replace('-', "_")
}

/// Returns each module's path below `root`, by its name.
fn find(root: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_path_buf()];
    while let Some(directory) = left.pop() {
        let entries = fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() && !path.is_symlink() {
                left.push(path);
            } else if let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".ko")) {
                let below = path.strip_prefix(root).context("a path outside its root")?;
                found.insert(plain(name), below.to_path_buf());
            }
        }
    }
    // Paths are kept relative; reading one wants the root again.
    found.insert(String::new(), root.to_path_buf());
    Ok(found)
}

/// Adds `name` and what it depends on, each with its own direct needs.
fn choose(name: &str, all: &BTreeMap<String, PathBuf>, chosen: &mut BTreeMap<String, Vec<String>>) -> Result<()> {
    let (Some(path), Some(root)) = (all.get(name), all.get("")) else { return Ok(()) };
    if chosen.contains_key(name) {
        return Ok(());
    }
    let module = fs::read(root.join(path)).with_context(|| format!("cannot read {}", path.display()))?;
    let needs = dependencies(&module);
    chosen.insert(name.to_owned(), needs.clone());
    needs.iter().try_for_each(|need| choose(need, all, chosen))
}

/// Returns what a module says it depends on.
fn dependencies(module: &[u8]) -> Vec<String> {
    const MARK: &[u8] = b"\0depends=";
    let Some(at) = module.windows(MARK.len()).position(|window| window == MARK) else { return Vec::new() };
    let rest = module.get(at.saturating_add(MARK.len())..).unwrap_or_default();
    let text = rest.split(|&byte| byte == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(text).into_owned();
    names.split(',').filter(|name| !name.is_empty()).map(plain).collect()
}

/// Returns all that `needs` come to, in the order that modprobe wants: each before what it depends on itself.
fn closure(needs: &[String], chosen: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut order: Vec<String> = Vec::new();
    let mut left: Vec<String> = needs.to_vec();
    while let Some(next) = left.pop() {
        // One that is needed again further down must come later still.
        order.retain(|name| *name != next);
        order.push(next.clone());
        left.extend(chosen.get(&next).into_iter().flatten().cloned());
    }
    order
}

fn line(path: &Path, needs: &[String], all: &BTreeMap<String, PathBuf>) -> String {
    let paths = needs.iter().filter_map(|name| all.get(name));
    let spelled: String = paths.map(|path| format!(" {}", path.display())).collect();
    format!("{}:{spelled}\n", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_depends_on_is_read_from_it() {
        assert_eq!(dependencies(b"ELF\0license=GPL\0depends=llc,stp-x\0name=bridge\0"), ["llc", "stp_x"]);
        assert_eq!(dependencies(b"\0depends=\0"), Vec::<String>::new());
        assert_eq!(dependencies(b"none"), Vec::<String>::new());
    }

    #[test]
    fn what_is_needed_by_a_need_stands_after_it() {
        let chosen = BTreeMap::from([("pci".to_owned(), vec!["ring".to_owned()]), ("ring".to_owned(), vec![])]);
        for needs in [["pci", "ring"], ["ring", "pci"]] {
            assert_eq!(closure(&needs.map(str::to_owned), &chosen), ["pci", "ring"]);
        }
    }
}
