"""Prometheus itself, with the configuration and the rules that come with the daemon, on a gateway that runs."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.integration import spoken
from tests.integration.scripted import Cut
from tests.integration.test_metrics import admin_address, two

MONITORING = Path(__file__).parents[2] / "systemd/monitoring"


@pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="there is no prometheus here: install it"
)
async def test_every_rule_can_be_evaluated_and_none_fires_for_a_gateway_that_is_well(
    tmp_path, unused_tcp_port
):
    shutil.copy(MONITORING / "alerts.yml", tmp_path)
    config = (MONITORING / "prometheus.yml").read_text()
    async with two([spoken.told("openai-chat")], [Cut()]) as front:
        assert (await front.chat("smart")).status == 200
        host, port = admin_address(front)
        (tmp_path / "prometheus.yml").write_text(
            config.replace("127.0.0.1:8081", f"{host}:{port}").replace(": 15s", ": 300ms")
        )
        process = await asyncio.create_subprocess_exec(
            "prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data",
            f"--web.listen-address=127.0.0.1:{unused_tcp_port}", "--log.level=error",
        )  # fmt: skip
        try:
            rules = await asyncio.wait_for(evaluated(unused_tcp_port), 20)
        finally:
            process.terminate()
            await process.wait()
    assert len(rules) == (MONITORING / "alerts.yml").read_text().count("        expr: ")
    assert {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"} == {}
    # These look at the day and at the machine, which are not the gateway's to answer for; and one scrape may be late.
    other = {"SplicePricesOld", "SpliceDiskLow", "SpliceDiskFills", "SpliceDown"}
    firing = {rule["name"] for rule in rules if rule.get("state", "inactive") != "inactive"}
    # It is told what this model costs by nobody.
    assert firing - other == {"SpliceUnpricedModel"}


async def evaluated(port: int) -> list[dict]:
    """Wait until every rule has been evaluated on a scrape; return them."""
    while True:
        rules = await asyncio.to_thread(_rules, port)
        firing = {rule["name"] for rule in rules if rule.get("state", "inactive") != "inactive"}
        if (
            rules
            and "SpliceUnpricedModel" in firing
            and all(r["health"] != "unknown" for r in rules)
        ):
            return rules
        await asyncio.sleep(0.1)


def _rules(port: int) -> list[dict]:
    try:
        with urlopen(f"http://127.0.0.1:{port}/api/v1/rules", timeout=5) as answer:
            groups: list = json.load(answer)["data"]["groups"]
    except OSError:
        return []
    return [rule for group in groups for rule in group["rules"]]
