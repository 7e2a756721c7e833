"""What one scenario has to do with: its own names, containers and reports, and what can be asserted of them."""

import difflib
import itertools
import json
import os
import pathlib
import re
import shutil
import tempfile
import time
import urllib.error
import urllib.request

from engine import ROOT, STATE, Failed, wait_for
from images import IMAGE

COMPOSE = ROOT / "compose"
SCENARIOS = {}
NUMBERS = itertools.count(1)
# A container that needs no network, so that none must be made for it.
ALONE = ("--network", "none")


def scenario(name):
    """Adds a function to the scenarios. The name is a rule that holds."""
    def add(function):
        SCENARIOS[name] = function
        return function
    return add


def check(holds, what):
    if not holds:
        raise Failed(what)


class World:
    def __init__(self, engine):
        self.engine, self.docker = engine, engine.docker
        self.name = f"t{next(NUMBERS)}"
        # On the disk of the checkout: files are mounted from here, and a lock in memory is refused.
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="world.", dir=STATE))
        self.home.chmod(0o755)
        self.files = []
        (self.home / "logs").mkdir()
        shutil.copy(ROOT / "examples/banboard/sample/fail2ban.log", self.home / "logs")
        self.secret = self.home / "upstream_url"
        self.say_upstream("http://upstream:8080/livez")

    def close(self):
        self.engine.empty()
        shutil.rmtree(self.home, ignore_errors=True)

    def say_upstream(self, url):
        self.secret.write_text(url + "\n")
        self.secret.chmod(0o444)

    # Containers by `docker run`.

    def volume(self, name="data"):
        return f"{self.name}_{name}"

    def run(self, name, *options, command=()):
        """Starts a banboard in the background."""
        words = ["run", "-d", "--name", name, *self.engine.probing_each_second(), *options, IMAGE, *command]
        if "--network" not in options:
            words[2:2] = ALONE
        self.docker(*words).ok()
        return Container(self.engine, name)

    def run_until_it_ends(self, *options, command=()):
        """Runs a banboard in the foreground: its exit code and all it said."""
        return self.docker("run", "--rm", *ALONE, *options, IMAGE, *command)

    def busybox(self, line, *options):
        return self.docker("run", "--rm", *ALONE, *options, "busybox", "sh", "-c", line).ok()

    # Compose.

    def use(self, *files, override=None):
        """The Compose files that `compose` works on, with one of our own above them where it says more."""
        self.files = [COMPOSE / file for file in files]
        if override:
            path = self.home / "override.yaml"
            path.write_text(override)
            self.files.append(path)

    def compose(self, *words, **env):
        variables = {
            "BANBOARD_IMAGE": IMAGE, "BANBOARD_CONTAINER": self.name, "BANBOARD_PUBLISH": "127.0.0.1:0",
            "FAIL2BAN_LOG_DIR": str(self.home / "logs"), "UPSTREAM_URL_FILE": str(self.secret), **env,
        }
        files = [word for file in self.files for word in ("-f", str(file))]
        return self.engine.compose("-p", self.name, *files, *words, env=variables)

    def typed(self, lines, **env):
        """Types the lines of a document in a directory with a copy of what it speaks of."""
        copy = self.home / "checkout"
        for name in ("compose", "Docker"):
            shutil.copytree(ROOT / name, copy / name, dirs_exist_ok=True)
        return self.engine.shell(f"set -e\ncd {copy}\n{lines}", env)

    def containers_of(self, service):
        ids = self.docker(
            "ps", "-aq", "--no-trunc", "--filter", f"label=com.docker.compose.project={self.name}",
            "--filter", f"label=com.docker.compose.service={service}",
        ).ok().split()
        return sorted((Container(self.engine, each) for each in ids), key=lambda each: each.inspect()["Created"])

    def container_of(self, service):
        found = self.containers_of(service)
        check(len(found) == 1, f"{len(found)} containers of {service}")
        return found[0]

    def upstream(self):
        """What compose.yaml's upstream URL leads to: a banboard of its own in the project's network."""
        options = ["--network", f"{self.name}_default", "--network-alias", "upstream"]
        allow = ["-e", "BANBOARD_ALLOW_UNSHARED_LOCK=overlay"]
        return self.run(f"{self.name}-upstream", *options, *allow)

    def logs(self):
        """The end of what every container said, for a scenario that failed."""
        names = self.docker("ps", "-a", "--format", "{{.Names}} {{.Status}}").output.splitlines()
        told = []
        for line in names:
            tail = self.docker("logs", "--tail", "50", line.split()[0]).output
            told.append(f"---- {line}\n{tail}")
        return "\n".join(told)


