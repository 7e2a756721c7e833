"""A root file system of our own, systemd as its process 1, and how it is talked to."""

import contextlib
import ctypes
import fcntl
import os
import pathlib
import shutil
import signal
import subprocess
import time
import uuid

ROOT = pathlib.Path(__file__).resolve().parents[2]
STATE = ROOT / "target" / "test-systemd"
SUITE = "trixie"
PACKAGES = "systemd,systemd-sysv,dbus,iproute2"

PR_SET_PDEATHSIG = 1

# As process 1 of its namespaces: the file systems that a machine has, the new root, and systemd.
BOOT = r"""
mount --bind "$TREE" "$TREE"
cd "$TREE"
mkdir -p .old
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 none sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mknod -m 666 dev/null c 1 3
mknod -m 666 dev/zero c 1 5
mknod -m 666 dev/full c 1 7
mknod -m 666 dev/random c 1 8
mknod -m 666 dev/urandom c 1 9
mknod -m 666 dev/tty c 5 0
pivot_root . .old
umount -l /.old
ip link set lo up
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd
"""


class Failed(Exception):
    """What a scenario or a preparation found wrong."""


class Result:
    """How a command ended. Its output is what it wrote on both streams."""

    def __init__(self, code, output):
        self.code, self.output = code, output

    def ok(self):
        if self.code != 0:
            raise Failed(f"ended with {self.code}:\n{self.output}")
        return self.output.strip()


def run(command, limit=120, env=None):
    try:
        done = subprocess.run(
            [str(word) for word in command], timeout=limit, env=env,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
    except subprocess.TimeoutExpired as late:
        output = (late.stdout or b"").decode(errors="replace")
        raise Failed(f"{command} did not end within {limit} s:\n{output}") from None
    return Result(done.returncode, done.stdout.decode(errors="replace"))


def wait_for(what, check, limit=60.0, every=0.1):
    """Asks until the answer is true, and returns it. No scenario that passes waits for the limit."""
    end = time.monotonic() + limit
    while True:
        answer = check()
        if answer:
            return answer
        if time.monotonic() > end:
            raise Failed(f"no {what} within {limit:.0f} s")
        time.sleep(every)


def base():
    """Debian with systemd. It is made once."""
    tree = STATE / SUITE
    if (tree / "etc/made").exists():
        return tree
    new = STATE / f"{SUITE}.new"
    for old in (tree, new):
        shutil.rmtree(old, ignore_errors=True)
    made = run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, new], limit=900)
    if made.code != 0:
        raise Failed(f"debootstrap could not make {SUITE}:\n{made.output[-2000:]}")
    shutil.rmtree(new / "var/cache/apt", ignore_errors=True)
    shutil.rmtree(new / "var/lib/apt/lists", ignore_errors=True)
    # Not a first boot, which would enable everything that Debian presets, and wait for a network.
    (new / "etc/machine-id").write_text(uuid.uuid4().hex + "\n")
    (new / "etc/made").write_text(PACKAGES + "\n")
    new.rename(tree)
    return tree


def control_group():
    """A new group of the second hierarchy, in which systemd is at the top."""
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, kind = line.partition(" - ")
        if kind.startswith("cgroup2 "):
            group = pathlib.Path(mount.split()[4]) / f"test-systemd.{os.getpid()}"
            group.mkdir()
            return group
    raise Failed("no cgroup2 is mounted, and systemd needs it: mount -t cgroup2 none /sys/fs/cgroup")


class Machine:
    """What a command in it, and the unit's manager, say."""

    def __init__(self, process, tree):
        self.process, self.tree, self.began = process, tree, time.time()

    def sh(self, line, limit=120):
        """Runs a line as root of the machine would paste it. Its directory is where the documents' files are."""
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        enter = ["nsenter", "-t", self.process, "-m", "-u", "-i", "-n", "-p", "-C"]
        inside = ["env", "-i", "--chdir=/root", path, "HOME=/root", "LC_ALL=C.UTF-8", "sh", "-c", line]
        return run([*enter, *inside], limit)


def ends_with_its_parent():
    """Nothing must outlive a script that was killed."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@contextlib.contextmanager
def machine():
    STATE.mkdir(parents=True, exist_ok=True)
    with open(STATE / "lock", "w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failed(f"another scripts/test-systemd uses {STATE}") from None
        kind = run(["stat", "-f", "-c", "%T", STATE]).ok()
        if kind in ("overlayfs", "tmpfs", "nfs"):
            raise Failed(f"{STATE} lies on {kind}, where the service refuses its lock; put the checkout on a disk")
        # Each run begins with the same.
        tree = STATE / "root"
        shutil.rmtree(tree, ignore_errors=True)
        run(["cp", "-a", base(), tree], 300).ok()
        try:
            with booted(tree) as it:
                yield it
        finally:
            shutil.rmtree(tree, ignore_errors=True)


@contextlib.contextmanager
def booted(tree):
    group, console = control_group(), STATE / "console.log"

    def begin():
        ends_with_its_parent()
        (group / "cgroup.procs").write_text(str(os.getpid()))

    # Whoever ends `unshare` ends process 1, and with it everything in the machine.
    command = ["unshare", "-m", "-u", "-i", "-n", "-p", "-f", "-C", "--kill-child", "--propagation", "private"]
    with open(console, "wb") as out:
        process = subprocess.Popen(
            [*command, "sh", "-ec", BOOT], env={**os.environ, "TREE": str(tree)}, stdout=out, stderr=out,
            stdin=subprocess.DEVNULL, preexec_fn=begin, start_new_session=True,
        )
    try:
        yield up(process, console, tree)
    finally:
        process.kill()
        process.wait()
        leave(group)


def up(process, console, tree):
    """The machine once its systemd has started everything."""
    children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")

    def said():
        return console.read_text(errors="replace")[-3000:]

    def state():
        if process.poll() is not None:
            raise Failed(f"systemd did not start ({process.returncode}); it needs root and namespaces:\n{said()}")
        first = children.read_text().split()
        return first and Machine(int(first[0]), tree)

    it = wait_for("process 1", state, 20)

    def running():
        state()
        asked = it.sh("systemctl is-system-running")
        return asked.output.strip() in ("running", "degraded")

    try:
        wait_for("running system", running, 60)
    except Failed as failed:
        raise Failed(f"{failed}:\n{said()}") from None
    return it


def leave(group):
    """The kernel needs a moment to take the processes out."""
    inner = sorted((each for each in group.rglob("*") if each.is_dir()), reverse=True)
    for each in [*inner, group]:
        with contextlib.suppress(Failed):
            wait_for("empty group", lambda each=each: removed(each), 5)


def removed(group):
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
