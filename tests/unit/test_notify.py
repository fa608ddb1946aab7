"""What systemd is told, as it hears it."""

import os
import socket
import time

import pytest

from proxy.notify import STATUS_EVERY, Notifier


@pytest.fixture
def ear(tmp_path):
    """The socket of a service manager."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(str(tmp_path / "notify"))
        one.settimeout(0)
        yield one


def heard(ear):
    said = []
    while True:
        try:
            said.append(ear.recv(4096).decode())
        except BlockingIOError:
            return said


@pytest.fixture
def notifier(ear):
    made = []

    def make(**environ):
        made.append(Notifier({"NOTIFY_SOCKET": ear.getsockname(), **environ}))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_each_change_of_state_is_told(ear, notifier):
    one = notifier()
    one.ready()
    one.stopping()
    assert heard(ear) == ["READY=1", "STOPPING=1"]


def test_a_reload_is_told_with_its_time(ear, notifier):
    before = time.monotonic_ns() // 1000
    notifier().reloading()
    state, clock = heard(ear)[0].split("\n")
    assert state == "RELOADING=1"
    name, _, value = clock.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(value) <= time.monotonic_ns() // 1000


def test_the_watchdog_is_fed_twice_in_its_time(ear, notifier):
    one = notifier(WATCHDOG_USEC="15000000", WATCHDOG_PID=str(os.getpid()))
    for now in (100.0, 100.25, 107.25, 107.5, 114.9, 115.0):
        one.beat(now, "")
    assert heard(ear) == ["WATCHDOG=1"] * 3


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"},
    ],
)
def test_a_watchdog_that_is_not_ours_is_not_fed(ear, notifier, environ):
    notifier(**environ).beat(100.0, "")
    assert heard(ear) == []


def test_the_status_is_told_when_it_changes_and_not_too_often(ear, notifier):
    one = notifier()
    for now, status in (
        (0.0, "serving, 0 in flight"),
        (1.0, "serving, 1 in flight"),
        (STATUS_EVERY, "serving, 2 in flight"),
        (3 * STATUS_EVERY, "serving, 2 in flight"),
    ):
        one.beat(now, status)
    assert heard(ear) == ["STATUS=serving, 0 in flight", "STATUS=serving, 2 in flight"]


def test_a_change_of_state_brings_the_status_up_to_date_at_once(ear, notifier):
    one = notifier()
    one.beat(0.0, "serving, 3 in flight")
    one.stopping()
    one.beat(0.25, "draining, 3 in flight")
    assert heard(ear)[1:] == ["STOPPING=1", "STATUS=draining, 3 in flight"]


def test_a_status_is_one_line(ear, notifier):
    notifier().beat(0.0, "found this\nMAINPID=1")
    assert heard(ear) == ["STATUS=found this MAINPID=1"]


def test_an_abstract_socket_will_do():
    name = f"splice-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind("\0" + name)
        ear.settimeout(0)
        one = Notifier({"NOTIFY_SOCKET": "@" + name})
        one.ready()
        one.close()
        assert heard(ear) == ["READY=1"]


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"NOTIFY_SOCKET": ""},
        {"NOTIFY_SOCKET": "vsock:2:1234"},
        {"NOTIFY_SOCKET": "/nowhere/notify", "WATCHDOG_USEC": "1000000"},
        {"NOTIFY_SOCKET": "/" + "x" * 200},
    ],
)
def test_without_anybody_to_tell_nothing_happens(environ):
    one = Notifier(environ)
    one.ready()
    one.reloading()
    one.beat(0.0, "serving")
    one.stopping()
    one.close()
    one.beat(1.0, "gone")


def test_what_systemd_had_no_room_for_is_told_later(ear, notifier):
    one = notifier(WATCHDOG_USEC="2000000")
    sent = 0
    while True:
        sent += 1
        before = list(one._unsent)
        one.stopping()
        if one._unsent != before:
            break
    one.ready()
    one.beat(0.0, "serving")
    assert len(heard(ear)) == sent - 1
    one.beat(0.25, "serving")
    assert heard(ear) == ["STOPPING=1", "READY=1", "WATCHDOG=1", "STATUS=serving"]


def test_whoever_is_replaced_says_by_whom_and_then_no_more(ear, notifier):
    one = notifier(WATCHDOG_USEC="1000000")
    one.ready()
    one.replaced_by(4711)
    one.beat(100.0, "draining")
    one.reloading()
    one.ready()
    one.stopping()
    assert heard(ear) == ["READY=1", "MAINPID=4711"]


def test_whoever_replaces_is_silent_until_it_is_ready(ear):
    one = Notifier({"NOTIFY_SOCKET": ear.getsockname(), "WATCHDOG_USEC": "1000000"}, silent=True)
    one.reloading()
    one.beat(100.0, "serving")
    assert heard(ear) == []
    one.ready()
    one.beat(100.25, "serving")
    one.close()
    assert heard(ear) == ["READY=1", "WATCHDOG=1", "STATUS=serving"]
