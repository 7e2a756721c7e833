"""The stack of docs/deploy/swarm.md, on a swarm of one node."""

import json

from blocks import block
from engine import wait_for
from images import IMAGE
from world import check, scenario


@scenario("swarm: the commands of the document, typed, make a service of one task, placed on the node that was named")
def stack(world):
    world.docker("swarm", "init", "--advertise-addr", "127.0.0.1").ok()
    try:
        file = block("swarm.md", "swarm: stack").replace("registry.example.org/banboard:0.1.0", IMAGE)
        file = file.replace("/var/log:/logs", f"{world.home / 'logs'}:/logs")
        if world.docker("version", "--format", "{{.Client.Version}}").ok().startswith("20."):
            # As the document says of it.
            file = f'version: "3.9"\n{file}'
        (world.home / "stack.yaml").write_text(file)
        (world.home / "upstream_url.txt").write_text(world.secret.read_text())
        node = world.docker("node", "ls", "-q").ok()
        lines = block("swarm.md", "swarm: deploy").replace(" NODE ", f" {node} ")
        world.engine.shell(f"set -e\ncd {world.home}\n{lines}").ok()
        spec = json.loads(world.docker("service", "inspect", "banboard_app").ok())[0]["Spec"]
        check(spec["Mode"] == {"Replicated": {"Replicas": 1}}, spec["Mode"])
        check(spec["UpdateConfig"]["Order"] == "stop-first", spec["UpdateConfig"])
        check(spec["TaskTemplate"]["RestartPolicy"]["MaxAttempts"] == 5, spec["TaskTemplate"]["RestartPolicy"])

        def placed():
            said = world.docker("service", "ps", "banboard_app", "--no-trunc", "--format", "{{.Node}} {{.CurrentState}}")
            return said.output.strip() and not said.output.startswith(" ") and said.output
        check(len(wait_for("task on the node", placed, 60).splitlines()) == 1, placed())
    finally:
        world.docker("stack", "rm", "banboard")
        world.docker("swarm", "leave", "--force")
