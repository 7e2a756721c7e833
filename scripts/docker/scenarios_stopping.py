"""How it ends: stopped, killed, or restarted over and over."""

import datetime
import json

from engine import wait_for
from world import assert_quoted, assert_report, check, report_in, scenario, seconds

LONGEST_ATTEMPT = 10  # seconds; an attempt that lasts as long resets Docker's back-off (moby, restartmanager.go)


@scenario("stop: docker stop ends it in order and with 0, well within the grace")
def stop(world):
    app = world.run("app", "-v", f"{world.volume()}:/data").wait_healthy()
    took = seconds(lambda: app.docker("stop", "-t", "20").ok())
    check(app.state()["ExitCode"] == 0, app.state())
    check(took < 8, f"took {took:.1f} s")
    check("STOPPED" in app.log() and "SIGTERM" in app.log(), app.log())
    check("banboard.lock" in world.busybox("ls /data", "-v", f"{world.volume()}:/data"), "the lock file is gone")


@scenario("stop: compose down and up again keeps the data and the volume")
def down_and_up(world):
    world.use("compose.dev.yaml")
    world.compose("up", "-d").ok()
    world.container_of("app").wait_healthy()
    world.compose("down").ok()
    world.compose("up", "-d").ok()
    world.container_of("app").wait_healthy()


@scenario("pid 1: SIGTERM and SIGINT during the start roll back and end with 0")
def during_the_start(world):
    for number, name in enumerate(("TERM", "INT")):
        options = ["-v", f"{world.volume(name)}:/data", "-e", "BANBOARD_HTTP_PROBE_URL=http://127.0.0.1:9/"]
        app = world.run(f"app{number}", *options)
        wait_for("start", lambda: any("starting" in line for _, line in app.probes()), 20)
        took = seconds(lambda: (app.docker("kill", "-s", name).ok(), app.wait_exit()))
        check(app.state()["ExitCode"] == 0, f"{app.state()}\n{app.log()}")
        check(took < 8, f"took {took:.1f} s")


@scenario("recreate: a changed setting ends the old container before the new one starts")
def recreate(world):
    world.use("compose.dev.yaml")
    world.compose("up", "-d").ok()
    before = world.container_of("app").wait_healthy().inspect()["Id"]
    world.compose("up", "-d", RUST_LOG="debug").ok()
    app = world.container_of("app").wait_healthy()
    check(app.inspect()["Id"] != before, "it was not recreated")
    check("lock.held" not in app.log(), app.log())


@scenario("restart: on-failure:5 gives up on a permanent failure; every report is short and every attempt, too")
def restart(world):
    world.use("wrong/several-workers.yaml", override="services: {app: {restart: 'on-failure:5'}}")
    world.compose("up", "-d").ok()
    app = world.container_of("app")
    wait_for("fifth restart", lambda: app.inspect()["RestartCount"] == 5 and app.state()["Status"] == "exited")
    check(app.state()["ExitCode"] == 78, app.state())
    reports = app.log().count("STARTUP FAILED")
    check(reports == 6, f"{reports} reports")
    # The first in full, the others in three lines: what counts them is on the volume.
    assert_report(app.log(), 78, "worker.count-configured")
    told = [line for line in app.log().splitlines() if " ERROR " not in line]
    check(len(told) <= 42 + 5 * 3 and "attempt 6, same since" in app.log(), app.log())
    assert_quoted("\n".join(told[-3:]) + "\n", "repeated")
    # The engine tells of the last end a moment after the container's state does.
    wait_for("the end of the sixth attempt", lambda: len(lives(world, app)) == 6)
    attempts = lives(world, app)
    check(max(end - start for start, end in attempts) < LONGEST_ATTEMPT, attempts)
    gaps = [start - end for (_, end), (start, _) in zip(attempts, attempts[1:])]
    least = [0.1 * 2**number for number in range(5)]  # Docker's back-off, where nothing resets it
    check(all(gap >= wanted for gap, wanted in zip(gaps, least)), f"the back-off was reset: {gaps}")


@scenario("restart: a second instance under `restart: always` never resets the back-off and never disturbs the first")
def restart_always(world):
    first = world.run("first", "-v", f"{world.volume()}:/data").wait_healthy()
    still = first.undisturbed()
    second = world.run("second", "-v", f"{world.volume()}:/data", "--restart", "always")
    wait_for("fourth restart", lambda: second.inspect()["RestartCount"] >= 4)
    attempts = lives(world, second)
    check(max(end - start for start, end in attempts) < LONGEST_ATTEMPT, attempts)
    second.docker("rm", "-f").ok()
    still()


@scenario("hold: BANBOARD_FAILURE_HOLD keeps a failed start, unhealthy and without the lock, until it is stopped")
def hold(world):
    options = ["-v", f"{world.volume()}:/data", "-e", "BANBOARD_FAILURE_HOLD=1h"]
    app = world.run("held", *options, "-e", "WEB_CONCURRENCY=4").wait_log("HOLDING for 3600s before exit 78")
    asked = world.docker("exec", "held", "/banboard", "healthcheck")
    check(asked.code == 1 and asked.output.startswith("not running"), asked.output)
    world.run("other", *options).wait_healthy()
    took = seconds(lambda: app.docker("stop").ok())
    check(app.state()["ExitCode"] == 78 and took < 8, f"{app.state()} after {took:.1f} s")


def lives(world, container):
    """When each attempt began and ended, in seconds, as the engine saw it."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    events = world.docker(
        "events", "--since", "10m", "--until", now, "--format", "{{json .}}",
        "--filter", f"container={container.inspect()['Id']}", "--filter", "event=start", "--filter", "event=die",
    ).ok()
    times = {"start": [], "die": []}
    for line in events.splitlines():
        event = json.loads(line)
        times[event["Action"]].append(event["timeNano"] / 1e9)
    return list(zip(times["start"], times["die"]))


@scenario("failed start: its exit code and its report stay in docker inspect and docker logs")
def failed_start(world):
    options = ["-v", f"{world.volume()}:/data", "-e", "BANBOARD_HTTP_RETRY_BUDGET=5s"]
    app = world.run("app", *options, "-e", "BANBOARD_HTTP_PROBE_URL=http://user:hunter2@127.0.0.1:9/x?key=hunter2")
    wait_for("probe", lambda: any("starting: http-session" in line for _, line in app.probes()), 20)
    check(app.health() == "starting", app.state())
    check(app.wait_exit() == 69, app.log())
    check(app.health() != "healthy", app.state())
    assert_report(app.log(), 69, "http.connect", "MAY help")
    everything = app.log() + json.dumps(app.state())
    check("hunter2" not in everything, "a secret is shown:\n" + everything)
    check(report_in(app.log()).count("\n") <= 42, "the report is long")
