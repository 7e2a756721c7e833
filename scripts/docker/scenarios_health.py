"""Starting late, looking at a service that runs, and what the engine says of its health."""

import re

from blocks import block
from engine import wait_for
from world import check, scenario


@scenario("dns: an upstream whose name appears within the budget is waited for")
def dns(world):
    world.use("compose.yaml", override="services: {app: {healthcheck: {interval: 1s}}}")
    world.compose("up", "-d").ok()
    app = world.container_of("app")
    wait_for("probe", lambda: any("starting: http-session" in line for _, line in app.probes()), 20)
    world.upstream()
    app.wait_healthy()
    check(app.inspect()["RestartCount"] == 0 and "READY" in app.log(), app.log())
    # The document shows what such a start says.
    shown = set(map(shape, block("compose.md", "compose: probes").splitlines()[1:]))
    said = {shape(f"{code} {line}") for code, line in app.probes()}
    check(shown <= said, f"the document shows {shown}, and the probes said {said}")


def shape(line):
    """A line without its numbers and times."""
    return re.sub(r"\d+", "N", re.sub(r"[\d.]+(ms|us|s)\b", "T", line.strip()))


@scenario("health: it goes from starting to healthy, and each probe says what it saw")
def health(world):
    app = world.run("app", "-v", f"{world.volume()}:/data", "--network", "none")
    check(app.health() == "starting", app.state())
    app.wait_healthy()
    code, line = app.probes()[-1]
    check(code == 0 and line.startswith("ready: 10/10 stages, said ") and "\n" not in line, f"{code}: {line}")
    for probe in ("--live", "--ready", "--startup"):
        world.docker("exec", "app", "/banboard", "healthcheck", probe).ok()


@scenario("health: it is of this container alone: one that is refused does not speak for the other")
def own_health(world):
    first = world.run("first", "-v", f"{world.volume()}:/data").wait_healthy()
    still = first.undisturbed()
    asked = world.run_until_it_ends("-v", f"{world.volume()}:/data", command=["healthcheck"])
    check(asked.code == 1 and asked.output.startswith("not running"), asked.output)
    still()


@scenario("run: a subcommand beside the running service takes nothing and disturbs nobody")
def beside(world):
    world.use("compose.dev.yaml")
    world.compose("up", "-d").ok()
    app = world.container_of("app").wait_healthy()
    still = app.undisturbed()
    status = world.compose("run", "--rm", "app", "lock", "status")
    check(status.code == 75 and "an instance runs" in status.output, f"{status.code}: {status.output}")
    checked = world.compose("run", "--rm", "app", "check")
    check(checked.code == 0 and "CHECK OK" in checked.output, f"{checked.code}: {checked.output}")
    usage = world.compose("run", "--rm", "app", "--help")
    check(usage.code == 0 and "healthcheck" in usage.output, usage.output)
    again = world.compose("run", "--rm", "app")
    check(again.code == 78 and "lock.held" in again.output, f"{again.code}: {again.output}")
    still()
    app.docker("stop").ok()
    status = world.compose("run", "--rm", "app", "lock", "status")
    check(status.code == 0 and "nobody has it" in status.output, f"{status.code}: {status.output}")
