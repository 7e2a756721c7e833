"""Builds the image, runs the scenarios, and says of each how it went and how long it took."""

import importlib
import pathlib
import signal
import sys
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "documents"))

import images
from engine import Failed, private_engine
from world import SCENARIOS, World

MODULES = sorted(path.stem for path in pathlib.Path(__file__).parent.glob("scenarios_*.py"))


def play(engine, name, scenario):
    """Runs one scenario in a world of its own; returns whether what it asserts holds."""
    began = time.monotonic()
    world = World(engine)
    try:
        scenario(world)
        said = "ok"
    except Failed as failed:
        said = f"FAILED\n{failed}"
    except Exception:  # a defect of the scenario; the others still run
        said = f"FAILED\n{traceback.format_exc()}"
    finally:
        logs = world.logs()
        world.close()
    print(f"{time.monotonic() - began:6.1f} s  {said.splitlines()[0]:6}  {name}", flush=True)
    if said != "ok":
        print("\n".join(said.splitlines()[1:]) + "\n" + logs, flush=True)
    return said == "ok"


def main(words):
    for module in MODULES:
        importlib.import_module(module)
    chosen = {name: run for name, run in SCENARIOS.items() if not words or any(word in name for word in words)}
    if not chosen:
        raise Failed(f"no scenario is called like {' or '.join(words)}")
    began = time.monotonic()
    with private_engine() as engine:
        version = engine.docker("version", "--format", "{{.Server.Version}}").ok()
        compose = engine.compose("version", "--short").ok()
        size, took = images.build(engine)
        print(f"== engine {version}, compose {compose}; image {size / 1e6:.1f} MB, built in {took:.0f} s", flush=True)
        passed = [play(engine, name, scenario) for name, scenario in chosen.items()]
        if size >= images.SIZE_MOST:
            raise Failed(f"the image has {size} bytes; less than {images.SIZE_MOST} are wanted")
    print(f"== {passed.count(True)} of {len(passed)} scenarios hold, {time.monotonic() - began:.0f} s in all")
    return 0 if all(passed) else 1


class Ended(BaseException):
    """A signal ends the run and not only a scenario, and everything is cleaned up."""


def give_up(number, _frame):
    raise Ended(f"ended by {signal.Signals(number).name}")


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, give_up)
    try:
        sys.exit(main(sys.argv[1:]))
    except (Failed, Ended) as failed:
        print(f"scripts/test-docker: {failed}", file=sys.stderr)
        sys.exit(1)
