"""Boots the machine, runs the scenarios, and says of each how it went and how long it took."""

import pathlib
import signal
import sys
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "documents"))

import scenarios
from machine import Failed, machine


def play(it, name, scenario):
    """Runs one scenario on the unit as it was installed; returns whether what it asserts holds."""
    began = time.monotonic()
    try:
        scenario(scenarios.installed(it))
        said = "ok"
    except Failed as failed:
        said = f"FAILED\n{failed}"
    except Exception:  # a defect of the scenario; the others still run
        said = f"FAILED\n{traceback.format_exc()}"
    print(f"{time.monotonic() - began:6.1f} s  {said.splitlines()[0]:6}  {name}", flush=True)
    if said != "ok":
        print("\n".join(said.splitlines()[1:]) + "\n" + scenarios.last_words(it), flush=True)
    return said == "ok"


def main(words):
    chosen = {
        name: run for name, run in scenarios.SCENARIOS.items() if not words or any(word in name for word in words)
    }
    if not chosen:
        raise Failed(f"no scenario is called like {' or '.join(words)}")
    began = time.monotonic()
    with machine() as it:
        version = it.sh("systemctl --version").ok().splitlines()[0]
        print(f"== {version} as process 1, after {time.monotonic() - began:.0f} s", flush=True)
        passed = [play(it, name, scenario) for name, scenario in chosen.items()]
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
        print(f"scripts/test-systemd: {failed}", file=sys.stderr)
        sys.exit(1)
