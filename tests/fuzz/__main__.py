"""``python -m tests.fuzz [TARGET …]``: fuzz targets one after the other, guided by what of ``proxy`` an input reaches.

``SPLICE_FUZZ_SECONDS`` is how long each runs (1800), ``SPLICE_FUZZ_SEED`` what is drawn from. An input that fails is kept in
``.fuzz/``, and so is what has been reached, for the next run. Exit 1 if there was a failure.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from pathlib import Path

SECONDS = int(os.environ.get("SPLICE_FUZZ_SECONDS", "1800"))
SEED = int(os.environ.get("SPLICE_FUZZ_SEED", "1"))
LARGEST = 16_384
"""Bytes of an input; what is long or deep has tests of its own."""
SLOW = 10
"""Seconds after which an input counts as a hang."""
MEMORY = 2048
"""MiB after which it counts as a leak."""
KEPT = Path(".fuzz")
_RUNS = re.compile(r"Done (\d+) runs|^#(\d+)\s", re.MULTILINE)
_REACHED = re.compile(r"cov: (\d+)")


def fuzz(name: str) -> None:
    """Run one target in this process until its time is over or it fails; never returns."""
    import atheris  # noqa: PLC0415 - not for who runs the tests

    with atheris.instrument_imports(include=["proxy"]):
        from tests.fuzz.seeds import changed, seeds  # noqa: PLC0415 - what is imported before is not seen
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415
    target = TARGETS[name]
    corpus = KEPT / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, one in enumerate(seeds(name)):
        (corpus / f"seed-{number:03}").write_bytes(one)

    def mutate(data: bytes, largest: int, seed: int) -> bytes:
        rng = random.Random(seed)
        return changed(name, data, rng, lambda one: bytes(atheris.Mutate(one, largest)))[:largest]

    options = [
        f"-max_total_time={SECONDS}", f"-seed={SEED}", f"-max_len={LARGEST}", f"-timeout={SLOW}",
        f"-rss_limit_mb={MEMORY}", f"-artifact_prefix={KEPT}/failed-{name}-", "-print_final_stats=1", str(corpus),
    ]  # fmt: skip
    atheris.Setup([name, *options], target, custom_mutator=mutate)
    atheris.Fuzz()


def main(names: list[str]) -> int:
    """Fuzz each of ``names`` in a process of its own, and print what came of it."""
    failures = 0
    for name in names:
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz", "--one", name],
            check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        )  # fmt: skip
        runs = max((int(one or other) for one, other in _RUNS.findall(done.stdout)), default=0)
        reached = max(map(int, _REACHED.findall(done.stdout)), default=0)
        failures += done.returncode != 0
        told = "no failure" if done.returncode == 0 else "FAILED"
        print(f"{name:24} {runs:>12,} executions {reached:>7,} edges  {told}", flush=True)  # noqa: T201 - a report
        if done.returncode != 0:
            print(done.stdout[-4000:], flush=True)  # noqa: T201
    print(f"seed {SEED}, {SECONDS} s each: {failures} of {len(names)} failed")  # noqa: T201
    return min(failures, 1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        fuzz(sys.argv[2])
    else:
        from tests.fuzz.targets import TARGETS

        sys.exit(main(sys.argv[1:] or list(TARGETS)))
