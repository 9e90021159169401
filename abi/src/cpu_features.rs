//! CPU features, as bits of the words that CPUID returns.
//!
//! A *featureset* is an array of such words. The number of a feature is 32 times its word plus its bit.
//!
//! **Source:** `arch-x86/cpufeatureset.h`.

use crate::describe::{Constant, Table};

/// A CPU feature: its number in a featureset.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Feature(pub u16);

impl Feature {
    /// Returns the index of its word in a featureset.
    #[must_use]
    pub const fn word(self) -> usize {
        (self.0 / 32) as usize
    }

    /// Returns the mask of its bit in that word.
    #[must_use]
    pub const fn mask(self) -> u32 {
        1 << (self.0 % 32)
    }

    /// Returns whether a featureset has the feature; false if the featureset is too short for its word.
    #[must_use]
    pub fn is_in(self, featureset: &[u32]) -> bool {
        featureset.get(self.word()).is_some_and(|word| word & self.mask() != 0)
    }
}

/// Number of words of a featureset.
pub const FEATURESET_WORDS: usize = 19;

macro_rules! features {
    ($( word $word:literal, $from:literal { $( $name:ident $c:literal $bit:literal, )* } )*) => {
        $( $(
            #[doc = concat!("`", $c, "`: bit ", $bit, " of ", $from, ".")]
            pub const $name: Feature = Feature($word * 32 + $bit);
        )* )*

        #[doc(hidden)]
        pub const CONSTANTS: Table = Table {
            module: module_path!(),
            constants: &[$( $(
                Constant {
                    name: stringify!($name),
                    c_expression: concat!("XEN_X86_FEATURE_", $c),
                    value: $name.0 as i128,
                },
            )* )*],
        };
    };
}

