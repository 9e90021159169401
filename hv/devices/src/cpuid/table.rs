//! The CPUID table of a domain.

use xenolith_hal::CpuidRegisters;

use super::features::{self, Capabilities, FeatureSet, INVARIANT_TSC, REPEATED, WORDS};

/// The number of leaves that are kept: 0 to 0xd, 7.0 to 7.2, 0xd.0 to 0xd.62, 0x80000000 to 0x80000021.
const BASIC: usize = 0xe;
const FEATURE: usize = 3;
const XSTATE: usize = 63;
const EXTENDED: usize = 0x22;
const EXTENDED_BASE: u32 = 0x8000_0000;
/// The last of each kind.
const LAST_BASIC: u32 = BASIC as u32 - 1;
const LAST_FEATURE: u32 = FEATURE as u32 - 1;
const LAST_EXTENDED: u32 = EXTENDED_BASE | (EXTENDED as u32 - 1);

/// Word 6: page tables of five levels (LA57).
const FIVE_LEVELS: u32 = 1 << 16;

/// `AuthenticAMD` and `HygonGenuine` in EBX.
const VENDOR_AMD: u32 = 0x6874_7541;
const VENDOR_HYGON: u32 = 0x6f67_7948;

/// The smallest save area: legacy registers and the header.
const XSAVE_LEGACY_SIZE: u32 = 576;

/// The table does not keep the leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeafError;

/// The CPUID table of a domain, apart from the bits that depend on the vCPU.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CpuidTable {
    basic: [CpuidRegisters; BASIC],
    feature: [CpuidRegisters; FEATURE],
    xstate: [CpuidRegisters; XSTATE],
    extended: [CpuidRegisters; EXTENDED],
    /// How many leaves from 0x40000000 and from 0x40000100 on the toolstack wants; 0 for all that there are.
    pub(super) hypervisor_limits: [u32; 2],
}

impl CpuidTable {
    /// Reads the host's CPUID, as far as the table keeps leaves. `host` returns a leaf and sub-leaf of the CPU.
    #[must_use]
    pub fn of_host(host: &dyn Fn(u32, u32) -> CpuidRegisters) -> Self {
        let max_basic = host(0, 0).eax;
        let max_extended = host(EXTENDED_BASE, 0).eax;
        let has = |leaf: u32| if leaf >= EXTENDED_BASE { leaf <= max_extended } else { leaf <= max_basic };
        let read = |leaf: u32, subleaf: u32| if has(leaf) { host(leaf, subleaf) } else { CpuidRegisters::default() };
        let max_feature = read(7, 0).eax;
        Self {
            basic: core::array::from_fn(|leaf| read(leaf as u32, 0)),
            feature: core::array::from_fn(|subleaf| match subleaf as u32 {
                subleaf if subleaf <= max_feature => read(7, subleaf),
                _ => CpuidRegisters::default(),
            }),
            xstate: core::array::from_fn(|subleaf| read(0xd, subleaf as u32)),
            extended: core::array::from_fn(|index| read(EXTENDED_BASE | index as u32, 0)),
            hypervisor_limits: [0; 2],
        }
    }

    /// Builds the table that a PVH guest is shown by default. `is_dom0` adds what only a domain that never migrates may
    /// rely on.
    #[must_use]
    pub fn for_guest(host: &dyn Fn(u32, u32) -> CpuidRegisters, capabilities: Capabilities, is_dom0: bool) -> Self {
        let mut table = Self::of_host(host);
        let invariant = table.leaf(EXTENDED_BASE | 7, 0).edx & INVARIANT_TSC;
        let raw = table.clone();
        let mut set =
            FeatureSet::read(&|leaf, subleaf| raw.leaf(leaf, subleaf)).for_guest(capabilities, table.is_amd());
        if is_dom0 && let Some(power) = set.0.get_mut(7) {
            *power |= invariant;
        }
        table.limit_leaves(capabilities);
        table.hide_what_is_not_the_guests();
        table.write_features(&set);
        table.limit_xstate(capabilities.xsave_components);
        table
    }

