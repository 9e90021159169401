//! What an ordinary domain may not do: set its toolstack's parameters, map pages of others. The errnos are the ones
//! that real Xen was measured to give.

use crate::call_lists::{LIST, SECOND_LIST, address, read_list, write_list};
use xen_abi::hvm_op::{HVMOP_GET_PARAM, HVMOP_SET_PARAM, HvmParam};
use xen_abi::hvm_param::*;
use xen_abi::hypercall::{HVM_OP, MEMORY_OP};
use xen_abi::memory::*;
use xen_abi::physmap::*;
use xen_abi::{DomId, Errno, Gfn, GuestHandle};
use xenolith_hal::NestedSpace;
use xenolith_world::{Answer, World};

/// The domain that asks, and another one like it.
const OWN: u16 = 1;
const OTHER: u16 = 2;
const NOBODY: u16 = 9;
const ERRORS: Gfn = Gfn(18);
const HOLE: u64 = 0x100;

fn world() -> World {
    World::new(&[1, 1, 1])
}

fn param(world: &World, op: u32, domid: DomId, index: u32, value: u64) -> Answer {
    let mut param = HvmParam { domid, pad: 0, index, value };
    world.call_with(OWN, HVM_OP, op, &mut param).map(|_| param.value)
}

/// Returns the numbers of the parameters for which a call gives this.
fn params_that(give: Result<(), Errno>, call: impl Fn(u32) -> Answer) -> Vec<u32> {
    (0..HVM_NR_PARAMS + 2).filter(|index| call(*index).map(|_| ()) == give).collect()
}

/// Numbers that no parameter has any more.
const GONE: [u32; 10] = [4, 13, 20, 21, 22, 23, 24, 25, 26, 30];

#[test]
fn a_domain_sets_the_parameters_that_are_its_own_and_no_other() {
    let world = world();
    let set = |index| param(&world, HVMOP_SET_PARAM, DomId::SELF, index, 0);
    let may_be_set = [
        HVM_PARAM_CALLBACK_IRQ,
        HVM_PARAM_STORE_EVTCHN,
        HVM_PARAM_VM86_TSS,
        HVM_PARAM_CONSOLE_EVTCHN,
        HVM_PARAM_VM_GENERATION_ID_ADDR,
        HVM_PARAM_X87_FIP_WIDTH,
        HVM_PARAM_VM86_TSS_SIZED,
    ];
    let mut allowed = params_that(Ok(()), set);
    allowed.sort_unstable();
    let mut expected = may_be_set.to_vec();
    expected.sort_unstable();
    assert_eq!(allowed, expected);
    assert_eq!(params_that(Err(Errno::ENODEV), set), [HVM_PARAM_ACPI_IOPORTS_LOCATION]);
    let none: Vec<u32> = GONE.into_iter().chain([HVM_NR_PARAMS, HVM_NR_PARAMS + 1]).collect();
    assert_eq!(params_that(Err(Errno::EINVAL), set), none);
    let refused = params_that(Err(Errno::EPERM), set);
    assert_eq!(refused.len() + allowed.len() + none.len() + 1, HVM_NR_PARAMS as usize + 2, "nothing else is said");
    for index in [HVM_PARAM_STORE_PFN, HVM_PARAM_CONSOLE_PFN, HVM_PARAM_IDENT_PT, HVM_PARAM_ALTP2M, HVM_PARAM_VIRIDIAN]
    {
        assert!(refused.contains(&index), "{index}");
    }
}

#[test]
fn a_refused_parameter_keeps_the_value_that_the_toolstack_gave_it() {
    let world = world();
    let own = world.domain(OWN);
    for index in params_that(Err(Errno::EPERM), |index| param(&world, HVMOP_SET_PARAM, DomId::SELF, index, 0)) {
        // What each may hold.
        let given = u64::from(own.params.set(index, 1, false).is_ok());
        assert_eq!(param(&world, HVMOP_SET_PARAM, DomId::SELF, index, 0), Err(Errno::EPERM));
        assert_eq!(own.params.get(index, false), Ok(given), "{index}");
    }
}

#[test]
fn a_domain_reads_the_parameters_that_are_meant_for_it_and_no_other() {
    let world = world();
    let get = |index| param(&world, HVMOP_GET_PARAM, DomId::SELF, index, 0);
    let mut expected = vec![
        HVM_PARAM_CALLBACK_IRQ,
        HVM_PARAM_STORE_PFN,
        HVM_PARAM_STORE_EVTCHN,
        HVM_PARAM_VM86_TSS,
        HVM_PARAM_CONSOLE_PFN,
        HVM_PARAM_CONSOLE_EVTCHN,
        HVM_PARAM_ACPI_IOPORTS_LOCATION,
        HVM_PARAM_VM_GENERATION_ID_ADDR,
        HVM_PARAM_ALTP2M,
        HVM_PARAM_X87_FIP_WIDTH,
        HVM_PARAM_VM86_TSS_SIZED,
    ];
    expected.sort_unstable();
    assert_eq!(params_that(Ok(()), get), expected);
    let none: Vec<u32> = GONE.into_iter().chain([HVM_NR_PARAMS, HVM_NR_PARAMS + 1]).collect();
    assert_eq!(params_that(Err(Errno::EINVAL), get), none);
    let refused = params_that(Err(Errno::EPERM), get).len();
    assert_eq!(refused + expected.len() + none.len(), HVM_NR_PARAMS as usize + 2, "nothing else is said");
}

