"""What the image is."""

import json

from images import IMAGE
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
    files = world.docker("create", "--name", "content", IMAGE).ok() and world.docker("export", "content", "-o",
                                                                                     world.home / "content.tar")
    files.ok()
    check(world.docker("rm", "content").code == 0, "the container could not be removed")


@scenario("dev: compose.dev.yaml is up and healthy with no settings")
def dev(world):
    world.use("compose.dev.yaml")
    world.compose("up", "-d").ok()
    app = world.container_of("app").wait_healthy()
    check(app.get("/readyz") == 200 and app.get("/") == 200, "the board is not served")