    pub(super) fn limit_leaves(&mut self, capabilities: Capabilities) {
        let amd = self.is_amd();
        if let Some(first) = self.basic.first_mut() {
            first.eax = first.eax.min(LAST_BASIC);
        }
        if let Some(first) = self.extended.first_mut() {
            // The leaf that says how LFENCE works is there on CPUs too old to have it.
            let at_least = if amd && capabilities.lfence_serializing { LAST_EXTENDED } else { 0 };
            first.eax = first.eax.min(LAST_EXTENDED).max(at_least);
        }
    }

    /// Clears topology, caches, power management and all else that describes the host's package.
    pub(super) fn hide_what_is_not_the_guests(&mut self) {
        let amd = self.is_amd();
        let zero = CpuidRegisters::default();
        for (leaf, out) in self.basic.iter_mut().enumerate() {
            match leaf {
                1 => {
                    out.eax &= 0x0fff_0fff;
                    out.ebx &= 0x00ff_ffff;
                }
                2 | 4 if amd => *out = zero,
                3 | 5 | 6 | 8..=0xc => *out = zero,
                _ => {}
            }
        }
        let vendor = self.leaf(0, 0);
        for (index, out) in self.extended.iter_mut().enumerate() {
            match index {
                0 if amd => *out = CpuidRegisters { eax: out.eax, ..vendor },
                1 if amd => out.ebx &= 0xff00_ffff,
                7 => (out.eax, out.ebx, out.ecx) = (0, 0, 0),
                8 => {
                    // How wide a guest of the host's other hypervisor would be is nobody's business.
                    out.eax &= 0xffff;
                    out.ecx &= 0x0003_f0ff;
                    out.edx = 0;
                }
                9..=0x18 | 0x1b..=0x20 => *out = zero,
                0x21 => (out.ebx, out.edx) = (0, 0),
                _ => {}
            }
        }
    }

    pub(super) fn write_features(&mut self, set: &FeatureSet) {
        let amd = self.is_amd();
        for index in 0..WORDS {
            let Some((leaf, subleaf, field)) = features::place(index) else { continue };
            let mut word = set.word(index);
            if index == 2 && amd {
                word |= set.word(0) & REPEATED;
            }
            if let Some(out) = self.slot(leaf, subleaf) {
                *field.of(out) = word;
            }
        }
        // Linear addresses are as wide as the guest's page tables have levels for, whatever the host has.
        let most = if set.word(6) & FIVE_LEVELS != 0 { 57 } else { 48 };
        if let Some(out) = self.slot(EXTENDED_BASE | 8, 0) {
            out.eax = (out.eax & !0xff00) | (out.eax >> 8 & 0xff).min(most) << 8;
        }
        let last = if set.word(13) != 0 { 2 } else { 0 };
        if let Some(out) = self.slot(7, 0) {
            out.eax = out.eax.min(if set.word(10) != 0 { last.max(1) } else { last });
        }
    }

    pub(super) fn limit_xstate(&mut self, components: u64) {
        let zero = CpuidRegisters::default();
        let (low, high) = (components as u32, (components >> 32) as u32);
        let offered = match self.slot(0xd, 0) {
            Some(first) => {
                (first.eax, first.edx) = (first.eax & low, first.edx & high);
                u64::from(first.edx) << 32 | u64::from(first.eax)
            }
            None => 0,
        };
        for (subleaf, out) in self.xstate.iter_mut().enumerate() {
            match subleaf {
                0 if offered == 0 => *out = zero,
                0 => {}
                1 => (out.ebx, out.ecx, out.edx) = (0, 0, 0),
                _ if offered & (1 << subleaf) == 0 => *out = zero,
                _ => {}
            }
        }
        if offered != 0 {
            let size = self.xsave_size(offered);
            if let Some(first) = self.slot(0xd, 0) {
                (first.ebx, first.ecx) = (XSAVE_LEGACY_SIZE, size);
            }
        }
    }

    /// Returns the size in bytes of the XSAVE area with these components enabled.
    #[must_use]
    pub fn xsave_size(&self, components: u64) -> u32 {
        let extended = self.xstate.iter().enumerate().skip(2);
        let enabled = extended.filter(|(component, _)| components & (1 << component) != 0);
        let ends = enabled.map(|(_, area)| area.eax.saturating_add(area.ebx));
        ends.max().unwrap_or(0).max(XSAVE_LEGACY_SIZE)
    }