class Container:
    def __init__(self, engine, name):
        self.engine, self.name = engine, name

    def docker(self, verb, *options):
        return self.engine.docker(verb, *options, self.name)

    def inspect(self):
        return json.loads(self.docker("inspect").ok())[0]

    def state(self):
        return self.inspect()["State"]

    def health(self):
        return self.state().get("Health", {}).get("Status")

    def probes(self):
        """What each health check said, the oldest first: exit code and line."""
        log = self.state()["Health"]["Log"] or []
        return [(each["ExitCode"], each["Output"].strip()) for each in log]

    def host(self):
        return self.inspect()["Config"]["Hostname"]

    def log(self):
        return self.docker("logs").output

    def wait_healthy(self, limit=60.0):
        def healthy():
            state = self.state()
            check(state["Status"] == "running", f"{self.name} is {state['Status']}, not healthy")
            return state["Health"]["Status"] == "healthy"
        wait_for(f"healthy {self.name}", healthy, limit)
        return self

    def wait_exit(self, limit=60.0):
        wait_for(f"end of {self.name}", lambda: self.state()["Status"] == "exited", limit)
        return self.state()["ExitCode"]

    def wait_log(self, text, limit=60.0):
        wait_for(f"`{text}` in the log of {self.name}", lambda: text in self.log(), limit)
        return self

    def get(self, path):
        """The status of a page on the published port."""
        ports = self.inspect()["NetworkSettings"]["Ports"]["8080/tcp"]
        url = f"http://127.0.0.1:{ports[0]['HostPort']}{path}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    def undisturbed(self):
        """A function that says later whether this container ran on as if nothing had happened."""
        before = self.state()

        def still():
            after = self.state()
            same = all(after[key] == before[key] for key in ("Pid", "StartedAt", "Status"))
            check(same, f"{self.name} was disturbed: {before} -> {after}")
            check(self.inspect()["RestartCount"] == 0, f"{self.name} was restarted")
            self.wait_healthy(20)
        return still


# Reports.

HOSTS = re.compile(r"\b[0-9a-f]{12}\b")
IDS = re.compile(r"\b[0-9a-f]{8}\b")
TIMES = re.compile(r"\b\d{4}-\d\d-\d\dT[0-9:]+Z")
PROJECT = re.compile(r"\bt[0-9]+(?=[_-])")


def report_in(log):
    """The last block of a failed start, without what Compose puts before each line."""
    lines = [re.sub(r"^\S+ +\| ", "", line) for line in log.splitlines()]
    rules = [number for number, line in enumerate(lines) if line.startswith("=====")]
    check(len(rules) >= 3, f"there is no report in:\n{log}")
    return "\n".join(lines[rules[-3]:rules[-1] + 1]) + "\n"


def assert_report(log, exit_code, code, *says):
    """There is a report of this code, short enough to read, and it says all of that."""
    report = report_in(log)
    lines = report.splitlines()
    check(len(lines) <= 42 and max(map(len, lines)) <= 80, f"the report is too large:\n{report}")
    check(f"[{code}]" in report and f"exit {exit_code} " in report, f"not {code}, exit {exit_code}:\n{report}")
    flat = " ".join(report.split())
    for text in says:
        check(text in flat, f"no `{text}` in:\n{report}")
    return report


def same_but_for_numbers(report):
    for pattern, name in ((TIMES, "TIME"), (HOSTS, "HOST"), (IDS, "ID"), (PROJECT, "PROJECT")):
        report = pattern.sub(name, report)
    return re.sub(r"\s+", " ", re.sub(r"\d+(\.\d+)? ?(us|ms|s|min|m|h)?\b", "N", report))


def assert_quoted(text, name):
    """compose/wrong keeps what its file gives, and the documentation quotes it: neither tells what is no longer so."""
    text = PROJECT.sub("banboard", text)
    file, document = COMPOSE / "wrong" / f"{name}.txt", ROOT / "docs/deploy/compose.md"
    quote = re.compile(f"(<!-- {name} -->\n```text\n)(.*?)(```)", re.S)
    is_example = file.with_suffix(".yaml").exists()
    if os.environ.get("KEEP_REPORTS"):
        if is_example:
            file.write_text(text)
        document.write_text(quote.sub(lambda found: found[1] + text + found[3], document.read_text()))
    kept = [(file, file.read_text())] if is_example else []
    kept += [(document, found[2]) for found in quote.finditer(document.read_text())]
    check(kept, f"nobody quotes {name}")
    for where, old in kept:
        if same_but_for_numbers(old) != same_but_for_numbers(text):
            diff = difflib.unified_diff(old.splitlines(), text.splitlines(), str(where), "now", lineterm="")
            raise Failed("\n".join([f"KEEP_REPORTS=1 would write what {name} says now:", *diff]))


def seconds(function):
    began = time.monotonic()
    function()
    return time.monotonic() - began
