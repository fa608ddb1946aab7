"""What ``splice doctor`` and ``splice check --online`` find, as a user runs them."""

from __future__ import annotations

import re
import socket
import time
from email.utils import formatdate
from pathlib import Path

from tests.integration.daemon import started
from tests.integration.gateway import SECRET, account, config_text, gateway, upstream
from tests.integration.scripted import Scripted, whole
from tests.integration.test_commands import Ran, splice

LIST = whole(b'{"data": []}')


def told(ran: Ran) -> dict[str, tuple[str, str, str | None]]:
    """Return the level, what was found and what to do, by the name of the check."""
    return {one["check"]: (one["level"], one["found"], one["todo"]) for one in ran.json["checks"]}


def dated(offset: float) -> bytes:
    return whole(b"{}", "404 No", Date=formatdate(time.time() + offset, usegmt=True))


async def test_all_is_well_with_a_daemon_that_runs():
    async with (
        Scripted([dated(0)] * 3) as up,
        gateway(config_text(upstream(up.url))) as front,
    ):
        ran = await splice(front.path, "doctor", "--json")
        plain = await splice(front.path, "doctor")
        heads = b"".join(str(one).encode() for one in up.requests)
    found = told(ran)
    assert {level for level, _, _ in found.values()} <= {"ok", "warn"}, found
    for name in (
        "package",
        "parsers",
        "daemon",
        "state directory",
        "database",
        "provider up",
        "clock",
    ):
        assert found[name][0] == "ok", (name, found[name])
    assert found["daemon"][1].startswith("ready, up ")
    assert "is whole" in found["database"][1]
    assert found["clock"][1] == "within 5 s of a provider's"
    assert ran.json["ok"]
    assert (ran.code, plain.code) == (0, 0)
    assert plain.out.splitlines()[0].startswith("ok    package: splice ")
    assert SECRET not in plain.out + ran.out + ran.err
    assert SECRET.encode() not in heads


async def test_the_limits_are_those_of_the_daemon():
    async with (
        Scripted([dated(0)]) as up,
        started(config_text(upstream(up.url))) as daemon,
    ):
        ran = await splice(daemon.log.parent / "config.toml", "doctor", "--json")
        pid = daemon.process.pid
    assert re.fullmatch(
        rf"the daemon \(process {pid}\) may have \d+, \d+ in use",
        told(ran)["file descriptors"][1],
    )
    assert told(ran)["daemon"][0] == "ok"


async def test_a_database_that_is_damaged_a_directory_that_is_open_and_a_clock_that_is_wrong(
    tmp_path,
):
    async with Scripted([dated(-3600)]) as up:
        path = tmp_path / "config.toml"
        path.write_text(config_text(upstream(up.url)))
        path.chmod(0o666)
        state = tmp_path / "state"
        state.mkdir()
        state.chmod(0o755)
        (state / "ledger.db").write_bytes(b"SQLite format 3\0" + bytes(5000))
        ran = await splice(path, "doctor", "--json")
    found = told(ran)
    assert (ran.code, ran.json["ok"]) == (1, False)
    assert {name for name, (level, _, _) in found.items() if level == "fail"} == {
        "state directory", "database", "clock", "configuration file",
    }  # fmt: skip
    assert found["daemon"][0] == "warn"
    assert re.fullmatch(r"3[56]\d\d s ahead of the providers'", found["clock"][1])
    assert "chmod 0700" in (found["state directory"][2] or "")


async def test_a_provider_that_cannot_be_reached_is_told_with_what_to_do(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        path = tmp_path / "config.toml"
        path.write_text(
            config_text(
                upstream(f"http://127.0.0.1:{port}", name="shut"),
                upstream("http://nowhere.invalid", name="unknown"),
            )
        )
        ran = await splice(path, "doctor", "--json")
    found = told(ran)
    assert ran.code == 1
    assert found["provider shut"][:2] == (
        "fail", f"http://127.0.0.1:{port}: the connection was refused",
    )  # fmt: skip
    assert found["provider unknown"][0] == "fail"
    assert "the name does not resolve" in found["provider unknown"][1]
    assert "DNS" in (found["provider unknown"][2] or "")
    assert found["clock"] == ("ok", "not compared: no provider told the time", None)


async def test_a_server_that_is_no_tls_server_fails_and_one_that_says_nothing_was_reached(tmp_path):
    async def silent(reader, writer, request):
        await reader.read()

    async with Scripted(silent) as up:
        path = tmp_path / "config.toml"
        path.write_text(
            config_text(
                upstream(up.url, name="silent"),
                upstream(up.url.replace("http:", "https:"), name="plain"),
            )
        )
        ran = await splice(path, "doctor", "--json")
    found = told(ran)
    assert found["provider silent"][0] == "ok"
    assert found["provider plain"][0] == "fail"


async def test_a_configuration_that_is_wrong_does_not_hide_the_rest(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('[state]\ndirectory = "state"\n[server]\nlisten = "nowhere"\n')
    ran = await splice(path, "doctor", "--json")
    assert ran.code == 1
    checks = [(one["check"], one["level"]) for one in ran.json["checks"]]
    assert ("configuration", "fail") in checks
    assert ("parsers", "ok") in checks
    assert ("providers", "warn") in checks


async def test_no_configuration_at_all_is_a_failure(tmp_path):
    ran = await splice(tmp_path / "none.toml", "doctor")
    assert ran.code == 1
    assert ran.out.splitlines()[-1].startswith("fail  configuration: ")


# check --online.


async def test_every_account_is_asked_and_told_in_a_line_without_its_credential(tmp_path):
    async def picky(reader, writer, request):
        good = SECRET in str(request.headers)
        writer.write(
            LIST if good else whole(b'{"error": {"message": "no sk-wrong-secret"}}', "401 No")
        )

    async with Scripted(picky) as up:
        path = write(tmp_path, up.url)
        ran = await splice(path, "check", "--online")
        parsed = await splice(path, "check", "--online", "--json")
        offline = await splice(path, "check")
    assert (ran.code, parsed.code, offline.code) == (1, 1, 0)
    lines = [line for line in ran.out.splitlines() if line.startswith(("up:", "b:"))]
    assert lines[0].startswith(f"up: ok (status 200 from {up.url}/v1/models after ")
    assert lines[1].startswith("b: failed, upstream_auth (status 401 from ")
    assert "no ***" in ran.out
    assert "sk-wrong-secret" not in ran.out + parsed.out
    assert SECRET not in ran.out + parsed.out
    assert [one["ok"] for one in parsed.json["online"]] == [True, False]
    assert parsed.json["ok"] is False
    assert "up: " not in offline.out


async def test_it_exits_with_0_if_all_answer(tmp_path):
    async def good(reader, writer, request):
        writer.write(LIST)

    async with Scripted(good) as up:
        ran = await splice(write(tmp_path, up.url), "check", "--online", "--json")
    assert (ran.code, ran.json["ok"], len(ran.json["online"])) == (0, True, 2)


def write(tmp_path: Path, url: str) -> Path:
    path = tmp_path / "config.toml"
    wrong = account("b", "up").replace(SECRET, "sk-wrong-secret")
    path.write_text(config_text(upstream(url), wrong))
    path.chmod(0o600)
    return path
