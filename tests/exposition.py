"""What Prometheus' text format says, as a test compares it."""

from __future__ import annotations

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from proxy.counts import BookMetrics, Metrics


def samples(text: str) -> dict[str, float]:
    """Return each sample's value by its name and labels, as in ``name{a="x",b="y"}``, labels in alphabetical order."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            assert name not in found, f"{name} is there twice"
            found[name] = float(value)
    return found


def counted(metrics: Metrics | BookMetrics) -> dict[str, float]:
    """Return what ``metrics`` hold, without what is 0."""

    class Page(Collector):
        def collect(self):
            return metrics.families()

    text = generate_latest(Page()).decode()
    return {name: value for name, value in samples(text).items() if value}


def labels(text: str) -> dict[str, set[str]]:
    """Return the values that each label has anywhere."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            for label, value in sample.labels.items():
                found.setdefault(label, set()).add(value)
    return found
