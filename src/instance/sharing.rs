//! Whether the place of the lock file is one that every other instance sees, too.
//!
//! A lock excludes only those who open the same file. What lives in memory or in a container's own
//! layers is a new, empty place for each container, where the lock is always free: the check would pass
//! and protect nothing. On the machine itself the same types are harmless, because a `tmpfs` on `/tmp` is
//! one for all processes. So such a file system is accepted only where the kernel shows that it belongs
//! to the machine; without that proof it counts as the container's own (invariant 7).

use std::{cell::OnceCell, fs, os::fd::BorrowedFd, path::Path};

use super::{
    evidence::{existing, mount_at},
    mounts::{self, Class, Mount, mount_among},
    platform::Platform,
};
use crate::{
    codes,
    contract::tell::{shown, tell},
    error::{StageError, StageResult},
};

/// What `/proc/self/ns/pid` leads to in the first PID namespace of a machine. The number is fixed
/// (`PID_NS_INIT_INO`, linux/nsfs.h); containers have others.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Who sees what is on a mount.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reach {
    /// Every process of this machine that is given the path or the volume.
    Machine,
    /// This container alone, as far as can be shown.
    Container,
    /// Other machines or virtual machines, through a file system whose locks cannot be trusted.
    Elsewhere,
}

/// What decides whether a mount belongs to the machine or to a container, as it is at one time.
///
/// The kernel writes a list of mounts anew for whoever reads it, which takes up to a tenth of a millisecond. So each is
/// read once, and only where something depends on it.
#[derive(Default)]
pub(crate) struct Surroundings {
    own: OnceCell<Vec<Mount>>,
    /// Where this process is in the first PID namespace: the mounts of process 1, the machine's own `init`.
    init: OnceCell<Option<Vec<Mount>>>,
    platform: OnceCell<Platform>,
}

impl Surroundings {
    fn own(&self) -> &[Mount] {
        self.own.get_or_init(mounts::own)
    }

    /// The mounts of the machine's `init`, where this process runs on the machine itself: its root directory is that
    /// of `init`. The namespace alone would not do, because a container can be given the machine's
    /// (`docker run --pid=host`).
    fn machine(&self) -> Option<&[Mount]> {
        let root = |mounts: &[Mount]| {
            let last = mounts.iter().rfind(|mount| mount.point == Path::new("/"));
            last.map(|mount| (mount.device, mount.root.clone()))
        };
        let init = self.init.get_or_init(|| {
            let namespace = fs::read_link("/proc/self/ns/pid");
            let first = namespace.is_ok_and(|link| link == Path::new(FIRST_PID_NAMESPACE));
            first.then(|| mounts::read(Path::new("/proc/1/mountinfo")))
        });
        let same = |init: &&[Mount]| root(self.own()).is_some() && root(self.own()) == root(init);
        init.as_deref().filter(same)
    }

    /// The mount that holds an open file or directory.
    pub(super) fn mount_of(&self, open: BorrowedFd<'_>, path: &Path) -> Mount {
        mount_among(self.own(), open, path)
    }

    /// What this process runs on. Docker, Podman and Kubernetes all mount `/etc/hosts` from outside; marker files such
    /// as `/.dockerenv` outlive the container when its image becomes that of a virtual machine.
    pub(crate) fn platform(&self) -> &Platform {
        self.platform.get_or_init(|| Platform::detect(self.own(), self.machine().is_some()))
    }

    /// Whether this process runs in a container of an engine.
    fn in_container(&self) -> bool {
        self.platform().is_container() && self.machine().is_none()
    }

    pub(super) fn reach(&self, mount: &Mount) -> Reach {
        let machine = match mount.class() {
            Class::Untrusted => return Reach::Elsewhere,
            Class::Ephemeral => {
                self.machine().is_some_and(|init| init.iter().any(|other| other.device == mount.device))
            }
            // With the storage drivers btrfs, zfs and vfs a container's own layers have a local type.
            Class::Local => !(mount.point == Path::new("/") && self.in_container()),
        };
        if machine { Reach::Machine } else { Reach::Container }
    }
}

/// Refuses a lock file that other instances cannot see or whose lock they might not respect.
///
/// `allowed` is the value of `<P>_ALLOW_UNSHARED_LOCK`: the types of file system that the operator
/// accepts, separated by commas, exactly as the kernel and the refusal name them (`overlay`, `nfs4`). A
/// bare "yes" accepts nothing, so that whoever allows one file system has not allowed the next.
///
/// # Errors
/// `lock.not-shared`.
pub(super) fn require(
    mount: &Mount,
    reach: Reach,
    lock: &Path,
    prefix: &str,
    allowed: &str,
) -> StageResult<()> {
    let kind = &mount.kind;
    if reach == Reach::Machine {
        return Ok(());
    }
    if allowed.split(',').any(|name| name.trim() == kind) {
        let lock = lock.display();
        let said = format!("others may not see the lock: {prefix}_ALLOW_UNSHARED_LOCK");
        tell!(warn, said, lock = shown(lock), file_system = kind.clone());
        return Ok(());
    }
    Err(refusal(mount, reach, lock, prefix, &Surroundings::default()))
}

