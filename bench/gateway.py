"""The gateway beside nginx: what an event, a request and a held stream cost, and what they add to the first content's time.

``python -m bench.gateway`` (or ``make bench``) starts a scripted upstream, nginx if it is installed, and the gateway; a load
asks each of them for the same answers in turn, and the upstream itself ("direct"). bench/README.md says how to read the table.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from statistics import median

import orjson

from bench.load import KEY, Report
from bench.processes import (
    ROOT,
    Broken,
    Cores,
    family,
    free_ports,
    pinned,
    raise_file_limit,
    resident_mib,
    running,
    shared_out,
    wait_for,
)
from proxy import __version__

STREAMS = 100
"""Streams at once, each of a hundred tokens in a second."""
CONNECTIONS = 64
"""Connections of the workload that does not stream; each asks again as soon as it is answered."""
HELD_INTERVAL = 0.5
"""Seconds between two tokens of a held stream, so that it lasts 50."""

_CONFIG = """
[server]
listen = ["127.0.0.1:{port}"]
grace_period = "1s"

[admin]
listen = []

[state]
directory = "state"

[[accounts]]
name = "chat"
provider = "openai"
api_key = "sk-upstream"
base_url = "http://127.0.0.1:{upstream}/v1"
models = ["gpt-4o"]

[[accounts]]
name = "anthropic"
provider = "anthropic"
api_key = "sk-upstream"
base_url = "http://127.0.0.1:{upstream}"
models = ["claude-sonnet-4-20250514"]

[[models]]
name = "gpt-4o"
targets = ["openai/gpt-4o"]

[[models]]
name = "claude"
targets = ["anthropic/claude-sonnet-4-20250514"]

