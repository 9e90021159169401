//! Quotas of a domain, by the names that Debian's daemon gives them. Dom0 has none.

macro_rules! limits {
    ($( $(#[$meta:meta])* $field:ident = $name:literal, $initial:expr, $what:literal; )*) => {
        /// The quotas of each domain.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Limits {
            $( $(#[$meta])* pub $field: u64, )*
            /// Memory of one domain in bytes, above which a warning is logged (soft quota).
            pub memory_soft: u64,
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($field: $initial,)* memory_soft: 2 << 20 }
            }
        }

        impl Limits {
            /// Sets a quota by name. Returns whether there is one of this name.
            pub fn set(&mut self, name: &str, value: u64) -> bool {
                match name {
                    $($name => self.$field = value,)*
                    _ => return false,
                }
                true
            }

            /// Lists all quotas: name, value, description.
            #[must_use]
            pub fn list(&self) -> Vec<(&'static str, u64, &'static str)> {
                vec![$(($name, self.$field, $what)),*]
            }
        }
    };
}

limits! {
    /// Nodes that a domain may own.
    nodes = "nodes", 1000, "Nodes per domain";
    /// Watches that a domain may have.
    watches = "watches", 128, "Watches per domain";
    /// Open transactions of a domain.
    transactions = "transactions", 10, "Transactions per domain";
    /// Events queued for a domain before they are coalesced.
    outstanding = "outstanding", 20, "Outstanding requests per domain";
    /// Nodes that a transaction may access.
    transaction_nodes = "transaction-nodes", 1024, "Max. number of accessed nodes per transaction";
    /// Memory of one domain, in bytes.
    memory = "memory", (2 << 20) + (512 << 10), "Total Xenstore memory per domain (error level)";
    /// Size of one node, in bytes.
    node_size = "node-size", 2048, "Max. size of a node";
    /// Length of a path, in bytes, besides the directory of a domain.
    path_length = "path-max", 2048, "Max. length of a node path";
    /// Permissions of one node.
    permissions = "permissions", 5, "Max. number of permissions per node";
}

impl Limits {
    /// Sets a soft quota by name. Returns whether there is one of this name.
    pub fn set_soft(&mut self, name: &str, value: u64) -> bool {
        let known = name == "memory";
        if known {
            self.memory_soft = value;
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::Limits;

    #[test]
    fn each_limit_is_set_by_the_name_it_is_listed_by() {
        let mut limits = Limits::default();
        for (name, ..) in Limits::default().list() {
            assert!(limits.set(name, 7), "{name}");
        }
        assert!(limits.list().iter().all(|(_, value, _)| *value == 7));
        assert!(!limits.set("none", 1) && !limits.set_soft("nodes", 1) && limits.set_soft("memory", 1));
    }
}
