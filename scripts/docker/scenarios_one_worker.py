"""Exactly one worker, however many containers are started."""

import re

from blocks import block
from engine import wait_for
from images import IMAGE
from world import assert_quoted, assert_report, check, scenario, seconds


@scenario("up: compose.yaml comes up and is healthy, with its secret and its read-only root")
def up(world):
    world.use("compose.yaml")
    world.compose("up", "--no-start").ok()
    world.upstream().wait_healthy()
    world.compose("up", "-d").ok()
    app = world.container_of("app").wait_healthy()
    check(app.get("/readyz") == 200, "not ready over HTTP")
    check(app.inspect()["HostConfig"]["ReadonlyRootfs"], "the root file system is not read-only")
    check("READY" in app.log() and "upstream" not in app.log(), f"the URL is a secret:\n{app.log()}")


@scenario("start: the commands of the document, typed, bring it up; the image is not built again")
def start(world):
    lines = block("compose.md", "compose: start")
    build = re.search(r"^docker build -f Docker/Dockerfile -t (\S+) \.$", lines, re.M)
    check(build, "the document builds another image than this script")
    world.docker("tag", IMAGE, build[1]).ok()
    lines = lines.replace(build[0], f"docker image inspect {build[1]} > inspected.json")
    if world.engine.compose("version", "--short").ok().startswith("1."):
        # As the document says of it.
        lines = lines.replace("docker compose", "docker-compose").replace(" --wait", "")
    project, env = "compose", {"BANBOARD_PUBLISH": "127.0.0.1:0", "FAIL2BAN_LOG_DIR": str(world.home / "logs")}
    # Its upstream is one that can be reached here.
    lines = lines.replace("https://example.com/health", "http://upstream:8080/livez")
    before, after = lines.split("cp .env.example", 1)
    world.typed(f"{before}cp .env.example{after.split('docker', 1)[0]}docker-compose up --no-start", **env).ok()
    world.name = project
    world.upstream().wait_healthy()
    world.typed(lines, **env).ok()
    app = world.container_of("app").wait_healthy()
    check(app.name and "READY in" in app.log(), app.log())


@scenario("required: without ${FAIL2BAN_LOG_DIR:?} Compose refuses and says what to set")
def required(world):
    world.use("compose.yaml")
    done = world.compose("config", FAIL2BAN_LOG_DIR="")
    check(done.code != 0 and "set FAIL2BAN_LOG_DIR in .env" in done.output, done.output)


@scenario("scale: the second of two replicas exits 78 and names the first, which is undisturbed")
def scale(world):
    world.use("wrong/scaled.yaml")
    world.compose("up", "-d", "--scale", "app=1").ok()
    first = world.container_of("app").wait_healthy()
    still = first.undisturbed()
    world.compose("up", "-d", "--scale", "app=2").ok()
    second = next(each for each in world.containers_of("app") if each.name != first.name)
    check(second.wait_exit() == 78, second.state())
    report = assert_report(second.log(), 78, "lock.held", f"host {first.host()}", "will NOT help")
    assert_quoted(report, "scaled")
    still()


@scenario("scale: both replicas at once: one runs, one exits 78")
def scale_at_once(world):
    world.use("wrong/scaled.yaml")
    world.compose("up", "-d", "--scale", "app=2").ok()
    both = world.containers_of("app")
    check(len(both) == 2, both)
    states = wait_for("end of one", lambda: [each for each in both if each.state()["Status"] == "exited"])
    (winner,) = (each for each in both if each not in states)
    winner.wait_healthy()
    check([each.wait_exit() for each in states] == [78], [each.state() for each in states])


@scenario("scale: with container_name Compose itself refuses")
def scale_named(world):
    world.use("compose.dev.yaml")
    world.compose("up", "-d").ok()
    still = world.container_of("app").wait_healthy().undisturbed()
    done = world.compose("up", "-d", "--no-recreate", "--scale", "app=2")
    check(done.code != 0 and "name" in done.output, f"{done.code}: {done.output}")
    running = [each for each in world.containers_of("app") if each.state()["Status"] == "running"]
    check(len(running) == 1, f"{len(running)} run")
    still()


@scenario("start-first: two services on one volume: the new one is refused, the old one serves on")
def start_first(world):
    world.use("wrong/start-first.yaml")
    world.compose("up", "-d", "old").ok()
    old = world.container_of("old").wait_healthy()
    still = old.undisturbed()
    world.compose("up", "-d").ok()
    new = world.container_of("new")
    check(new.wait_exit() == 78, new.state())
    assert_quoted(assert_report(new.log(), 78, "lock.held", f"host {old.host()}"), "start-first")
    still()


