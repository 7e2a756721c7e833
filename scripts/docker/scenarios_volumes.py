"""Volumes and secrets that are not as they should be, and what the report says to do."""

import os
import re
import tempfile

from world import assert_quoted, assert_report, check, scenario


@scenario("root's volume: refused, and the action of the report, pasted, mends it")
def roots_volume(world):
    volume = world.volume()
    world.busybox("touch /data/theirs; chown -R 0:0 /data; chmod 0755 /data", "-v", f"{volume}:/data")
    done = world.run_until_it_ends("-v", f"{volume}:/data")
    check(done.code == 77, f"{done.code}\n{done.output}")
    report = assert_report(done.output, 77, "db.not-writable", "uid 65532", "owner 0:0, mode 0755")
    assert_quoted(report, "roots-volume")
    pasted = re.search(r"^ *(docker run .*)$", report, re.M)
    check(pasted, report)
    check(volume in pasted.group(1), f"it names another volume: {pasted.group(1)}")
    world.engine.shell(pasted.group(1)).ok()
    world.run("app", "-v", f"{volume}:/data").wait_healthy()


@scenario("root's directory: refused, and the action of the report names the directory, pasted, mends it")
def roots_directory(world):
    directory = world.home / "bound"
    directory.mkdir(mode=0o755)
    done = world.run_until_it_ends("-v", f"{directory}:/data")
    check(done.code == 77, f"{done.code}\n{done.output}")
    report = assert_report(done.output, 77, "db.not-writable", "owner 0:0, mode 0755")
    pasted = re.search(r"^ *(docker run .*)$", " ".join(report.split("Do this")[1].split()).replace("docker run", "\ndocker run"),
                       re.M)
    check(pasted and str(directory.name) in pasted.group(1) and "<" not in pasted.group(1), report)
    world.engine.shell(pasted.group(1).split(" 2. ")[0]).ok()
    world.run("app", "-v", f"{directory}:/data").wait_healthy()


@scenario("pod: where the environment names a cluster, the report has its words, and none of Docker's")
def pod(world):
    world.busybox("touch /data/theirs; chown -R 0:0 /data; chmod 0755 /data", "-v", f"{world.volume()}:/data")
    cluster = ("-e", "KUBERNETES_SERVICE_HOST=10.0.0.1")
    done = world.run_until_it_ends("-v", f"{world.volume()}:/data", *cluster)
    assert_report(done.output, 77, "db.not-writable", "`fsGroup: 65532`")
    check("docker" not in done.output and "compose" not in done.output, done.output)
    done = world.run_until_it_ends(*cluster, "-e", "WEB_CONCURRENCY=4")
    assert_report(done.output, 78, "worker.count-configured", "kubectl get pod")
    check("docker" not in done.output and "compose" not in done.output, done.output)


@scenario("memory of the machine: refused, and it is not said that this container alone sees it")
def memory_of_the_machine(world):
    own = world.run_until_it_ends("--tmpfs", "/data:uid=65532,mode=0700")
    assert_report(own.output, 78, "lock.not-shared", "by this container alone")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        os.chmod(directory, 0o777)
        below = world.run_until_it_ends("-v", f"{directory}:/data")
    report = assert_report(below.output, 78, "lock.not-shared", "type tmpfs")
    check("this container alone" not in report, report)


@scenario("read-only volume: refused, and the report names the mount")
def read_only(world):
    world.run_until_it_ends("-v", f"{world.volume()}:/data", command=["--version"])
    done = world.run_until_it_ends("-v", f"{world.volume()}:/data:ro")
    check(done.code == 77, f"{done.code}\n{done.output}")
    assert_report(done.output, 77, "db.not-writable", "/data", "read-only", "Remove `:ro`")


