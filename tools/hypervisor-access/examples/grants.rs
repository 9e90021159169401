//! `grants`: lists the domains of this machine, and the grants in the first page of each domain's grant table.

use hypervisor_access::{Hypercalls, Resource};

/// Number of entries of version 1 in a page, and their length in bytes.
const ENTRIES: usize = 512;
const ENTRY: usize = 8;

fn main() -> std::io::Result<()> {
    let hypercalls = Hypercalls::open()?;
    for domain in hypercalls.domains(0, 256)? {
        let number = domain.domain.0;
        println!("domain {number}: {} pages, {:?}", domain.tot_pages, domain.flags);
        let table = match hypercalls.map_resource(number, Resource::GrantTable, 0, 1) {
            Ok(table) => table,
            Err(error) => {
                println!("    no grant table: {error}");
                continue;
            }
        };
        for reference in 0..ENTRIES {
            let (first, frame) = (table.load_u32(reference * ENTRY), table.load_u32(reference * ENTRY + 4));
            let (flags, to) = (first & 0xffff, first >> 16);
            // The low bits say whether, and how, a page is given away.
            if flags & 3 != 0 {
                println!("    {reference}: frame {frame:#x} to domain {to}, flags {flags:#x}");
            }
        }
    }
    Ok(())
}
