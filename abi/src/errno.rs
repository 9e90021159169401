//! Error numbers, as a hypercall returns them (negative).
//!
//! **Source:** `errno.h`. The numbers are those of Linux on x86.

macro_rules! errnos {
    ($( $(#[$meta:meta])* $name:ident = $value:literal, )*) => {
        /// Why an operation failed. A hypercall returns the negative number; see [`Errno::as_return`].
        #[allow(clippy::upper_case_acronyms, reason = "the names by which everybody knows them")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i32)]
        pub enum Errno {
            $( $(#[$meta])* $name = $value, )*
        }

        impl Errno {
            /// Every error number.
            pub const ALL: &[Self] = &[$( Self::$name, )*];

            /// Returns the name, such as `EINVAL`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $( Self::$name => stringify!($name), )*
                }
            }
        }
    };
}

errnos! {
    /// The caller may not do this.
    EPERM = 1,
    /// There is no such thing; the end of a list of CPU pools.
    ENOENT = 2,
    /// There is no such domain; the end of a list of domains.
    ESRCH = 3,
    /// Interrupted; inside the hypervisor only.
    EINTR = 4,
    /// Input or output failed.
    EIO = 5,
    /// No such device or address.
    ENXIO = 6,
    /// The argument list is too long.
    E2BIG = 7,
    /// The image cannot be executed.
    ENOEXEC = 8,
    /// Bad file number.
    EBADF = 9,
    /// No child.
    ECHILD = 10,
    /// Try again.
    EAGAIN = 11,
    /// Out of memory.
    ENOMEM = 12,
    /// The security policy says no, or the interface version is wrong.
    EACCES = 13,
    /// A guest address cannot be read or written.
    EFAULT = 14,
    /// The thing is in use.
    EBUSY = 16,
    /// It exists already.
    EEXIST = 17,
    /// The two things do not belong together.
    EXDEV = 18,
    /// No such device.
    ENODEV = 19,
    /// Not a directory.
    ENOTDIR = 20,
    /// A directory.
    EISDIR = 21,
    /// An argument is wrong.
    EINVAL = 22,
    /// Too many open files in all.
    ENFILE = 23,
    /// Too many open files.
    EMFILE = 24,
    /// No room is left.
    ENOSPC = 28,
    /// Read-only.
    EROFS = 30,
    /// Too many links.
    EMLINK = 31,
    /// Outside the function's domain.
    EDOM = 33,
    /// The result does not fit.
    ERANGE = 34,
    /// It would wait for itself.
    EDEADLK = 35,
    /// The name is too long.
    ENAMETOOLONG = 36,
    /// No lock is left.
    ENOLCK = 37,
    /// There is no such hypercall or operation.
    ENOSYS = 38,
    /// Not empty.
    ENOTEMPTY = 39,
    /// There is no data.
    ENODATA = 61,
    /// The time has passed.
    ETIME = 62,
    /// Not a message of this kind.
    EBADMSG = 74,
    /// The value does not fit its type.
    EOVERFLOW = 75,
    /// A forbidden sequence of bytes.
    EILSEQ = 84,
    /// Preempted: to be called again; inside the hypervisor only.
    ERESTART = 85,
    /// Not a socket.
    ENOTSOCK = 88,
    /// The message is too long.
    EMSGSIZE = 90,
    /// The operation is not supported here.
    EOPNOTSUPP = 95,
    /// The address is in use.
    EADDRINUSE = 98,
    /// The address cannot be had.
    EADDRNOTAVAIL = 99,
    /// No buffer is left.
    ENOBUFS = 105,
    /// Connected already.
    EISCONN = 106,
    /// Not connected.
    ENOTCONN = 107,
    /// It took too long.
    ETIMEDOUT = 110,
    /// The connection was refused.
    ECONNREFUSED = 111,
}

impl Errno {
    /// Another name of [`Errno::EAGAIN`].
    pub const EWOULDBLOCK: Self = Self::EAGAIN;
    /// Another name of [`Errno::EDEADLK`].
    pub const EDEADLOCK: Self = Self::EDEADLK;

    /// Returns the positive number.
    #[must_use]
    pub const fn number(self) -> i32 {
        self as i32
    }

    /// Returns what a hypercall that fails so returns in its result register: the negative number, sign-extended.
    #[must_use]
    pub const fn as_return(self) -> i64 {
        (self as i64).wrapping_neg()
    }

    /// Returns the error that a hypercall's result stands for, or none if it is not negative or not a known number.
    #[must_use]
    pub fn from_return(result: i64) -> Option<Self> {
        Self::ALL.iter().copied().find(|errno| errno.as_return() == result)
    }
}

impl core::fmt::Display for Errno {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::Errno;

    #[test]
    fn a_result_register_holds_the_negative_number() {
        assert_eq!(Errno::ENOSYS.as_return(), -38);
        assert_eq!(Errno::ENOSYS.as_return().cast_unsigned(), 0xffff_ffff_ffff_ffda);
    }

    #[test]
    fn every_error_comes_back_from_its_result() {
        for errno in Errno::ALL {
            assert_eq!(Errno::from_return(errno.as_return()), Some(*errno));
        }
    }

    #[test]
    fn success_is_no_error() {
        assert_eq!(Errno::from_return(0), None);
        assert_eq!(Errno::from_return(38), None);
    }
}