[[keys]]
name = "bench"
key = {{ env = "BENCH_KEY" }}
concurrency = 20000
"""

# The buffer is wide enough for whatever has waited, since the load looks for whole tokens.
_NGINX = """
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/nginx.error;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  upstream provider {{
    server 127.0.0.1:{upstream};
    keepalive 1024;
    keepalive_requests 1000000;
  }}
  server {{
    listen 127.0.0.1:{port};
    keepalive_requests 1000000;
    location / {{
      proxy_pass http://provider;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_buffer_size 64k;
      proxy_buffers 8 64k;
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Workload:
    """What clients ask for: through the gateway as ``model``; from nginx and directly as the same answer in its own dialect."""

    name: str
    title: str
    surface: str
    stream: bool
    model: str


# Neighbours of the same surface share what is measured beside them.
WORKLOADS = (
    Workload("chat", "chat stream, spliced", "chat", stream=True, model="gpt-4o"),
    Workload(
        "chat-from-anthropic", "chat stream from Anthropic", "chat", stream=True, model="claude"
    ),
    Workload("messages", "messages stream, spliced", "messages", stream=True, model="claude"),
    Workload(
        "messages-from-chat", "messages stream from chat", "messages", stream=True, model="gpt-4o"
    ),
    Workload("plain", "chat, not streamed", "chat", stream=False, model="gpt-4o"),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Somewhere to ask: a port, and the processes that answer there."""

    port: int
    pids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything that runs."""

    directory: Path
    python: str
    cores: Cores
    direct: Place
    nginx: Place | None
    splice: Place


@contextmanager
def started(
    python: str, cores: Cores, *, interval: float = 0.01, nginx: str | None = None
) -> Iterator[Bench]:
    """Run a scripted upstream of ``interval``, ``nginx`` (its path) and the gateway in front of it. Raises Broken."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="splice-bench-")))
        upstream, public, other = free_ports(3)

        def start(name: str, core: int | None, port: int, *arguments: str) -> int:
            log = directory / f"{name}.log"
            process = stack.enter_context(running(arguments, core, log, {"BENCH_KEY": KEY}))
            wait_for(process, port, log)
            return process.pid

        script = ("-m", "bench.upstream", str(upstream), f"--interval={interval}")
        start("upstream", cores.upstream, upstream, python, *script)
        beside = None
        if nginx is not None:
            wanted = directory / "nginx.conf"
            wanted.write_text(_NGINX.format(directory=directory, upstream=upstream, port=other))
            log = str(directory / "nginx.error")
            beside = start("nginx", cores.measured, other, nginx, "-e", log, "-c", str(wanted))
        config = directory / "config.toml"
        config.write_text(_CONFIG.format(port=public, upstream=upstream))
        command = (python, "-m", "proxy", "serve", "-c", str(config))
        splice = start("splice", cores.measured, public, *command)
        # By now nginx has its worker, which it starts after it listens.
        yield Bench(
            directory,
            python,
            cores,
            direct=Place(upstream),
            nginx=Place(other, family(beside)) if beside is not None else None,
            splice=Place(public, family(splice)),
        )


def ask(bench: Bench, place: Place, load: Workload, seconds: float, *, held: int = 0) -> Report:
    """Let ``load`` ask ``place`` in a window of ``seconds``; return what came. ``held`` streams instead of the usual number."""
    log = bench.directory / "load.log"
    arguments = [bench.python, "-m", "bench.load", str(place.port), load.surface, load.model]
    if load.stream:
        # The usual streams begin within one stream's length, held ones as fast as they can be accepted calmly.
        spread = held / 500 if held else 1.0
        arguments += ["--stream", f"--connections={held or STREAMS}", f"--spread={spread}"]
    else:
        arguments.append(f"--connections={CONNECTIONS}")
    arguments += [f"--seconds={seconds}", *(f"--pid={pid}" for pid in place.pids)]
    with pinned(bench.cores.load), log.open("wb") as complaints:
        done = subprocess.run(
            arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=complaints, check=False
        )
    if done.returncode:
        raise Broken(f"the load gave up:\n{log.read_text()[-2000:]}")
    return Report(**orjson.loads(done.stdout))


# Rounds.


@dataclass(frozen=True, slots=True)
class Round:
    """What was measured in one go: the same workload from everybody, one right after the other."""

    direct: Report
    nginx: Report | None
    splice: Report


def rounds(
    bench: Bench, chosen: Sequence[Workload], count: int, seconds: float
) -> dict[Workload, list[Round]]:
    found: dict[Workload, list[Round]] = {load: [] for load in chosen}
    for number in range(1, count + 1):
        for _, group in groupby(chosen, key=lambda load: (load.surface, load.stream)):
            loads = list(group)
            direct = ask(bench, bench.direct, loads[0], seconds)
            nginx = ask(bench, bench.nginx, loads[0], seconds) if bench.nginx else None
            for load in loads:
                found[load].append(Round(direct, nginx, ask(bench, bench.splice, load, seconds)))
        sys.stderr.write(f"round {number} of {count}\n")
    return found


def per_event(report: Report) -> float:
    """Return the CPU, in µs, of each token that came."""
    return report.cpu * 1e6 / report.tokens if report.tokens else float("nan")


def per_request(report: Report) -> float:
    """Return the CPU, in µs, of each answer that ended: of a stream, with all its tokens."""
    return report.cpu * 1e6 / report.requests if report.requests else float("nan")


def summary(load: Workload, measured: Sequence[Round]) -> dict[str, float | None]:
    """Return the medians over the rounds. A difference or a ratio is taken within a round first."""
    cost = per_event if load.stream else per_request
    splice = [one.splice for one in measured]
    beside = [(one, one.nginx) for one in measured if one.nginx is not None]
    found: dict[str, float | None] = {
        "nginx_us_per_request": _median(per_request(nginx) for _, nginx in beside),
        "splice_us_per_request": _median(map(per_request, splice)),
        "ratio": _median(cost(one.splice) / cost(nginx) for one, nginx in beside),
        "failed": sum(report.failures for report in splice),
    }
    if load.stream:
        found |= {
            "nginx_us_per_event": _median(per_event(nginx) for _, nginx in beside),
            "splice_us_per_event": _median(map(per_event, splice)),
        }
        # Where every connection asks again at once, an answer's time is its place in the queue, and says nothing.
        for name in ("first_p50", "first_p99"):
            found |= {
                f"direct_{name}_us": _median(getattr(one.direct, name) for one in measured),
                f"nginx_added_{name}_us": _median(
                    getattr(nginx, name) - getattr(one.direct, name) for one, nginx in beside
                ),
                f"splice_added_{name}_us": _median(
                    getattr(one.splice, name) - getattr(one.direct, name) for one in measured
                ),
            }
    return found


def _median(values: Iterator[float]) -> float | None:
    known = list(values)
    return round(median(known), 3) if known else None


# What is printed.

_HEAD = (
    ("", "CPU, µs an event", "CPU, µs a request", "", "first content, µs p50/p99", ""),
    ("", "nginx", "Splice", "nginx", "Splice", "ratio", "direct", "+ nginx", "+ Splice", "failed"),
)
_WIDTHS = (28, 8, 8, 9, 9, 8, 14, 14, 14, 8)


def table(found: dict[Workload, dict[str, float | None]]) -> str:
    spans = (28, 16, 18, 8, 42, 8)
    lines = [
        "".join(text.rjust(width) for text, width in zip(_HEAD[0], spans, strict=True)),
        "".join(text.rjust(width) for text, width in zip(_HEAD[1], _WIDTHS, strict=True)),
    ]
    for load, row in found.items():
        cells = (
            _number(row.get("nginx_us_per_event"), 2),
            _number(row.get("splice_us_per_event"), 2),
            _number(row["nginx_us_per_request"], 1),
            _number(row["splice_us_per_request"], 1),
            _number(row["ratio"], 2),
            _pair(row, "direct_first"),
            _pair(row, "nginx_added_first"),
            _pair(row, "splice_added_first"),
            _number(row["failed"], 0),
        )
        cut = zip(cells, _WIDTHS[1:], strict=True)
        lines.append(
            load.title.ljust(_WIDTHS[0]) + "".join(cell.rjust(width) for cell, width in cut)
        )
    return "\n".join(line.rstrip() for line in lines)


def _pair(row: dict[str, float | None], name: str) -> str:
    p50, p99 = row.get(f"{name}_p50_us"), row.get(f"{name}_p99_us")
    return "–" if p50 is None else f"{_number(p50, 0)}/{_number(p99, 0)}"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def heading(python: str, cores: Cores, nginx: str | None) -> str:
    told = subprocess.run(
        [python, "-c", "import platform as p; print(p.python_version(), p.python_compiler())"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    version, _, compiler = told.stdout.strip().partition(" ")
    beside = "nginx is not installed, so there is no ratio (Debian: apt install nginx-light)"
    if nginx is not None:
        said = subprocess.run([nginx, "-v"], stderr=subprocess.PIPE, text=True, check=True).stderr
        beside = said.strip().partition(": ")[2]
    where = (
        "one core for everything, not pinned: compare nothing but ratios"
        if cores.measured is None
        else f"measured on core {cores.measured}, upstream on {cores.upstream}, load on {cores.load}"
    )
    return f"Splice {__version__} on Python {version} ({compiler}); {beside}; {where}"


# The two kinds of run.


def compare(asked: argparse.Namespace, cores: Cores, nginx: str | None) -> dict[str, object]:
    """Measure, print the table, return what goes into the file."""
    chosen = [load for load in WORKLOADS if not asked.only or load.name in asked.only]
    with started(asked.python, cores, nginx=nginx) as bench:
        idle = resident_mib(bench.splice.pids)
        measured = rounds(bench, chosen, asked.rounds, asked.seconds)
        after = resident_mib(bench.splice.pids)
    found = {load: summary(load, measured[load]) for load in chosen}
    reports = [
        report
        for load in chosen
        for one in measured[load]
        for report in (one.direct, one.nginx, one.splice)
        if report is not None
    ]
    print(table(found))
    print(f"\nmemory (RSS) of Splice: {idle:.1f} MiB idle, {after:.1f} MiB after the run")
    _complain(reports)
    return {
        "rss_idle_mib": idle,
        "rss_after_mib": after,
        "failed": sum(report.failures for report in reports),
        "workloads": {load.name: row for load, row in found.items()},
        "rounds": {load.name: [asdict(one) for one in measured[load]] for load in chosen},
    }


def hold(asked: argparse.Namespace, cores: Cores) -> dict[str, object]:
    """Hold ``asked.hold`` slow streams, print what one of them takes, return what goes into the file."""
    # A held stream is two connections of the gateway; what else it has open is little.
    if asked.hold * 2 + 100 > raise_file_limit():
        raise Broken(f"{asked.hold} streams need more open files than `ulimit -Hn` allows")
    seconds = min(max(asked.seconds, 10.0), 30.0)
    with started(asked.python, cores, interval=HELD_INTERVAL) as bench:
        idle = resident_mib(bench.splice.pids)
        report = ask(bench, bench.splice, WORKLOADS[0], seconds, held=asked.hold)
    each = (report.resident - idle) * 1024 / asked.hold
    print(
        f"{asked.hold} streams held, {report.tokens / report.seconds:.0f} events a second:\n"
        f"  memory (RSS)   {idle:.1f} MiB idle, {report.resident:.1f} MiB held: {each:.1f} KiB a stream\n"
        f"  CPU            {report.cpu / report.seconds:.2f} of a core, {per_event(report):.2f} µs an event\n"
        f"  failed         {report.failures}"
    )
    _complain([report])
    return {"held": asked.hold, "rss_idle_mib": idle, "kib_per_stream": each, **asdict(report)}


def _complain(reports: Sequence[Report]) -> None:
    example = next((report.example for report in reports if report.failures), None)
    if example is not None:
        print(f"\nthe first failure: {example}")


def _whole(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"found {number}, expected 1 or more")
    return number


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gateway", description=__doc__)
    parser.add_argument("--rounds", type=_whole, default=3, help="7 or more for a figure to quote")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    names = [load.name for load in WORKLOADS]
    parser.add_argument(
        "--only", choices=names, action="append", help="this workload; may be repeated"
    )
    parser.add_argument(
        "--hold", type=_whole, metavar="N", help="hold N slow streams instead (10 s or more)"
    )
    parser.add_argument(
        "--python", default=sys.executable, help="what everything but nginx runs on"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write every figure there as well"
    )
    asked = parser.parse_args()
    python = shutil.which(asked.python)
    if python is None:
        parser.error(f"--python: found no program {asked.python}")
    # The processes work in the checkout. A symbolic link stays one: it is what makes a venv's Python the venv's.
    asked.python = str(Path(python).absolute())
    cores = shared_out()
    # Debian's is where only root's PATH leads.
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    title = heading(asked.python, cores, nginx)
    print(title + "\n")
    try:
        found = hold(asked, cores) if asked.hold else compare(asked, cores, nginx)
    except Broken as broken:
        sys.stderr.write(f"{broken}\n")
        return 1
    if asked.json is not None:
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        found = {"title": title, "at": moment, **found}
        asked.json.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    return 1 if found.get("failed") or found.get("failures") else 0


if __name__ == "__main__":
    sys.exit(main())
