"""A Docker engine of our own, and how it is talked to."""

import contextlib
import ctypes
import fcntl
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
STATE = ROOT / "target" / "test-docker"

PR_SET_PDEATHSIG = 1


class Failed(Exception):
    """What a scenario or a preparation found wrong."""


class Result:
    """How a command ended. Its output is what it wrote on both streams."""

    def __init__(self, code, output):
        self.code, self.output = code, output

    def ok(self):
        if self.code != 0:
            raise Failed(f"ended with {self.code}:\n{last_of(self.output)}")
        return self.output.strip()


def last_of(output):
    return "\n".join(output.splitlines()[-60:])


def run(command, env=None, limit=120, cwd=ROOT):
    try:
        done = subprocess.run(
            [str(word) for word in command], env=env, cwd=cwd, timeout=limit,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
    except subprocess.TimeoutExpired as late:
        output = (late.stdout or b"").decode(errors="replace")
        raise Failed(f"{command} did not end within {limit} s:\n{last_of(output)}") from None
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


class Engine:
    """`docker` and `docker-compose` against the private engine."""

    def __init__(self, socket):
        # The packages' own programs first: whatever else is called `docker` here may not fit this engine.
        path = "/usr/sbin:/usr/bin:/sbin:/bin:" + os.environ.get("PATH", "")
        keep = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
        self.env = {**keep, "PATH": path, "DOCKER_HOST": f"unix://{socket}", "DOCKER_BUILDKIT": "1"}

    def docker(self, *words, limit=120):
        return run(["docker", *words], self.env, limit)

    def shell(self, line, env=None):
        """Runs a line as an operator would paste it."""
        return run(["sh", "-c", line], {**self.env, **(env or {})})

    def compose(self, *words, env=None, limit=120):
        return run(["docker-compose", *words], {**self.env, **(env or {})}, limit)

    def probing_each_second(self):
        """The options of `docker run` for it. From engine 28 on those during the start have an interval of their own."""
        options = ["--health-interval", "1s"]
        knows = "--health-start-interval" in self.docker("run", "--help").output
        return [*options, "--health-start-interval", "1s"] if knows else options

    def empty(self):
        """Leaves nothing of what scenarios made."""
        containers = self.docker("ps", "-aq").output.split()
        if containers:
            self.docker("rm", "-f", "-v", *containers)
        volumes = self.docker("volume", "ls", "-q").output.split()
        if volumes:
            self.docker("volume", "rm", "-f", *volumes)
        self.docker("network", "prune", "-f")


def ends_with_its_parent():
    """The engine must not outlive a script that was killed."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextlib.contextmanager
def private_engine():
    STATE.mkdir(parents=True, exist_ok=True)
    with open(STATE / "lock", "w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failed(f"another scripts/test-docker uses {STATE}") from None
        # A socket's path must be short, so it is not below the checkout.
        home = pathlib.Path(tempfile.mkdtemp(prefix="test-docker."))
        try:
            with daemon(home) as engine:
                yield engine
        finally:
            shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def daemon(home):
    socket, log = home / "docker.sock", STATE / "dockerd.log"
    (home / "daemon.json").write_text("{}")
    command = [
        "dockerd", "--config-file", home / "daemon.json", "--host", f"unix://{socket}",
        "--data-root", STATE / "data", "--exec-root", home / "exec", "--pidfile", home / "pid",
        # Nothing of the machine's network is changed: containers reach each other, and nothing else.
        "--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false",
        "--default-address-pool", "base=10.213.0.0/16,size=24",
    ]
    with open(log, "wb") as out:
        process = subprocess.Popen(
            [str(word) for word in command], stdout=out, stderr=out, stdin=subprocess.DEVNULL,
            preexec_fn=ends_with_its_parent, start_new_session=True,
        )
    engine = Engine(socket)
    try:
        def answers():
            if process.poll() is not None:
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
                raise Failed(f"the engine ended with {process.returncode}; it needs root and cgroups:\n{tail}")
            return engine.docker("version").code == 0

        wait_for("answer of the engine", answers)
        engine.empty()
        yield engine
        engine.empty()
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