@scenario("full volume: refused, and the report says how much space is left")
def full(world):
    size = "type=tmpfs", "device=tmpfs", "o=size=8m,uid=65532,mode=0750"
    options = [word for each in size for word in ("--opt", each)]
    world.docker("volume", "create", *options, world.volume()).ok()
    # What is in memory lasts as long as somebody uses it.
    fill = "dd if=/dev/zero of=/data/theirs bs=4096; sleep 600"
    world.docker("run", "-d", "--name", "filler", "-v", f"{world.volume()}:/data", "busybox", "sh", "-c", fill).ok()
    world.docker("exec", "filler", "sh", "-c", "while ! ls /data/theirs; do sleep 0.1; done; sleep 0.5").ok()
    allow = ["-e", "BANBOARD_ALLOW_UNSHARED_LOCK=tmpfs"]
    done = world.run_until_it_ends("-v", f"{world.volume()}:/data", *allow)
    check(done.code == 74, f"{done.code}\n{done.output}")
    report = assert_report(done.output, 74, "db.disk-full", "0 bytes free", "MAY help")
    # A volume in memory is mounted whole: nothing of the machine's may be taken for it.
    check("-v /:" not in report, report)
    world.docker("exec", "filler", "sh", "-c", ": > /data/theirs").ok()
    world.run("app", "-v", f"{world.volume()}:/data", *allow).wait_healthy()


@scenario("backup beside the log of before: refused, and the action of the report, pasted, mends it")
def backup_beside_the_log(world):
    data = ("-v", f"{world.volume()}:/data")
    app = world.run("app", *data).wait_healthy()
    app.docker("kill").ok()
    world.busybox("cd /data; cp banboard.db backup; rm banboard.db; cp -p backup banboard.db; chown 65532:65532 banboard.db", *data)
    app.docker("start").ok()
    check(app.wait_exit() == 65, app.log())
    report = assert_report(app.log(), 65, "db.replaced", "will NOT help")
    world.engine.shell(typed(report, "mv /data/banboard.db-wal /data/banboard.db-wal.old")).ok()
    app.docker("start").ok()
    app.wait_healthy()


def typed(report, command):
    """The line under `Do this` that runs `command` in a container beside the one that reports."""
    flat = " ".join(report.split("Do this")[1].split())
    found = re.search(rf"docker run --rm -v \S+:/data busybox {re.escape(command)}", flat)
    check(found, f"nothing to paste for `{command}`:\n{report}")
    return found.group(0)


@scenario("no database: a file that is none is refused and left as it is")
def not_a_database(world):
    world.busybox("echo somebody\\'s > /data/banboard.db; chown -R 65532:65532 /data", "-v", f"{world.volume()}:/data")
    done = world.run_until_it_ends("-v", f"{world.volume()}:/data")
    check(done.code == 65, f"{done.code}\n{done.output}")
    assert_report(done.output, 65, "db.corrupt", "/data/banboard.db")
    check(world.busybox("cat /data/banboard.db", "-v", f"{world.volume()}:/data") == "somebody's", "it was changed")


@scenario("secret: not given to this service: refused, and the report names variable and path")
def secret_not_given(world):
    world.use("compose.dev.yaml", override="""
services: {app: {environment: {BANBOARD_HTTP_PROBE_URL_FILE: /run/secrets/upstream_url}}}
""")
    world.compose("up")
    app = world.container_of("app")
    check(app.wait_exit() == 78, app.log())
    assert_report(app.log(), 78, "env.invalid", "BANBOARD_HTTP_PROBE_URL_FILE", "/run/secrets/upstream_url")


@scenario("secret: its file missing on this machine: the engine refuses and names the file")
def secret_file_missing(world):
    world.secret.unlink()
    world.use("compose.yaml")
    done = world.compose("up", "-d")
    check(done.code != 0 and str(world.secret) in done.output, f"{done.code}: {done.output}")


@scenario("secret: not readable by uid 65532: refused, and its content is not shown")
def secret_not_readable(world):
    world.secret.chmod(0o400)
    world.use("compose.yaml")
    world.compose("up", "-d").ok()
    app = world.container_of("app")
    check(app.wait_exit() == 78, app.log())
    assert_report(app.log(), 78, "env.invalid", "BANBOARD_HTTP_PROBE_URL_FILE")
    check("livez" not in app.log(), app.log())
