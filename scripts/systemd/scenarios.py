"""What docs/deploy/systemd.md and the unit promise. Each scenario begins with the unit installed, active and as shipped."""

import re
import shutil
import time

from blocks import block
from machine import ROOT, Failed, wait_for

UNIT = "solostart-banboard"
PROGRAM = ROOT / "target" / "debug" / "examples" / "banboard"
DATA = "BANBOARD_DATA_DIR=/var/lib/banboard"
SCENARIOS = {}


def scenario(name):
    """Adds a function to the scenarios. The name is a rule that holds."""
    def add(function):
        SCENARIOS[name] = function
        return function
    return add


def check(holds, what):
    if not holds:
        raise Failed(what)


def document(name):
    """The commands of a block of systemd.md."""
    return block("systemd.md", f"systemd: {name}")


def installed(it):
    """The unit as the document installs it, on a machine with the log of fail2ban, and nothing of earlier scenarios."""
    home, it.began = it.tree / "root", time.time()
    it.sh(f"systemctl stop {UNIT}; systemctl reset-failed {UNIT}; rm -rf /etc/systemd/system/{UNIT}.service.d "
          "/var/lib/private/banboard /var/lib/banboard /var/lib/banboard-shown /root/other "
          "/run/banboard.* /dev/shm/banboard.*")
    shutil.copy(PROGRAM, home / "banboard")
    shutil.copy(ROOT / "docs/deploy" / f"{UNIT}.service", home)
    log = it.tree / "var/log/fail2ban.log"
    shutil.copy(ROOT / "examples/banboard/sample/fail2ban.log", log)
    # As Debian's package makes it.
    it.sh("chown root:adm /var/log/fail2ban.log && chmod 0640 /var/log/fail2ban.log").ok()
    it.sh(f"set -e\n{document('install')}", 60).ok()
    return Unit(it)


def last_words(it):
    """What the unit said in this scenario, and systemd of it."""
    return it.sh(f"systemctl status -n 0 {UNIT}; journalctl -u {UNIT} --since @{it.began:.3f} -n 100 --no-pager").output


class Unit:
    def __init__(self, it):
        self.it, self.sh = it, it.sh

    def show(self, name):
        return self.sh(f"systemctl show -P {name} {UNIT}").ok()

    def pid(self):
        return int(self.show("MainPID"))

    def with_settings(self, *lines):
        """Stops the unit and gives it more lines. It is not started."""
        self.sh(f"systemctl stop {UNIT}").ok()
        self.sh(f"mkdir -p /etc/systemd/system/{UNIT}.service.d").ok()
        more = self.it.tree / f"etc/systemd/system/{UNIT}.service.d/more.conf"
        more.write_text("\n".join(["[Service]", *lines, ""]))
        self.sh("systemctl daemon-reload").ok()

    def start(self, limit=60):
        return self.sh(f"systemctl start {UNIT}", limit)

    def stays_down(self, code, said):
        """The start fails with this exit code, and is not repeated."""
        check(self.start().code != 0, "the start succeeded")
        # Longer than RestartSec.
        time.sleep(3)
        state = [self.show(name) for name in ("ActiveState", "NRestarts", "ExecMainStatus")]
        check(state == ["failed", "0", str(code)], f"{state}, not failed, 0, {code}")
        check(said in last_words(self.it), f"no {said} in the journal")

    def is_restarted(self, code, said):
        self.sh(f"systemctl start --no-block {UNIT}").ok()
        wait_for("restart", lambda: int(self.show("NRestarts")) >= 1, 40)
        check(said in last_words(self.it), f"no {said} in the journal")
        check(f"status={code}/" in last_words(self.it), f"it did not end with {code}")

    def is_active_again(self, old, limit=30):
        """Another process of the unit is ready."""
        def again():
            return self.show("ActiveState") == "active" and self.pid() not in (0, old)
        wait_for("new process", again, limit)

    def answers(self, path="/livez"):
        line = f"exec 3<>/dev/tcp/127.0.0.1/8080; printf 'GET {path} HTTP/1.0\\r\\n\\r\\n' >&3; head -1 <&3"
        return " 200 " in self.sh(f"timeout 5 bash -c {quoted(line)}").output


def quoted(text):
    return "'" + text.replace("'", "'\\''") + "'"