features! {
    word 0, "leaf 1, `edx`" {
        FPU "FPU" 0,
        VME "VME" 1,
        DE "DE" 2,
        PSE "PSE" 3,
        TSC "TSC" 4,
        MSR "MSR" 5,
        PAE "PAE" 6,
        MCE "MCE" 7,
        CX8 "CX8" 8,
        APIC "APIC" 9,
        SEP "SEP" 11,
        MTRR "MTRR" 12,
        PGE "PGE" 13,
        MCA "MCA" 14,
        CMOV "CMOV" 15,
        PAT "PAT" 16,
        PSE36 "PSE36" 17,
        CLFLUSH "CLFLUSH" 19,
        DS "DS" 21,
        ACPI "ACPI" 22,
        MMX "MMX" 23,
        FXSR "FXSR" 24,
        SSE "SSE" 25,
        SSE2 "SSE2" 26,
        SS "SS" 27,
        HTT "HTT" 28,
        TM1 "TM1" 29,
        PBE "PBE" 31,
    }
    word 1, "leaf 1, `ecx`" {
        SSE3 "SSE3" 0,
        PCLMULQDQ "PCLMULQDQ" 1,
        DTES64 "DTES64" 2,
        MONITOR "MONITOR" 3,
        DSCPL "DSCPL" 4,
        VMX "VMX" 5,
        SMX "SMX" 6,
        EIST "EIST" 7,
        TM2 "TM2" 8,
        SSSE3 "SSSE3" 9,
        FMA "FMA" 12,
        CX16 "CX16" 13,
        XTPR "XTPR" 14,
        PDCM "PDCM" 15,
        PCID "PCID" 17,
        DCA "DCA" 18,
        SSE4_1 "SSE4_1" 19,
        SSE4_2 "SSE4_2" 20,
        X2APIC "X2APIC" 21,
        MOVBE "MOVBE" 22,
        POPCNT "POPCNT" 23,
        TSC_DEADLINE "TSC_DEADLINE" 24,
        AESNI "AESNI" 25,
        XSAVE "XSAVE" 26,
        OSXSAVE "OSXSAVE" 27,
        AVX "AVX" 28,
        F16C "F16C" 29,
        RDRAND "RDRAND" 30,
        HYPERVISOR "HYPERVISOR" 31,
    }
    word 2, "leaf 0x80000001, `edx`" {
        SYSCALL "SYSCALL" 11,
        NX "NX" 20,
        MMXEXT "MMXEXT" 22,
        FFXSR "FFXSR" 25,
        PAGE1GB "PAGE1GB" 26,
        RDTSCP "RDTSCP" 27,
        LM "LM" 29,
        AMD_3DNOWEXT "3DNOWEXT" 30,
        AMD_3DNOW "3DNOW" 31,
    }
    word 3, "leaf 0x80000001, `ecx`" {
        LAHF_LM "LAHF_LM" 0,
        CMP_LEGACY "CMP_LEGACY" 1,
        SVM "SVM" 2,
        EXTAPIC "EXTAPIC" 3,
        CR8_LEGACY "CR8_LEGACY" 4,
        ABM "ABM" 5,
        SSE4A "SSE4A" 6,
        MISALIGNSSE "MISALIGNSSE" 7,
        AMD_3DNOWPREFETCH "3DNOWPREFETCH" 8,
        OSVW "OSVW" 9,
        IBS "IBS" 10,
        XOP "XOP" 11,
        SKINIT "SKINIT" 12,
        WDT "WDT" 13,
        LWP "LWP" 15,
        FMA4 "FMA4" 16,
        NODEID_MSR "NODEID_MSR" 19,
        TBM "TBM" 21,
        TOPOEXT "TOPOEXT" 22,
        DBEXT "DBEXT" 26,
        MONITORX "MONITORX" 29,
    }
    word 4, "leaf 0xd, subleaf 1, `eax`" {
        XSAVEOPT "XSAVEOPT" 0,
        XSAVEC "XSAVEC" 1,
        XGETBV1 "XGETBV1" 2,
        XSAVES "XSAVES" 3,
    }
    word 5, "leaf 7, `ebx`" {
        FSGSBASE "FSGSBASE" 0,
        TSC_ADJUST "TSC_ADJUST" 1,
        SGX "SGX" 2,
        BMI1 "BMI1" 3,
        HLE "HLE" 4,
        AVX2 "AVX2" 5,
        FDP_EXCP_ONLY "FDP_EXCP_ONLY" 6,
        SMEP "SMEP" 7,
        BMI2 "BMI2" 8,
        ERMS "ERMS" 9,
        INVPCID "INVPCID" 10,
        RTM "RTM" 11,
        PQM "PQM" 12,
        NO_FPU_SEL "NO_FPU_SEL" 13,
        MPX "MPX" 14,
        PQE "PQE" 15,
        AVX512F "AVX512F" 16,
        AVX512DQ "AVX512DQ" 17,
        RDSEED "RDSEED" 18,
        ADX "ADX" 19,
        SMAP "SMAP" 20,
        AVX512_IFMA "AVX512_IFMA" 21,
        CLFLUSHOPT "CLFLUSHOPT" 23,
        CLWB "CLWB" 24,
        PROC_TRACE "PROC_TRACE" 25,
        AVX512PF "AVX512PF" 26,
        AVX512ER "AVX512ER" 27,
        AVX512CD "AVX512CD" 28,
        SHA "SHA" 29,
        AVX512BW "AVX512BW" 30,
        AVX512VL "AVX512VL" 31,
    }
    word 6, "leaf 7, `ecx`" {
        PREFETCHWT1 "PREFETCHWT1" 0,
        AVX512_VBMI "AVX512_VBMI" 1,
        UMIP "UMIP" 2,
        PKU "PKU" 3,
        OSPKE "OSPKE" 4,
        AVX512_VBMI2 "AVX512_VBMI2" 6,
        CET_SS "CET_SS" 7,
        GFNI "GFNI" 8,
        VAES "VAES" 9,
        VPCLMULQDQ "VPCLMULQDQ" 10,
        AVX512_VNNI "AVX512_VNNI" 11,
        AVX512_BITALG "AVX512_BITALG" 12,
        AVX512_VPOPCNTDQ "AVX512_VPOPCNTDQ" 14,
        RDPID "RDPID" 22,
        CLDEMOTE "CLDEMOTE" 25,
        MOVDIRI "MOVDIRI" 27,
        MOVDIR64B "MOVDIR64B" 28,
        ENQCMD "ENQCMD" 29,
    }
    word 7, "leaf 0x80000007, `edx`" {
        HW_PSTATE "HW_PSTATE" 7,
        ITSC "ITSC" 8,
        CPB "CPB" 9,
        EFRO "EFRO" 10,
    }
    word 8, "leaf 0x80000008, `ebx`" {
        CLZERO "CLZERO" 0,
        RSTR_FP_ERR_PTRS "RSTR_FP_ERR_PTRS" 2,
        WBNOINVD "WBNOINVD" 9,
        IBPB "IBPB" 12,
        IBRS "IBRS" 14,
        AMD_STIBP "AMD_STIBP" 15,
        IBRS_ALWAYS "IBRS_ALWAYS" 16,
        STIBP_ALWAYS "STIBP_ALWAYS" 17,
        IBRS_FAST "IBRS_FAST" 18,
        IBRS_SAME_MODE "IBRS_SAME_MODE" 19,
        NO_LMSL "NO_LMSL" 20,
        AMD_PPIN "AMD_PPIN" 23,
        AMD_SSBD "AMD_SSBD" 24,
        VIRT_SSBD "VIRT_SSBD" 25,
        SSB_NO "SSB_NO" 26,
        PSFD "PSFD" 28,
        BTC_NO "BTC_NO" 29,
        IBPB_RET "IBPB_RET" 30,
    }
    word 9, "leaf 7, `edx`" {
        AVX512_4VNNIW "AVX512_4VNNIW" 2,
        AVX512_4FMAPS "AVX512_4FMAPS" 3,
        FSRM "FSRM" 4,
        AVX512_VP2INTERSECT "AVX512_VP2INTERSECT" 8,
        SRBDS_CTRL "SRBDS_CTRL" 9,
        MD_CLEAR "MD_CLEAR" 10,
        RTM_ALWAYS_ABORT "RTM_ALWAYS_ABORT" 11,
        TSX_FORCE_ABORT "TSX_FORCE_ABORT" 13,
        SERIALIZE "SERIALIZE" 14,
        HYBRID "HYBRID" 15,
        TSXLDTRK "TSXLDTRK" 16,
        CET_IBT "CET_IBT" 20,
        AVX512_FP16 "AVX512_FP16" 23,
        IBRSB "IBRSB" 26,
        STIBP "STIBP" 27,
        L1D_FLUSH "L1D_FLUSH" 28,
        ARCH_CAPS "ARCH_CAPS" 29,
        CORE_CAPS "CORE_CAPS" 30,
        SSBD "SSBD" 31,
    }
    word 10, "leaf 7, subleaf 1, `eax`" {
        AVX_VNNI "AVX_VNNI" 4,
        AVX512_BF16 "AVX512_BF16" 5,
        FZRM "FZRM" 10,
        FSRS "FSRS" 11,
        FSRCS "FSRCS" 12,
    }
    word 11, "leaf 0x80000021, `eax`" {
        LFENCE_DISPATCH "LFENCE_DISPATCH" 2,
        VERW_CLEAR "VERW_CLEAR" 5,
        NSCB "NSCB" 6,
        AUTO_IBRS "AUTO_IBRS" 8,
        SBPB "SBPB" 27,
        IBPB_BRTYPE "IBPB_BRTYPE" 28,
        SRSO_NO "SRSO_NO" 29,
        SRSO_US_NO "SRSO_US_NO" 30,
        SRSO_MSR_FIX "SRSO_MSR_FIX" 31,
    }
    word 12, "leaf 7, subleaf 1, `ebx`" {
        INTEL_PPIN "INTEL_PPIN" 0,
    }
    word 13, "leaf 7, subleaf 2, `edx`" {
        INTEL_PSFD "INTEL_PSFD" 0,
        IPRED_CTRL "IPRED_CTRL" 1,
        RRSBA_CTRL "RRSBA_CTRL" 2,
        BHI_CTRL "BHI_CTRL" 4,
        MCDT_NO "MCDT_NO" 5,
    }
    word 15, "leaf 7, subleaf 1, `edx`" {
        CET_SSS "CET_SSS" 18,
    }
    word 16, "the capabilities MSR 0x10a, low half" {
        RDCL_NO "RDCL_NO" 0,
        EIBRS "EIBRS" 1,
        RSBA "RSBA" 2,
        SKIP_L1DFL "SKIP_L1DFL" 3,
        INTEL_SSB_NO "INTEL_SSB_NO" 4,
        MDS_NO "MDS_NO" 5,
        IF_PSCHANGE_MC_NO "IF_PSCHANGE_MC_NO" 6,
        TSX_CTRL "TSX_CTRL" 7,
        TAA_NO "TAA_NO" 8,
        MCU_CTRL "MCU_CTRL" 9,
        MISC_PKG_CTRL "MISC_PKG_CTRL" 10,
        ENERGY_FILTERING "ENERGY_FILTERING" 11,
        DOITM "DOITM" 12,
        SBDR_SSDP_NO "SBDR_SSDP_NO" 13,
        FBSDP_NO "FBSDP_NO" 14,
        PSDP_NO "PSDP_NO" 15,
        FB_CLEAR "FB_CLEAR" 17,
        FB_CLEAR_CTRL "FB_CLEAR_CTRL" 18,
        RRSBA "RRSBA" 19,
        BHI_NO "BHI_NO" 20,
        XAPIC_STATUS "XAPIC_STATUS" 21,
        OVRCLK_STATUS "OVRCLK_STATUS" 23,
        PBRSB_NO "PBRSB_NO" 24,
        GDS_CTRL "GDS_CTRL" 25,
        GDS_NO "GDS_NO" 26,
        RFDS_NO "RFDS_NO" 27,
        RFDS_CLEAR "RFDS_CLEAR" 28,
    }
    word 17, "the capabilities MSR 0x10a, high half" {
        ITS_NO "ITS_NO" 30,
    }
    word 18, "leaf 0x80000021, `ecx`" {
        TSA_SQ_NO "TSA_SQ_NO" 1,
        TSA_L1_NO "TSA_L1_NO" 2,
    }
}

#[cfg(test)]
mod tests {
    use super::{ITSC, SVM};

    #[test]
    fn a_feature_knows_its_word_and_bit() {
        assert_eq!((ITSC.word(), ITSC.mask()), (7, 1 << 8));
        assert!(SVM.is_in(&[0, 0, 0, 4]));
        assert!(!SVM.is_in(&[0, 0, 0, !4]));
        assert!(!SVM.is_in(&[0, 0, 0]));
    }
}