    /// Returns whether the CPU is AMD's or Hygon's.
    #[must_use]
    pub fn is_amd(&self) -> bool {
        matches!(self.leaf(0, 0).ebx, VENDOR_AMD | VENDOR_HYGON)
    }

    /// Returns the family, with the extended family added. **Source:** AMD manual volume 3, E.3.2.
    #[must_use]
    pub fn family(&self) -> u32 {
        let signature = self.leaf(1, 0).eax;
        match (signature >> 8) & 0xf {
            // Two numbers of at most 8 bits.
            0xf => ((signature >> 20) & 0xff).wrapping_add(0xf),
            family => family,
        }
    }

    /// Returns the feature words.
    #[must_use]
    pub fn features(&self) -> FeatureSet {
        FeatureSet::read(&|leaf, subleaf| self.leaf(leaf, subleaf))
    }

    /// Returns the last leaf that is kept and present.
    pub(super) fn last_basic(&self) -> u32 {
        self.leaf(0, 0).eax.min(LAST_BASIC)
    }

    /// Returns the last subleaf of leaf 7 that is kept and present.
    pub(super) fn last_feature(&self) -> u32 {
        self.leaf(7, 0).eax.min(LAST_FEATURE)
    }

    /// Returns the last extended leaf that is kept and present; below the first if there is none.
    pub(super) fn last_extended(&self) -> u32 {
        self.leaf(EXTENDED_BASE, 0).eax.min(LAST_EXTENDED)
    }

    /// Returns whether XSAVE has this component, by XCR0 or by XSS.
    pub(super) fn has_component(&self, component: u32) -> bool {
        let (user, system) = (self.leaf(0xd, 0), self.leaf(0xd, 1));
        let low = u64::from(user.eax | system.ecx);
        let high = u64::from(user.edx | system.edx);
        component < XSTATE as u32 && (high << 32 | low) & (1 << component) != 0
    }

    /// Copies the layout of the XSAVE area from `other`: the hardware alone decides it.
    pub(super) const fn take_xstate_of(&mut self, other: &Self) {
        self.xstate = other.xstate;
    }

    /// Returns whether the guest may ask for this leaf at all.
    #[must_use]
    pub fn has_leaf(&self, leaf: u32) -> bool {
        let first = if leaf >= EXTENDED_BASE { self.extended.first() } else { self.basic.first() };
        first.is_some_and(|first| leaf <= first.eax)
    }

    /// Returns a leaf of the table, zeros for one that is not kept.
    #[must_use]
    pub fn leaf(&self, leaf: u32, subleaf: u32) -> CpuidRegisters {
        // Leaves 0 say which others there are, so they are there.
        if leaf & !EXTENDED_BASE != 0 && !self.has_leaf(leaf) {
            return CpuidRegisters::default();
        }
        let index = subleaf as usize;
        let entry = match leaf {
            7 => self.feature.get(index),
            0xd => self.xstate.get(index),
            EXTENDED_BASE.. => self.extended.get((leaf & !EXTENDED_BASE) as usize),
            _ => self.basic.get(leaf as usize),
        };
        entry.copied().unwrap_or_default()
    }

    fn slot(&mut self, leaf: u32, subleaf: u32) -> Option<&mut CpuidRegisters> {
        let index = subleaf as usize;
        match leaf {
            7 => self.feature.get_mut(index),
            0xd => self.xstate.get_mut(index),
            EXTENDED_BASE.. => self.extended.get_mut((leaf & !EXTENDED_BASE) as usize),
            _ => self.basic.get_mut(leaf as usize),
        }
    }

    /// Replaces a leaf, as the toolstack does when it builds a domain. The caller checks that the guest gets no more
    /// than [`CpuidTable::for_guest`] allows.
    ///
    /// **Errors:** [`LeafError`] for a leaf that the table does not keep.
    pub fn set_leaf(&mut self, leaf: u32, subleaf: u32, registers: CpuidRegisters) -> Result<(), LeafError> {
        let slot = self.slot(leaf, subleaf).ok_or(LeafError)?;
        *slot = registers;
        Ok(())
    }
}