@scenario("install: as shipped, it starts by the commands of the document, and start returns when it is ready")
def install(unit):
    check(unit.show("ActiveState") == "active", unit.show("ActiveState"))
    check(unit.show("StatusText").startswith("ready in "), unit.show("StatusText"))
    check(unit.answers(), "the board is not served")
    check(unit.show("NRestarts") == "0", "it was restarted")
    log = last_words(unit.it)
    check("WARN" not in log, f"it warns:\n{log}")
    unit.sh(f"systemctl stop {UNIT}").ok()
    unit.start().ok()
    check(unit.show("StatusText").startswith("ready in "), unit.show("StatusText"))


@scenario("hardening: nobody else enters the data, systemd finds little to say, and nothing in the unit is unknown")
def hardening(unit):
    modes = unit.sh("stat -c '%a %n' /var/lib/private/banboard /var/lib/private/banboard/*").ok()
    check("700 /var/lib/private/banboard\n" in modes, modes)
    wide = [line for line in modes.splitlines()[1:] if not line.startswith("600 ")]
    check(not wide, f"others may read {wide}")
    said = unit.sh(f"systemd-analyze verify /etc/systemd/system/{UNIT}.service").ok()
    check(not said, said)
    exposure = re.search(r"exposure level for .*: ([\d.]+)", unit.sh(f"systemd-analyze security {UNIT}").output)
    check(exposure and float(exposure[1]) < 2, exposure)


@scenario("78: several workers in the environment: it stays down")
def several_workers(unit):
    unit.with_settings("Environment=WEB_CONCURRENCY=4")
    unit.stays_down(78, "worker.count-configured")
    log = last_words(unit.it)
    check(f"Environment=` of {UNIT}.service" in flat(log) and "docker" not in log, f"not the words of systemd:\n{log}")


@scenario("77: a log that it may not read: it stays down, and the report names the log")
def no_permission(unit):
    unit.with_settings("SupplementaryGroups=")
    unit.stays_down(77, "/var/log/fail2ban.log")


@scenario("69: an upstream that is away: it is started again")
def upstream_away(unit):
    unit.with_settings(
        "Environment=BANBOARD_HTTP_PROBE_URL=http://127.0.0.1:9/health BANBOARD_HTTP_RETRY_BUDGET=1s",
    )
    unit.is_restarted(69, "http.connect")


@scenario("75: one that was started by hand holds the lock and stands still: the unit tries again until it is gone")
def unresponsive(unit):
    unit.sh(f"systemctl stop {UNIT}").ok()
    other = by_hand(unit)
    try:
        unit.sh(f"kill -STOP {other}").ok()
        # Longer than BANBOARD_LEASE_TTL.
        time.sleep(16)
        unit.is_restarted(75, "lock.holder-unresponsive")
        unit.sh(f"kill -KILL {other}").ok()
        unit.is_active_again(0)
    finally:
        unit.sh(f"kill -KILL {other}; systemctl stop by-hand; systemctl reset-failed by-hand")


@scenario("SIGKILL: it is active again, and takes lock and lease over at once")
def killed(unit):
    old = unit.pid()
    unit.sh(f"kill -KILL {old}").ok()
    unit.is_active_again(old, 15)
    check("lock.held" not in last_words(unit.it), "it met its own lock")


@scenario("watchdog: a process that stands still is ended and started again")
def watchdog(unit):
    unit.with_settings("WatchdogSec=3")
    unit.start().ok()
    old = unit.pid()
    unit.sh(f"kill -STOP {old}").ok()
    unit.is_active_again(old)
    check("watchdog timeout" in last_words(unit.it).lower(), "the watchdog did not end it")


@scenario("slow start: one that goes on lasts longer than TimeoutStartSec, and the status says where it is")
def slow(unit):
    unit.with_settings("TimeoutStartSec=3", "Environment=BANBOARD_HTTP_PROBE_URL=http://127.0.0.1:8098/livez")
    unit.sh(f"systemctl start --no-block {UNIT}").ok()
    wait_for("status of the stage", lambda: "http-session" in unit.show("StatusText"), 10)
    time.sleep(5)
    check(unit.show("ActiveState") == "activating", unit.show("ActiveState"))
    unit.sh("systemd-run --unit=upstream -E BANBOARD_DATA_DIR=/root/other -E BANBOARD_LISTEN=127.0.0.1:8098 "
            "-E BANBOARD_FAIL2BAN_LOG=/var/log/fail2ban.log /usr/local/bin/banboard").ok()
    try:
        wait_for("ready unit", lambda: unit.show("ActiveState") == "active", 30)
        check(unit.show("NRestarts") == "0", "it was restarted")
    finally:
        unit.sh("systemctl stop upstream")


