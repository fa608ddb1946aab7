"""What comes with the daemon for Prometheus and Grafana: queries of metrics that exist, and alerts that fire when they say."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from proxy.errors import ROWS
from proxy.metrics import METRICS, PREFIX

ROOT = Path(__file__).parents[1]
MONITORING = ROOT / "systemd/monitoring"
ALERTS = (MONITORING / "alerts.yml").read_text()
TESTS = (MONITORING / "alerts_test.yml").read_text()
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())
NAMES = re.findall(r"- alert: (\w+)$", ALERTS, re.MULTILINE)
RECORDS = set(re.findall(r"- record: (\S+)$", ALERTS, re.MULTILINE))
FROM_PROMETHEUS = {"instance", "job", "le"}
RUNBOOK = (ROOT / "docs/runbook.md").read_text()

promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="there is no promtool here: install prometheus"
)


def panels():
    return [one for one in DASHBOARD["panels"] if one["type"] != "row"]


def queries():
    """Return each query of the dashboard by what it is for."""
    found = [
        (f"{panel['title']} {target['refId']}", target["expr"])
        for panel in panels()
        for target in panel["targets"]
    ]
    found += [(one["name"], one["expr"]) for one in DASHBOARD["annotations"]["list"]]
    assert len(dict(found)) == len(found), "two have the same title"
    return dict(found)


def expressions():
    """Return each expression of the rules by the name of its rule."""
    rules = re.split(r"^      - (?:alert|record): ", ALERTS, flags=re.MULTILINE)[1:]
    found = {}
    for rule in rules:
        name = rule.partition("\n")[0]
        expression = re.search(r"^        expr: (.*(?:\n {10}.*)*)", rule, re.MULTILINE)
        assert expression is not None, name
        found[name] = expression[1].removeprefix(">-").strip()
    return found


EVERY = {**queries(), **expressions()}


@pytest.mark.parametrize("query", EVERY.values(), ids=EVERY)
def test_a_query_asks_for_metrics_and_labels_that_exist(query):
    series = re.findall(r"\b((?:splice_|process_|splice:)[\w:]+)(?:\{(.*?)\})?", query)
    series += re.findall(r"\b(up)(?:\{(.*?)\})", query)
    assert series
    known = set(FROM_PROMETHEUS)
    for name, selectors in series:
        labels = labels_of(name)
        assert set(re.findall(r"(\w+) ?(?:=~|!~|!=|=)", selectors)) <= labels, name
        known |= labels
    for grouped in re.findall(r"\bby \(([^)]*)\)", query):
        assert set(re.split(r",\s*", grouped)) <= known


def labels_of(name):
    """Return the labels that a series may have; fails for one that nobody makes."""
    if name.startswith("splice:"):
        assert name in RECORDS
        return FROM_PROMETHEUS
    if not name.startswith(PREFIX):
        assert name in {
            "process_cpu_seconds_total",
            "process_max_fds",
            "process_open_fds",
            "process_resident_memory_bytes",
            "up",
        }
        return FROM_PROMETHEUS
    base = name.removeprefix(PREFIX)
    if base not in METRICS:
        base, _, part = base.rpartition("_")
        assert part in ("bucket", "sum", "count"), name
        assert METRICS[base].kind == "histogram", name
    else:
        assert METRICS[base].kind != "histogram", name
    return {*METRICS[base].labels, *FROM_PROMETHEUS}


def test_what_counts_as_a_failure_are_the_errors_that_are_not_the_clients():
    (told,) = re.findall(r'error_type=~"([\w|]+)"', expressions()["splice:requests_failed:rate5m"])
    ours = {row.error_type for row in ROWS.values() if row.status >= 500} | {"all_cooling"}
    # Cancelled is what an operator did, and draining what a deploy does. Whoever waited in vain has found no account.
    assert set(told.split("|")) == (ours - {"cancelled", "draining"}) | {"queue_timeout"}


# Alerts.


@pytest.mark.parametrize("name", NAMES)
def test_an_alert_has_a_reason_a_section_of_the_runbook_and_tests(name):
    (rule,) = re.findall(rf"- alert: {name}\n((?:.*\n)*?)(?:\n|\Z)", ALERTS)
    assert re.search(r"^ +# \w", rule, re.MULTILINE), "no reason"
    assert re.findall(r"severity: (\w+)", rule) in (["page"], ["ticket"])
    assert "summary: " in rule
    (url,) = re.findall(r"runbook_url: (\S+)", rule)
    assert url == f"file:///opt/splice/share/doc/splice/runbook.md#{name.lower()}"
    (section,) = re.findall(rf"^## {name}\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
    assert "`" in section or "](#" in section
    tried = re.findall(rf"alertname: {name}\n( +exp_alerts:)?", TESTS)
    assert sorted(map(bool, set(tried))) == [False, True]


def test_the_runbook_has_a_section_for_each_alert_in_their_order():
    found = re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE)
    assert sorted(found) == sorted(NAMES)


@promtool
@pytest.mark.timeout(120)
def test_alerts_fire_and_do_not():
    ran("check", "config", MONITORING / "prometheus.yml")
    ran("test", "rules", MONITORING / "alerts_test.yml")


# The dashboard.


@promtool
def test_prometheus_understands_the_queries_of_the_dashboard(tmp_path):
    lines = ["groups:", "  - name: dashboard", "    rules:"]
    for number, query in enumerate(queries().values()):
        filled = query.replace("$__rate_interval", "1m").replace("$instance", ".*")
        lines += [f"      - record: query{number}", f"        expr: {json.dumps(filled)}"]
    path = tmp_path / "rules.yml"
    path.write_text("\n".join(lines))
    ran("check", "rules", path)


def test_panels_have_names_and_places_of_their_own():
    assert len(panels()) > 20
    every = DASHBOARD["panels"]
    assert len({one["id"] for one in every}) == len(every)
    for one, other in itertools.combinations([panel["gridPos"] for panel in every], 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)
        assert one["x"] + one["w"] <= 24


def ran(*command):
    done = subprocess.run(
        ["promtool", *map(str, command)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
