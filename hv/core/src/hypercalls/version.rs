//! `xen_version`: version, build and capabilities of the hypervisor. **Source:** `version.h`.

use crate::components::access::{Action, Object, may};
use crate::hypercalls::{Call, Handler, Operation, operation, permitted};
use crate::outcome::{Answer, Outcome};
use crate::settings::{XEN_MAJOR, XEN_MINOR};
use xen_abi::version::{
    BuildId, CompileInfo, FeatureInfo, Features, PlatformParameters, XENFEAT_NR_SUBMAPS, XENVER_BUILD_ID,
    XENVER_CAPABILITIES, XENVER_CHANGESET, XENVER_COMMANDLINE, XENVER_COMPILE_INFO, XENVER_EXTRAVERSION,
    XENVER_GET_FEATURES, XENVER_GUEST_HANDLE, XENVER_PAGESIZE, XENVER_PLATFORM_PARAMETERS, XENVER_VERSION,
};
use xen_abi::{Errno, GuestHandle};
use xenolith_hal::{Machine, PAGE_SIZE};

/// The sizes of the strings that a guest gets.
const EXTRA_VERSION_SIZE: usize = 16;
const CAPABILITIES_SIZE: usize = 1024;
const CHANGE_SET_SIZE: usize = 64;
const COMMAND_LINE_SIZE: usize = 1024;
/// What stands in place of a text that the caller may not read, with the byte that ends it.
const DENIED: &[u8; 9] = b"<denied>\0";

/// Where the hypervisor's part of a PV guest's address space begins.
const VIRT_START: u64 = 0xffff_8000_0000_0000;

/// The kinds of guest that are supported. The toolstack looks here for the kind that it is to build.
const CAPABILITIES: &str = "hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 ";

/// Returns the table of operations.
pub const fn operations<M: Machine>() -> &'static [Operation<Handler<M>>] {
    const {
        &[
            operation(XENVER_VERSION, "XENVER_version", version),
            operation(XENVER_EXTRAVERSION, "XENVER_extraversion", extra_version),
            operation(XENVER_COMPILE_INFO, "XENVER_compile_info", compile_info),
            operation(XENVER_CAPABILITIES, "XENVER_capabilities", capabilities),
            operation(XENVER_CHANGESET, "XENVER_changeset", change_set),
            operation(XENVER_PLATFORM_PARAMETERS, "XENVER_platform_parameters", platform_parameters),
            operation(XENVER_GET_FEATURES, "XENVER_get_features", get_features),
            operation(XENVER_PAGESIZE, "XENVER_pagesize", page_size),
            operation(XENVER_GUEST_HANDLE, "XENVER_guest_handle", guest_handle),
            operation(XENVER_COMMANDLINE, "XENVER_commandline", command_line),
            permitted(Action::ReadBuildDetails, XENVER_BUILD_ID, "XENVER_build_id", build_id),
        ]
    }
}

/// Returns the text in `N` bytes: cut if it is too long, always ended by a zero byte.
fn text<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    for (to, from) in bytes.iter_mut().take(N.saturating_sub(1)).zip(text.bytes()) {
        *to = from;
    }
    bytes
}

fn version<M: Machine>(_: &mut Call<'_, M>) -> Answer {
    Ok(Outcome::Done(u64::from(XEN_MAJOR) << 16 | u64::from(XEN_MINOR)))
}

fn extra_version<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    call.write_arg(1, &text::<EXTRA_VERSION_SIZE>(call.hv.settings.extra_version))?;
    Ok(Outcome::OK)
}

fn compile_info<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let settings = &call.hv.settings;
    let info = CompileInfo {
        compiler: text(settings.compiler),
        compile_by: text(settings.compiled_by),
        compile_domain: text(settings.compile_domain),
        compile_date: text(settings.compile_date),
    };
    call.write_arg(1, &info)?;
    Ok(Outcome::OK)
}

fn capabilities<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    call.write_arg(1, &text::<CAPABILITIES_SIZE>(CAPABILITIES))?;
    Ok(Outcome::OK)
}

fn change_set<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    call.write_arg(1, &text::<CHANGE_SET_SIZE>(call.hv.settings.change_set))?;
    Ok(Outcome::OK)
}

/// Implements `XENVER_platform_parameters`: the same for every guest. A guest with nested paging has no part of its
/// address space reserved, and ignores it.
fn platform_parameters<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    call.write_arg(1, &PlatformParameters { virt_start: VIRT_START })?;
    Ok(Outcome::OK)
}

fn get_features<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let mut info: FeatureInfo = call.read_arg(1)?;
    if info.submap_idx >= XENFEAT_NR_SUBMAPS {
        return Err(Errno::EINVAL);
    }
    let mut features = Features::WRITABLE_PAGE_TABLES
        | Features::AUTO_TRANSLATED_PHYSMAP
        | Features::HVM_CALLBACK_VECTOR
        | Features::HVM_SAFE_PVCLOCK
        | Features::MEMORY_OP_VNODE_SUPPORTED
        | Features::NOT_DIRECT_MAPPED;
    if call.domain.privileged {
        features |= Features::DOM0;
    }
    info.submap = features.bits();
    call.write_arg(1, &info)?;
    Ok(Outcome::OK)
}

/// Implements `XENVER_pagesize`.
///
/// **Errors:** `EINVAL` for a pointer, since there is nothing to write.
fn page_size<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    if call.arg(1) != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(Outcome::Done(PAGE_SIZE as u64))
}

fn guest_handle<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let handle: [u8; 16] = call.domain.handle();
    call.write_arg(1, &handle)?;
    Ok(Outcome::OK)
}

/// Implements `XENVER_commandline`. A domain without control gets a text that says so, and no more bytes than that has.
fn command_line<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    if may(call.domain.subject(), Action::ReadBuildDetails, Object::Machine).is_err() {
        call.write_arg(1, DENIED)?;
        return Ok(Outcome::OK);
    }
    call.write_arg(1, &text::<COMMAND_LINE_SIZE>(&call.hv.settings.command_line))?;
    Ok(Outcome::OK)
}

/// Implements `XENVER_build_id`: returns the length; with a buffer, writes the build identifier too.
///
/// **Errors:** `EPERM` for a domain without control, `ENOBUFS` if the buffer is shorter, `EINVAL` if its length is 0, `EFAULT`.
fn build_id<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let id = call.hv.settings.build_id;
    let at: GuestHandle<BuildId> = call.handle(1);
    if !at.is_null() {
        let asked = call.memory().read(at)?;
        if asked.len == 0 {
            return Err(Errno::EINVAL);
        }
        if (asked.len as usize) < id.len() {
            return Err(Errno::ENOBUFS);
        }
        let buffer = at.address.checked_add(size_of::<BuildId>() as u64).ok_or(Errno::EFAULT)?;
        call.memory().write_bytes(buffer, &id)?;
    }
    Ok(Outcome::Done(id.len() as u64))
}