@scenario("stop: it ends in order and with 0, and leaves no health behind")
def stopped(unit):
    began = time.monotonic()
    unit.sh(f"systemctl stop {UNIT}").ok()
    took = time.monotonic() - began
    state = [unit.show(name) for name in ("ActiveState", "Result", "ExecMainStatus")]
    check(state == ["inactive", "success", "0"] and took < 8, f"{state} after {took:.1f} s")
    left = unit.sh("ls /dev/shm/banboard.*/* /run/banboard.*/* 2>&1").output
    check(".health" not in left, left)


@scenario("second instance: by hand beside the unit it is refused, names the unit's process and disturbs nothing")
def second(unit):
    old = unit.pid()
    done = unit.sh(f"{DATA} /usr/local/bin/banboard", 30)
    check(done.code == 78 and "lock.held" in done.output, f"{done.code}\n{done.output}")
    check(f"process {old}," in flat(done.output), f"no process {old} in:\n{done.output}")
    pasted = re.search(r"See who runs: (systemctl status \d+)", flat(done.output))
    check(pasted and "docker" not in done.output, f"not the words of systemd:\n{done.output}")
    check(f"{UNIT}.service" in unit.sh(pasted[1]).ok(), "the command names another unit")
    check(unit.pid() == old and unit.show("ActiveState") == "active", "the unit was disturbed")


@scenario("second instance: the unit beside one that was started by hand stays down and names its process")
def unit_is_second(unit):
    unit.sh(f"systemctl stop {UNIT}").ok()
    other = by_hand(unit)
    try:
        unit.stays_down(78, "lock.held")
        log = flat(last_words(unit.it))
        check(f"process {other}, says /proc/locks, state S" in log, f"no process {other} in:\n{log}")
        check(f"systemctl status {other}" in log and "docker" not in log, f"not the words of systemd:\n{log}")
    finally:
        unit.sh("systemctl stop by-hand")


@scenario("looking: every command of the document answers")
def looking(unit):
    for line in document("looking").splitlines():
        said = unit.sh(line).ok()
        check(said, f"`{line}` says nothing")


@scenario("healthcheck: as another user it says which user to ask as, and that command, pasted, answers")
def healthcheck(unit):
    prompt, said = document("healthcheck").rstrip("\n").split("\n", 1)
    command = prompt.removeprefix("# ")
    done = unit.sh(command)
    user = unit.sh(f"stat -c %u /proc/{unit.pid()}").ok()
    check(done.code == 1 and f"uid {user}" in done.output, f"{done.code} {done.output}, and the unit's user is {user}")
    numbers = re.compile(r"\d+")
    check(numbers.sub("N", said) == numbers.sub("N", done.output.strip()), f"the document says\n{said}\n{done.output}")
    as_it = f"{DATA} {done.output.split('ask as that user: ')[1]}"
    # It is said four times in a second how far the start is.
    wait_for("ready", lambda: unit.sh(as_it).code == 0, 5)
    check(unit.sh(as_it).output.startswith("ready: "), unit.sh(as_it).output)


@scenario("group: with the lines of the document a group reads report and metrics, and nothing else")
def group(unit):
    unit.sh(f"set -e\n{document('group')}").ok()
    check(unit.show("ActiveState") == "active", unit.show("ActiveState"))
    member = "setpriv --reuid 2001 --regid 2001 --groups 4"
    wait_for("metrics", lambda: unit.sh(f"{member} cat /var/lib/banboard-shown/banboard.prom").code == 0, 15)
    unit.sh(f"{member} cat /var/lib/banboard-shown/report.json").ok()
    for path in ("/var/lib/banboard/banboard.lock", "/var/lib/private/banboard/banboard.db"):
        check(unit.sh(f"{member} cat {path}").code != 0, f"{path} can be read")
    check(unit.sh("setpriv --reuid 2002 --regid 2002 --clear-groups cat /var/lib/banboard-shown/report.json").code != 0,
          "everybody can read the report")


def by_hand(unit):
    """The process of an instance that root started on the unit's data."""
    unit.sh(f"systemd-run --unit=by-hand -E {DATA} -E BANBOARD_LISTEN=127.0.0.1:8097 "
            "-E BANBOARD_FAIL2BAN_LOG=/var/log/fail2ban.log --service-type=notify /usr/local/bin/banboard").ok()
    return int(unit.sh("systemctl show -P MainPID by-hand").ok())


def flat(text):
    """A report without its line breaks, and without what the journal puts before each line."""
    return " ".join(re.sub(r"^\w+ \d+ [\d:]+ \S+ \S+\[\d+\]:", "", text, flags=re.M).split())
