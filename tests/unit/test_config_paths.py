"""Where a daemon and the commands that ask it meet."""

from pathlib import Path

import pytest

from proxy.config import ConfigError, admin_socket, admin_sockets, load, state_directory
from proxy.config.paths import SYSTEM_CONFIG

STATE = Path("/s")


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({}, "/s/admin.sock"),
        ({"RUNTIME_DIRECTORY": ""}, "/s/admin.sock"),
        ({"RUNTIME_DIRECTORY": "/run/x"}, "/run/x/admin.sock"),
        ({"RUNTIME_DIRECTORY": "/run/x:/run/y"}, "/run/x/admin.sock"),
    ],
)
def test_the_socket_is_in_the_runtime_directory_else_with_the_state(environ, path):
    assert admin_socket(STATE, environ) == Path(path)


def test_commands_look_where_a_daemon_with_another_environment_would_be():
    def places(config, environ):
        return [str(path) for path in admin_sockets(Path(config), STATE, environ)]

    assert places("c.toml", {}) == ["/s/admin.sock"]
    assert places("c.toml", {"RUNTIME_DIRECTORY": "/run/x"}) == [
        "/run/x/admin.sock",
        "/s/admin.sock",
    ]
    # Only the system's own file: another one's commands must not reach the system's daemon.
    assert places(SYSTEM_CONFIG, {}) == ["/s/admin.sock", "/run/splice/admin.sock"]


def test_the_state_directory_is_found_in_a_file_that_is_wrong_elsewhere(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(
        '[state]\ndirectory = "here"\n[retry]\nattempts = 0\n'
        '[[accounts]]\nname = "a"\nprovider = "openai"\napi_key = { env = "OF_THE_DAEMON" }\n'
    )
    with pytest.raises(ConfigError):
        load(path, {})
    assert state_directory(path, {}) == tmp_path / "here"


def test_the_state_directory_is_the_daemons_default(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("")
    environ = {"STATE_DIRECTORY": "/var/lib/x"}
    assert state_directory(path, environ) == load(path, environ).state.directory


@pytest.mark.parametrize(
    ("text", "fault"), [("[state]\ndirectory = 1\n", ":2: state.directory"), ("[", ":1: ")]
)
def test_a_state_section_that_cannot_be_read_is_said(tmp_path, text, fault):
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=fault):
        state_directory(path, {})
