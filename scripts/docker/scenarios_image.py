"""What the image is."""

import json
import re
import tarfile

from images import IMAGE, layers_of_two_builds
from world import check, scenario


@scenario("image: not root, no shell, no curl, and labels that say what it is")
def image(world):
    config = json.loads(world.docker("image", "inspect", IMAGE).ok())[0]["Config"]
    check(config["User"] == "65532:65532", config["User"])
    check(config["Entrypoint"] == ["/banboard"] and not config.get("Volumes"), config)
    check(config["Healthcheck"]["Test"] == ["CMD", "/banboard", "healthcheck"], config["Healthcheck"])
    check(config["Labels"]["org.opencontainers.image.revision"] != "unknown", config["Labels"])
    for program in ("sh", "/bin/sh", "/bin/bash", "curl", "ls"):
        tried = world.docker("run", "--rm", "--entrypoint", program, IMAGE)
        check(tried.code == 127, f"{program}: {tried.code} {tried.output}")
    world.docker("create", "--name", "content", IMAGE).ok()
    world.docker("export", "--output", world.home / "content.tar", "content").ok()
    with tarfile.open(world.home / "content.tar") as content:
        files = {each.name: each for each in content if each.isfile()}
        data = content.getmember("data")
    # What the engine puts into every container: mount points and its marker.
    engines = {".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf"}
    ours = [name for name in files if name not in engines]
    allowed = re.compile(r"banboard|sample/fail2ban\.log|(usr/)?lib(64)?/([^/]+/)?[^/]+\.so(\.\d+)*")
    check(all(allowed.fullmatch(name) for name in ours), f"the image holds {ours}")
    check((data.uid, data.gid, data.mode & 0o777) == (65532, 65532, 0o700), f"{data.uid}:{data.gid} {data.mode:o}")


@scenario("image: two builds give the same layers, bit for bit")
def same_layers(world):
    once, twice = layers_of_two_builds(world.engine)
    check(once == twice and len(once) == 2, f"{once}\n{twice}")


@scenario("dev: compose.dev.yaml is up and healthy with no settings")
def dev(world):
    world.use("compose.dev.yaml")
    world.compose("up", "-d").ok()
    app = world.container_of("app").wait_healthy()
    check(app.get("/readyz") == 200 and app.get("/") == 200, "the board is not served")