#[test]
fn the_parameters_of_others_are_neither_set_nor_read() {
    let world = world();
    for op in [HVMOP_SET_PARAM, HVMOP_GET_PARAM] {
        for other in [0, OTHER] {
            let given = params_that(Err(Errno::EPERM), |index| param(&world, op, DomId(other), index, 5));
            assert_eq!(given, (0..HVM_NR_PARAMS).collect::<Vec<_>>(), "of d{other}, whatever it is");
        }
        assert_eq!(param(&world, op, DomId(NOBODY), 0, 5), Err(Errno::ESRCH));
        assert_eq!(param(&world, op, DomId(NOBODY), HVM_NR_PARAMS, 5), Err(Errno::EINVAL), "before it is looked for");
    }
    for other in [0, OTHER] {
        assert_eq!(world.domain(other).params.get(HVM_PARAM_CALLBACK_IRQ, false), Ok(0));
    }
}

/// Returns the errno of one page of `owner` that the domain asks for at its frame [`HOLE`].
fn map_foreign(world: &World, owner: DomId) -> Result<i32, Errno> {
    write_list(world, OWN, LIST, &[3_u64]);
    write_list(world, OWN, SECOND_LIST, &[HOLE]);
    write_list(world, OWN, ERRORS, &[0x55_i32]);
    let mut op = AddToPhysmapBatch {
        domid: DomId::SELF,
        space: XENMAPSPACE_GMFN_FOREIGN as u16,
        size: 1,
        foreign_domid: owner,
        idxs: GuestHandle::new(address(LIST)),
        gpfns: GuestHandle::new(address(SECOND_LIST)),
        errs: GuestHandle::new(address(ERRORS)),
    };
    world.call_with(OWN, MEMORY_OP, XENMEM_ADD_TO_PHYSMAP_BATCH, &mut op)?;
    Ok(read_list::<i32>(world, OWN, ERRORS, 1)[0])
}

#[test]
fn no_page_of_another_domain_is_mapped_whoever_it_belongs_to() {
    let world = world();
    let states = |world: &World| {
        [0, OTHER].map(|dom| {
            let mfn = world.domain(dom).space.lookup(Gfn(3)).unwrap().mfn;
            world.hv.frames.state(mfn).unwrap().references
        })
    };
    let before = states(&world);
    for owner in [0, OWN, OTHER, NOBODY, DomId::SELF.0, DomId::INVALID.0] {
        assert_eq!(map_foreign(&world, DomId(owner)), Ok(-Errno::EPERM.number()), "d{owner}");
        assert!(world.domain(OWN).space.lookup(Gfn(HOLE)).is_none());
    }
    assert_eq!(states(&world), before, "no reference is left");
}

#[test]
fn nothing_is_placed_in_the_memory_of_others_nor_taken_out_of_it() {
    let world = world();
    let place = |domid, space| {
        let mut op = AddToPhysmap { domid: DomId(domid), size: 0, space, idx: 0, gpfn: Gfn(HOLE) };
        world.call_with(OWN, MEMORY_OP, XENMEM_ADD_TO_PHYSMAP, &mut op)
    };
    let remove = |domid| {
        let mut op = RemoveFromPhysmap { domid: DomId(domid), gpfn: Gfn(3), ..RemoveFromPhysmap::default() };
        world.call_with(OWN, MEMORY_OP, XENMEM_REMOVE_FROM_PHYSMAP, &mut op)
    };
    for other in [0, OTHER] {
        for space in [XENMAPSPACE_SHARED_INFO, XENMAPSPACE_GRANT_TABLE, XENMAPSPACE_GMFN] {
            assert_eq!(place(other, space), Err(Errno::EPERM));
        }
        assert_eq!(place(other, XENMAPSPACE_DEV_MMIO), Err(Errno::EACCES));
        assert_eq!(remove(other), Err(Errno::EPERM));
        assert!(world.domain(other).space.lookup(Gfn(HOLE)).is_none());
        assert!(world.domain(other).space.lookup(Gfn(3)).is_some());
    }
    assert_eq!(place(OWN, XENMAPSPACE_DEV_MMIO), Err(Errno::EACCES), "not even in its own");
    assert_eq!((place(NOBODY, XENMAPSPACE_SHARED_INFO), remove(NOBODY)), (Err(Errno::ESRCH), Err(Errno::ESRCH)));
    assert_eq!(place(OWN, XENMAPSPACE_GMFN_FOREIGN), Err(Errno::ENOSYS), "there is the batch for that");
}
