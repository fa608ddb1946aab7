"""What the daemon says, line by line."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.log import Bridge, Log

MOMENT = 1_767_225_600.25


class Paper:
    """A file that is written to, and what is on it."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT)

    @property
    def text(self) -> str:
        return os.pread(self.descriptor, 1 << 20, 0).decode()

    @property
    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    def log(self, **options: Any) -> Log:
        return Log(self.descriptor, now=lambda: MOMENT, **options)


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[Paper]:
    made = Paper(tmp_path / "log")
    yield made
    os.close(made.descriptor)


def test_a_line_is_one_json_object(paper):
    paper.log().info("request", status=200, model="m\n2")
    assert paper.text.count("\n") == 1
    assert paper.entries == [
        {
            "ts": "2026-01-01T00:00:00.250Z",
            "level": "info",
            "msg": "request",
            "status": 200,
            "model": "m\n2",
        }
    ]


def test_lines_below_the_level_are_not_written(paper):
    log = paper.log(level="warning")
    log.debug("a")
    log.info("b")
    log.warning("c")
    log.failure("d")
    assert [entry["msg"] for entry in paper.entries] == ["c", "d"]


def test_long_strings_are_cut(paper):
    paper.log().info("x", told="y" * 5000)
    assert paper.entries[0]["told"] == "y" * 256


def test_bytes_that_are_no_text_do_no_harm(paper):
    paper.log().info("x", header="a\udcffb")
    assert paper.entries[0]["header"] == "a?b"


def test_a_failure_has_its_traceback(paper):
    try:
        raise ValueError("so " + "long " * 2000)
    except ValueError as error:
        paper.log().failure("broken", error, request_id="req_1")
    (entry,) = paper.entries
    assert entry["level"] == "error"
    assert len(entry["exception"]) == 4000


def test_people_get_text(paper):
    paper.log(form="text").info("request", status=200, model="m")
    assert paper.text == "00:00:00.250 info    request status=200 model=m\n"


def test_what_a_client_wrote_is_nothing_but_text_on_a_terminal(paper):
    model = "m\n12:00:00.000 info    request key=root \x1b[2J\x9b2J\r\udcff\u202e é"
    paper.log(form="text").info("request", model=model)
    assert paper.text == (
        "00:00:00.250 info    request model=m\\n12:00:00.000 info    request key=root "
        "\\x1b[2J\\x9b2J\\r\\udcff\\u202e é\n"
    )


def test_a_traceback_keeps_its_lines_for_people(paper):
    try:
        raise ValueError("broken\x1b[2J")
    except ValueError as error:
        paper.log(form="text").failure("failed", error, request_id="req_1")
    first, *lines = paper.text.splitlines()
    assert first == (
        "00:00:00.250 error   failed request_id=req_1 exception=Traceback (most recent call last):"
    )
    assert lines[0].startswith("  File ")
    assert lines[-1] == "ValueError: broken\\x1b[2J"


def test_the_journal_gets_priorities(paper):
    log = paper.log(form="text", journal=True)
    log.failure("a")
    log.info("b")
    assert [line[:3] for line in paper.text.splitlines()] == ["<3>", "<6>"]


def test_what_a_person_reads_is_one_line_that_no_terminal_obeys(paper):
    paper.log(form="text").warning("odd\nthing", model="a\nb\x1b[2J\u202ec\x9b é", number=1)
    assert (
        paper.text
        == "00:00:00.250 warning odd\\nthing model=a\\nb\\x1b[2J\\u202ec\\x9b é number=1\n"
    )


async def test_lines_are_gathered_while_a_loop_runs_and_written_soon(paper):
    log = paper.log()
    log.info("one")
    log.info("two")
    assert paper.text == ""
    async with asyncio.timeout(5):
        while len(paper.entries) < 2:  # noqa: ASYNC110 - nothing tells it
            await asyncio.sleep(0.005)


async def test_a_failure_is_written_at_once_with_what_came_before_it(paper):
    log = paper.log()
    log.info("one")
    log.failure("two")
    assert [entry["msg"] for entry in paper.entries] == ["one", "two"]


async def test_many_lines_do_not_wait(paper):
    log = paper.log()
    for number in range(300):
        log.info("x", number=number)
    assert len(paper.entries) >= 256
    log.flush()
    assert [entry["number"] for entry in paper.entries] == list(range(300))


def test_a_reader_that_is_gone_does_not_take_the_daemon_with_it():
    reading, writing = os.pipe()
    os.close(reading)
    try:
        Log(writing, now=lambda: MOMENT).info("x")
    finally:
        os.close(writing)


def test_what_libraries_log_comes_through(paper):
    logger = logging.Logger("aiohttp.server")  # noqa: LOG001 - nobody else is to hear it
    logger.addHandler(Bridge(paper.log()))
    logger.warning("odd %s", "thing")
    try:
        raise OSError("gone")
    except OSError:
        logger.exception("broken")
    first, second = paper.entries
    assert (first["level"], first["msg"], first["logger"]) == (
        "warning",
        "odd thing",
        "aiohttp.server",
    )
    assert second["level"] == "error"
    assert "OSError: gone" in second["exception"]