@scenario("several workers: WEB_CONCURRENCY=4 is refused before anything is opened")
def several_workers(world):
    world.use("wrong/several-workers.yaml")
    done = world.compose("up")
    app = world.container_of("app")
    check(app.wait_exit() == 78, done.output)
    report = assert_report(app.log(), 78, "worker.count-configured", "WEB_CONCURRENCY")
    assert_quoted(report, "several-workers")
    left = world.busybox("ls /data", "-v", f"{world.volume()}:/data").split()
    told = ["banboard.ledger.json", "banboard.report.refused.json"]
    check(left == told, f"it left more than its report and its count of failed starts: {left}")


@scenario("no volume: a lock in the container's own layer is refused")
def lock_not_shared(world):
    world.use("wrong/lock-not-shared.yaml")
    world.compose("up")
    app = world.container_of("app")
    check(app.wait_exit() == 78, app.log())
    report = assert_report(app.log(), 78, "lock.not-shared", "overlay", "volumes: [data:/data]")
    assert_quoted(report, "lock-not-shared")
    anonymous = world.docker("volume", "ls", "-q").ok()
    check(anonymous == "", f"the image makes volumes of its own: {anonymous}")


@scenario("paths: one volume at two paths is one lock")
def paths(world):
    first = world.run("first", "-v", f"{world.volume()}:/data").wait_healthy()
    still = first.undisturbed()
    done = world.run_until_it_ends("-v", f"{world.volume()}:/elsewhere", "-e", "BANBOARD_DATA_DIR=/elsewhere")
    check(done.code == 78, done.output)
    assert_report(done.output, 78, "lock.held", f"host {first.host()}", "/elsewhere/banboard.lock")
    still()


@scenario("shared lease: with a lock of its own each, the second is refused by the lease and the report says so")
def shared_lease(world):
    ours = {}
    for name in ("a", "b"):
        ours[name] = ["-v", f"{world.volume('shared')}:/data", "-v", f"{world.home / name}:/data/banboard.lock"]
        (world.home / name).touch()
        (world.home / name).chmod(0o666)
    first = world.run("first", *ours["a"]).wait_healthy()
    still = first.undisturbed()
    done = world.run_until_it_ends(*ours["b"])
    check(done.code == 78, done.output)
    report = assert_report(done.output, 78, "lock.held", "renews the lease", f"host {first.host()}")
    check("was free" in report, report)
    still()


@scenario("separate volumes: nothing tells two of them apart, which is documented; each holds its own lock")
def separate_volumes(world):
    for name in ("one", "two"):
        world.run(name, "-v", f"{world.volume(name)}:/data").wait_healthy()


@scenario("kill: after SIGKILL it is healthy again without waiting for the lease")
def kill(world):
    app = world.run("app", "-v", f"{world.volume()}:/data", "-e", "BANBOARD_LEASE_TTL=60s").wait_healthy()
    app.docker("kill", "-s", "KILL").ok()
    check(app.wait_exit() == 137, app.state())

    def again():
        app.docker("start").ok()
        app.wait_healthy()
    took = seconds(again)
    check(took < 20, f"healthy after {took:.1f} s")
    check(app.log().count("READY") == 2, app.log())


@scenario("pause: beyond its TTL the second is refused; unpaused, the first goes on or ends; never two")
def pause(world):
    options = ["-v", f"{world.volume()}:/data", "-e", "BANBOARD_LEASE_TTL=3s"]
    first = world.run("first", *options).wait_healthy()
    first.docker("pause").ok()

    def refused():
        done = world.run_until_it_ends(*options)
        check(done.code in (75, 78), f"a second one ran beside a paused one: {done.code}\n{done.output}")
        return done if done.code == 75 else None
    done = wait_for("refusal that calls the first unresponsive", refused, 30, every=0.5)
    report = assert_report(done.output, 75, "lock.holder-unresponsive", f"host {first.host()}")
    check(re.search(r"paused", report), report)
    first.docker("unpause").ok()
    # Its lease has run out, so it may not go on. It ends by itself, and only then may the next start.
    check(first.wait_exit(30) == 75, first.state())
    assert_report(first.log(), 75, "lock.expired", "stood still")
    world.run("next", *options).wait_healthy()


@scenario("pause: shorter than its TTL changes nothing")
def short_pause(world):
    app = world.run("app", "-v", f"{world.volume()}:/data").wait_healthy()
    still = app.undisturbed()
    app.docker("pause").ok()
    done = world.run_until_it_ends("-v", f"{world.volume()}:/data")
    check(done.code == 78, done.output)
    app.docker("unpause").ok()
    still()