/// `command`, which is about `path`, as an operator types it: the image of a container may hold nothing but the program,
/// so that there it runs in a new one that has the same mount.
pub(crate) fn typed(command: &str, path: &Path) -> String {
    let here = Surroundings::default();
    let helper = || here.platform().in_helper(&mount_at(existing(path)), command);
    here.in_container().then(helper).flatten().unwrap_or_else(|| command.to_owned())
}

/// The command that copies a directory to one beside it, or out of a container.
#[cfg(feature = "database")]
pub(crate) fn copied(dir: &Path) -> String {
    let here = Surroundings::default();
    let helper = || here.platform().copied_out(&mount_at(existing(dir)), dir);
    let beside = || format!("cp -a {0} {0}.broken", super::evidence::quoted(dir));
    here.in_container().then(helper).flatten().unwrap_or_else(beside)
}

/// Why a lock on a mount would protect nothing, or might not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Doubt {
    /// A layer over an image, or what a storage driver without layers has in its place.
    OwnLayer,
    /// Memory of this container.
    OwnMemory,
    /// Memory or a layer that was mounted from outside: others may have it, which the kernel does not show here.
    FromOutside,
    /// A file system that cannot be trusted with locks.
    Elsewhere,
}

impl Doubt {
    fn about(mount: &Mount, reach: Reach, surroundings: &Surroundings) -> Self {
        let root = surroundings.own().iter().rfind(|other| other.point == Path::new("/"));
        // What is mounted from the container's own root directory is no more shared than that.
        let of_root = root.is_some_and(|root| root.device == mount.device);
        match reach {
            _ if of_root && surroundings.in_container() => Self::OwnLayer,
            Reach::Elsewhere => Self::Elsewhere,
            // A new file system is mounted whole; a directory of one comes from where the whole is.
            _ if mount.root != Path::new("/") => Self::FromOutside,
            Reach::Machine | Reach::Container => Self::OwnMemory,
        }
    }

    /// Who sees it, and what that means.
    fn in_words(self, mount: &Mount, in_container: bool) -> (String, String) {
        let kind = &mount.kind;
        let on = format!("is on a file system of type {kind}, where it protects nothing");
        let own = "Another replica would get a lock file of its own.";
        let alone = if in_container { "by this container alone" } else { "perhaps by this process alone" };
        match self {
            Self::OwnLayer => {
                let text = format!(
                    "is in the container's own layer (type {kind}), where it protects nothing. {own}"
                );
                (alone.to_owned(), text)
            }
            Self::OwnMemory => (alone.to_owned(), format!("{on}. {own}")),
            Self::FromOutside => (
                format!("by all who are given {} of that file system", mount.root.display()),
                format!(
                    "is on a file system of type {kind} from outside of this container. Whether another replica would \
                     be given the same one cannot be seen."
                ),
            ),
            Self::Elsewhere => (
                "perhaps beyond this machine".to_owned(),
                format!("{on}. Such a file system can grant one lock to two at once."),
            ),
        }
    }
}

fn refusal(
    mount: &Mount,
    reach: Reach,
    lock: &Path,
    prefix: &str,
    surroundings: &Surroundings,
) -> StageError {
    let (kind, platform) = (&mount.kind, surroundings.platform());
    let doubt = Doubt::about(mount, reach, surroundings);
    let (seen, why) = doubt.in_words(mount, surroundings.in_container());
    let shown = lock.display();
    let error = StageError::new(codes::LOCK_NOT_SHARED, format!("The lock file {shown} {why}"))
        .fact("lock file", shown.to_string())
        .fact("mount", mount.describe())
        .fact("seen", seen);
    let error = match (doubt, mount.volume_name()) {
        (Doubt::FromOutside, Some(volume)) => error.fact("volume", volume.to_owned()).hint(format!(
            "Let the engine keep the volume {volume} on a disk: its data directory is on {kind}"
        )),
        _ => error.hint(platform.keep_data(prefix)),
    };
    let error = error
        .hint(format!("Or put the lock alone on a local disk that all instances share: {prefix}_LOCK_PATH"));
    match doubt {
        Doubt::FromOutside => error.hint(format!(
            "Do all replicas run on this machine, with this one mount? {prefix}_ALLOW_UNSHARED_LOCK={kind}"
        )),
        // The name of a local type would allow every disk.
        Doubt::OwnLayer if mount.class() == Class::Local => error,
        Doubt::OwnLayer | Doubt::OwnMemory | Doubt::Elsewhere => error.hint(format!(
            "Is there only ever one copy, as in development? {prefix}_ALLOW_UNSHARED_LOCK={kind}"
        )),
    }
}

#[cfg(test)]
mod tests;
