//! The options of Xen 4.17 for x86 that nothing here takes.
//!
//! Each of them on a command line gives one line in the log that says it is not in this build, so that it is not taken
//! for a typing error. Where the build behaves as the option asks anyway, nothing is said.
//!
//! **Source:** `docs/misc/xen-command-line.pandoc` of 4.17.

use crate::option_word::{Refusal, Word};

/// What this build does without the option.
#[derive(Clone, Copy)]
enum Is {
    /// As if it had been switched on.
    On,
    /// As if it had been switched off.
    Off,
    /// As if this had been its value.
    Value(&'static str),
    /// Nothing that the option could ask for.
    Nothing,
}
use Is::{Nothing, Off, On, Value};

/// The options by name, sorted.
const OPTIONS: &[(&str, Is)] = &[
    ("acpi", On),
    ("acpi_apic_instance", Nothing),
    ("acpi_pstate_strict", Off),
    ("acpi_skip_timer_override", Off),
    ("acpi_sleep", Nothing),
    ("allow_unsafe", Off),
    ("altp2m", Off),
    ("apic", Value("default")),
    ("apic_verbosity", Nothing),
    ("apicv", Off),
    ("arat", On),
    ("argo", Off),
    ("asid", On),
    ("async-show-all", Off),
    ("ats", Off),
    ("badpage", Nothing),
    ("bootscrub", Nothing),
    ("bootscrub_chunk", Nothing),
    ("cet", Off),
    ("clocksource", Value("tsc")),
    ("cmci-threshold", Nothing),
    ("cmos-rtc-probe", Off),
    ("core_parking", Nothing),
    ("cpu_type", Nothing),
    ("cpufreq", Value("none")),
    ("cpuid", Nothing),
    ("cpuid_mask_cpu", Nothing),
    ("cpuid_mask_ecx", Nothing),
    ("cpuid_mask_edx", Nothing),
    ("cpuid_mask_ext_ecx", Nothing),
    ("cpuid_mask_ext_edx", Nothing),
    ("cpuid_mask_l7s0_eax", Nothing),
    ("cpuid_mask_l7s0_ebx", Nothing),
    ("cpuid_mask_thermal_ecx", Nothing),
    ("cpuid_mask_xsave_eax", Nothing),
    ("cpuidle", Off),
    ("cpuinfo", Off),
    ("crash-debug-debugkey", Nothing),
    ("crash-debug-hwdom", Nothing),
    ("crash-debug-kexeccmd", Nothing),
    ("crash-debug-panic", Nothing),
    ("crash-debug-watchdog", Nothing),
    ("crashinfo_maxaddr", Nothing),
    ("crashkernel", Nothing),
    ("credit2_balance_over", Nothing),
    ("credit2_balance_under", Nothing),
    ("credit2_cap_period_ms", Nothing),
    ("credit2_load_precision_shift", Nothing),
    ("credit2_load_window_shift", Nothing),
    ("credit2_runqueue", Nothing),
    ("dbgp", Nothing),
    ("debug_stack_lines", Nothing),
    ("debugtrace", Nothing),
    ("dit", Off),
    ("dma_bits", Nothing),
    ("dom0-cpuid", Nothing),
    ("dom0_ioports_disable", Nothing),
    ("dom0_nodes", Nothing),
    ("e820-mtrr-clip", Off),
    ("e820-verbose", Off),
    ("edd", Off),
    ("edid", Off),
    ("efi", Nothing),
    ("ept", Nothing),
    ("extra_guest_irqs", Nothing),
    ("flask", Value("disabled")),
    ("font", Nothing),
    ("force-ept", Off),
    ("gdb", Nothing),
    ("global-pages", Nothing),
    ("hap", On),
    ("hap_1gb", On),
    ("hap_2mb", On),
    ("hardware_dom", Value("0")),
    ("hest_disable", On),
    ("highmem-start", Nothing),
    ("hpet", On),
    ("hpetbroadcast", Off),
    ("hvm_debug", Value("0")),
    ("hvm_fep", Off),
    ("hvm_port80", On),
    ("idle_latency_factor", Nothing),
    ("invpcid", Off),
    ("ioapic_ack", Nothing),
    ("iommu_dev_iotlb_timeout", Nothing),
    ("iommu_inclusive_mapping", Off),
    ("irq-max-guests", Nothing),
    ("irq_ratelimit", Nothing),
    ("irq_vector_map", Nothing),
    ("ivmd", Nothing),
    ("lapic", On),
    ("lapic_timer_c2_ok", Nothing),
    ("ler", Off),
    ("low_crashinfo", Value("none")),
    ("low_mem_virq_limit", Value("0")),
    ("max_cstate", Nothing),
    ("max_gsi_irqs", Nothing),
    ("mce", Nothing),
    ("mce_fb", Off),
    ("mce_verbosity", Nothing),
    ("memop-max-order", Nothing),
    ("mmcfg", On),
    ("mmio-relax", Off),
    ("msi", On),
    ("mtrr.show", Off),
    ("mwait-idle", Off),
    ("nmi", Nothing),
    ("noapic", Off),
    ("noirqbalance", On),
    ("nolapic", Off),
    ("nr_irqs", Nothing),
    ("numa", Off),
    ("pci", Nothing),
    ("pci-phantom", Nothing),
    ("pcid", Off),
    ("pku", Off),
    ("ple_gap", Nothing),
    ("ple_window", Nothing),
    ("preferred-cstates", Nothing),
    ("psr", Nothing),
    ("pv", Nothing),
    ("pv-l1tf", Off),
    ("pv-linear-pt", Off),
    ("pv-shim", Off),
    ("rcu-idle-timer-period-ms", Nothing),
    // GRUB's script passes `no-real-mode` for the sake of BIOS calls, of which there are none here.
    ("real-mode", Off),
    ("rmrr", Nothing),
    ("ro-hpet", Nothing),
    ("sched-gran", Value("cpu")),
    ("sched_credit2_max_cpus_runqueue", Nothing),
    ("sched_credit2_migrate_resist", Nothing),
    ("sched_credit_tslice_ms", Nothing),
    ("sched_ratelimit_us", Nothing),
    ("sched_smt_power_savings", Off),
    ("scrub-domheap", On),
    ("serial_tx_buffer", Nothing),
    ("shim_mem", Nothing),
    ("smt", On),
    ("snb_igd_quirk", Off),
    ("spec-ctrl", Off),
    ("tboot", Nothing),
    ("tbuf_size", Nothing),
    ("tdt", On),
    ("tevt_mask", Nothing),
    ("tickle_one_idle_cpu", Nothing),
    ("timer_slop", Nothing),
    ("tsc", Nothing),
    ("tsx", Nothing),
    ("ucode", Nothing),
    ("unrestricted_guest", Off),
    ("vcpu_migration_delay", Value("0")),
    ("vesa-ram", Nothing),
    ("vga", Nothing),
    ("viridian-spinlock-retry-count", Nothing),
    ("viridian-version", Nothing),
    ("vm-notify-window", Nothing),
    ("vpid", Off),
    ("vpmu", Off),
    ("x2apic-mode", Value("physical")),
    ("x2apic_phys", On),
    ("xpti", Off),
    ("xsave", Off),
    ("xsm", Value("dummy")),
];

/// Names with a number in brackets behind them.
const NUMBERED: &[&str] = &["ivrs_hpet[", "ivrs_ioapic["];

/// Looks at an option that nothing here takes.
///
/// **Errors:** `Unknown` where Xen has none of this name either; `NotBuilt` where it asks for what is not there.
pub(crate) fn look_up(word: Word<'_>) -> Result<(), Refusal> {
    if NUMBERED.iter().any(|start| word.name.starts_with(start)) {
        return Err(Refusal::NotBuilt);
    }
    let (_, is) = OPTIONS.iter().find(|(name, _)| *name == word.name).ok_or(Refusal::Unknown)?;
    let asks_for_that = match is {
        On => word.boolean() == Ok(true),
        Off => word.boolean() == Ok(false),
        Value(value) => word.value == Some(value),
        Nothing => false,
    };
    if asks_for_that { Ok(()) } else { Err(Refusal::NotBuilt) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_stands_in_the_document() {
        let document = include_str!("../../../docs/options.md");
        for (name, _) in OPTIONS {
            assert!(document.contains(&alloc::format!("| `{name}` |")), "{name}");
        }
    }

    #[test]
    fn the_names_are_sorted_and_none_stands_twice() {
        assert!(OPTIONS.is_sorted_by(|(a, _), (b, _)| a < b));
    }
}
