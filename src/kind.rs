//! The kinds of failure, which decide exit codes. Floor 0: imports nothing of ours.

/// The class of a failure: it decides the exit code and whether a restart can help.
///
/// The numbers are those of `sysexits.h` (BSD), which systemd and process supervisors already know.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The command line was wrong.
    Usage,
    /// Data at rest is unusable: corrupt, foreign, or written by a newer version.
    Data,
    /// Something that this service needs from outside did not answer.
    Unavailable,
    /// A defect: a panic, an impossible graph, a rollback that could not finish, a lost lock.
    Software,
    /// A limit of the operating system: open files, threads, memory, the size of files.
    OsLimit,
    /// A file or directory cannot be created.
    CannotCreate,
    /// Reading or writing failed: a full disk, a broken device.
    Io,
    /// Try again: something was busy, or took too long.
    Temporary,
    /// The operating system refused the access.
    Permission,
    /// The configuration must be changed first; also several workers.
    Config,
}

impl ErrorKind {
    /// Each of them.
    pub(crate) const ALL: [Self; 10] = [
        Self::Usage,
        Self::Data,
        Self::Unavailable,
        Self::Software,
        Self::OsLimit,
        Self::CannotCreate,
        Self::Io,
        Self::Temporary,
        Self::Permission,
        Self::Config,
    ];

    /// The process's exit code.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Usage => 64,
            Self::Data => 65,
            Self::Unavailable => 69,
            Self::Software => 70,
            Self::OsLimit => 71,
            Self::CannotCreate => 73,
            Self::Io => 74,
            Self::Temporary => 75,
            Self::Permission => 77,
            Self::Config => 78,
        }
    }

    /// The name that `sysexits.h` gives the exit code, without its `EX_`.
    #[must_use]
    pub const fn exit_name(self) -> &'static str {
        match self {
            Self::Usage => "USAGE",
            Self::Data => "DATAERR",
            Self::Unavailable => "UNAVAILABLE",
            Self::Software => "SOFTWARE",
            Self::OsLimit => "OSERR",
            Self::CannotCreate => "CANTCREAT",
            Self::Io => "IOERR",
            Self::Temporary => "TEMPFAIL",
            Self::Permission => "NOPERM",
            Self::Config => "CONFIG",
        }
    }

    /// Whether the same start can succeed later without anybody changing anything.
    #[must_use]
    pub const fn restart_helps(self) -> bool {
        matches!(self, Self::Unavailable | Self::Io | Self::Temporary)
    }
}
