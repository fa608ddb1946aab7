"""The configuration file, section by section and as a whole."""

import os
import pickle
from dataclasses import replace
from decimal import Decimal
from ipaddress import ip_network
from pathlib import Path

import pytest

from proxy.config import (
    ConfigError,
    KeysPolicy,
    ReadOn,
    Secret,
    Server,
    SystemdAddress,
    TcpAddress,
    Timeouts,
    UnixAddress,
    find,
    key_hash,
    load,
    loads,
    new_key,
)

HERE = Path("/etc/splice/config.toml")
EXAMPLE = Path(__file__).parents[2] / "config.example.toml"


def read(text, **environ):
    return loads(text, HERE, environ)


def faults(text, **environ):
    """What is wrong, without the file's name: ``2: server.listen: found …``."""
    with pytest.raises(ConfigError) as caught:
        read(text, **environ)
    assert str(caught.value) == "\n".join(caught.value.faults)
    return [fault.removeprefix(f"{HERE}:") for fault in caught.value.faults]


# The defaults and the example.


def test_an_empty_file_is_the_defaults():
    config = read("", STATE_DIRECTORY="/var/lib/x:/var/lib/y")
    assert config.server == Server()
    assert config.timeouts == Timeouts()
    assert config.keys_policy == KeysPolicy()
    assert config.state.directory == Path("/var/lib/x")
    assert (config.accounts, config.models, config.keys, config.warnings) == ((), (), (), ())


def test_the_example_loads_as_it_is():
    text = EXAMPLE.read_text()
    assert loads(text, HERE, {}) == read("")


def uncommented(text):
    return "".join(
        line[1:] if line.startswith("#") and not line.startswith("# ") else line
        for line in text.splitlines(keepends=True)
    )


def test_every_setting_of_the_example_is_at_its_default():
    text = uncommented(EXAMPLE.read_text())
    config = loads(text, HERE, {"OPENAI_API_KEY": "k"})
    found = replace(config, accounts=(), models=(), keys=(), providers=read("").providers)
    assert found == read("")


def test_the_example_shows_every_setting(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(uncommented(EXAMPLE.read_text()))
    shown = {setting.key for setting in load(path, {"OPENAI_API_KEY": "k"}).settings}
    path.write_text("")
    assert {setting.key for setting in load(path, {}).settings} <= shown


# Faults.


def test_a_fault_names_line_key_found_and_expected():
    assert faults('[server]\nmax_body = "32MB"') == [
        (
            '2: server.max_body: found "32MB", expected a size above 0 such as '
            '"64KiB", "32MiB" or "2GiB"'
        )
    ]


def test_all_faults_are_told_at_once_in_the_order_of_the_file():
    found = faults("[timeouts]\nidle = 5\n[retry]\nattempts = 0\n[server]\nlisten = 80\n")
    assert [fault.partition(": found")[0] for fault in found] == [
        "2: timeouts.idle",
        "4: retry.attempts",
        "6: server.listen",
    ]


def test_an_unknown_key_names_the_nearest():
    assert faults("[server]\ngrace_perid = 1") == [
        "2: server.grace_perid: found an unknown key; did you mean grace_period?"
    ]
    assert faults("[limits]\nx = 1") == ["2: limits.x: found an unknown key; known: concurrency"]
    assert faults("[sever]")[0] == "1: sever: found an unknown key; did you mean server?"


def test_a_zero_is_not_unlimited():
    found = faults('[timeouts]\ntotal = "0s"\n[limits]\nconcurrency = 0')
    assert found == [
        (
            '2: timeouts.total: found "0s", expected a duration above 0; '
            "there is no way to say unlimited"
        ),
        "4: limits.concurrency: found 0, expected a whole number from 1; leave it out for no limit",
    ]


def test_a_value_where_a_table_belongs():
    assert faults("server = 1") == ["1: server: found 1, expected a table, [server]"]
    assert faults("[accounts]\nname = 'a'")[0].endswith("expected a list of them, [[accounts]]")
    assert faults("keys = [1]") == ["1: keys[0]: found 1, expected a table"]


def test_broken_toml_names_its_line():
    assert faults("[server]\nlisten = [") == [
        "2: found no valid TOML, expected key = value (invalid value)"
    ]
    assert faults("[server]\nx = 1\nx = 2")[0].startswith("3: found no valid TOML")
    assert faults("x = " + "1" * 5000)[0].startswith("1: found no valid TOML")
    assert faults("x = " + "[" * 5000)[0].startswith("1: found no valid TOML")


@pytest.mark.parametrize(
    "text",
    [
        '[server]\nlisten = "a\\nb\\u001b[2J\\u202e"',
        '"a\\nb" = 1',
        '[server]\n"a\\rb" = 1',
        '[[keys]]\nname = "a"\nkey = { env = "A\\nB" }',
    ],
)
def test_a_fault_is_one_line_whatever_was_found(text):
    (found, *_) = faults(text)
    assert found.isprintable()
    assert "?" in found


def test_windows_line_ends_are_lines():
    assert faults("[server]\r\n\r\nmax_body = 1\r\n")[0].startswith("3: server.max_body")


# The daemon's sections.


def test_listen_addresses():
    config = read('[server]\nlisten = ["[::1]:80", "0.0.0.0:8080", "unix:run/s", "systemd:public"]')
    assert config.server.listen == (
        TcpAddress("::1", 80),
        TcpAddress("0.0.0.0", 8080),
        UnixAddress(Path("/etc/splice/run/s")),
        SystemdAddress("public"),
    )
    assert [str(address) for address in config.server.listen] == [
        "[::1]:80",
        "0.0.0.0:8080",
        "unix:/etc/splice/run/s",
        "systemd:public",
    ]


@pytest.mark.parametrize(
    ("address", "hint"),
    [
        ('"8080"', 'write "127.0.0.1:8080", or "0.0.0.0:8080" for every interface'),
        ('":8080"', 'write "0.0.0.0:8080" for every interface'),
        ('"::1:80"', 'write "[::1:80]:PORT", or "[::1]:80"'),
        ('"h:x"', "with a port up to 65535"),
        ('"h:65536"', "with a port up to 65535"),
        ("8080", '"systemd:name"'),
        ('"a:1", "a:1"', "expected each address once"),
    ],
)
def test_no_listen_address(address, hint):
    found = faults(f"[server]\nlisten = [{address}]")
    assert len(found) == 1
    assert found[0].endswith(hint)


def test_the_server_listens_and_the_admin_need_not():
    assert faults("[server]\nlisten = []")[0].startswith("2: server.listen: found []")
    assert read("[admin]\nlisten = []").admin.listen == ()


def test_both_listeners_on_one_address():
    assert faults('[admin]\nlisten = ["127.0.0.1:8080"]') == [
        '2: admin.listen[0]: found "127.0.0.1:8080", expected an address that [server] has not'
    ]


def test_networks_origins_and_exposed_headers():
    server = read(
        """
        [server]
        trusted_proxies = ["10.0.0.0/8"]
        cors_origins = ["https://app.example.com"]
        expose = ["account", "attempts"]
        public_url = "https://llm.example.com/"
        """
    ).server
    assert server.trusted_proxies == (ip_network("10.0.0.0/8"),)
    assert server.cors_origins == ("https://app.example.com",)
    assert server.expose == {"account", "attempts"}
    assert server.public_url == "https://llm.example.com"


def test_tls_needs_both_files_and_they_must_be_there(tmp_path):
    (tmp_path / "cert.pem").write_text("c")
    (tmp_path / "key.pem").write_text("k")
    text = '[server]\ntls = { cert_file = "cert.pem", key_file = "key.pem" }'
    tls = loads(text, tmp_path / "config.toml", {}).server.tls
    assert tls is not None
    assert (tls.cert_file, tls.key_file) == (tmp_path / "cert.pem", tmp_path / "key.pem")
    assert faults('[server]\ntls = { key_file = "k" }')[-1] == (
        "2: server.tls.key_file: found /etc/splice/k, expected a file that can be read"
    )
    assert "2: server.tls.cert_file: found nothing, expected a path, as key_file has one" in (
        faults('[server]\ntls = { key_file = "k" }')
    )


def test_the_state_directory(monkeypatch):
    assert read('[state]\ndirectory = "var"').state.directory == Path("/etc/splice/var")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert read("", XDG_STATE_HOME="/s").state.directory == Path("/s/splice")
    assert read("", HOME="/h").state.directory == Path("/h/.local/state/splice")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert read("", HOME="/h").state.directory == Path("/var/lib/splice")
    assert faults("[state]\ndirectory = 1")[0].startswith("2: state.directory: found 1")


def test_reading_on_after_a_disconnect():
    config = read('[streaming]\non_disconnect = { read_on = "5s" }')
    assert config.streaming.on_disconnect == ReadOn(5.0)
    for wrong in ('"continue"', '{ read_on = "0s" }', "{ read_on = '5s', x = 1 }"):
        assert len(faults(f"[streaming]\non_disconnect = {wrong}")) == 1


def test_a_cooldowns_cap_is_not_below_its_base():
    assert faults('[cooldown]\nbase = "10m"') == [
        "1: cooldown.max_burst: found 5m, expected base (10m) or more"
    ]


def test_words_are_checked():
    assert "did you mean debug?" in faults('[logging]\nlevel = "debg"')[0]
    assert "true or false" in faults("[translation]\nstrict = 1")[0]
    assert "2 to 24 letters" in faults('[keys_policy]\nprefix = "sk splice"')[0]


# Secrets.


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("the key sk-hunter2 is bad, sk-hunter2", "the key *** is bad, ***"),
        ("cut: sk-hunt", "cut: ***"),
        ("sk-hun", "***"),
        ("begins sk-hu", "begins sk-hu"),
        ("sk-hunter is another", "sk-hunter is another"),
        ("", ""),
    ],
)
def test_a_secret_hides_itself_in_a_text_also_where_that_was_cut(text, shown):
    assert Secret("sk-hunter2").hide(text) == shown


def test_a_word_that_stands_for_a_key_is_no_secret():
    assert Secret("none").hide("there is none") == "there is none"


def test_a_secret_never_shows():
    secret = Secret("hunter2")
    for shown in (str(secret), repr(secret), f"{secret}", f"{secret:>5}", f"{[secret]}"):
        assert "hunter2" not in shown
        assert "***" in shown
    assert secret.reveal() == "hunter2"
    assert secret == Secret("hunter2")
    assert secret != "hunter2"
    assert len({secret, Secret("hunter2")}) == 1
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def token(text, **environ):
    return read(f"[admin]\ntoken = {text}", **environ).admin.token


def test_secrets_come_from_four_places(tmp_path):
    (tmp_path / "s").write_text("  from-file\n")
    assert token('{ env = "T" }', T="from-env") == Secret("from-env")
    assert token(f'{{ file = "{tmp_path}/s" }}') == Secret("from-file")
    assert token('{ credential = "s" }', CREDENTIALS_DIRECTORY=str(tmp_path)) == Secret("from-file")
    assert token('"literal"') == Secret("literal")
    assert token('""') is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '{ env = "T" }',
            "found env T, unset or empty, expected a variable that is set; export T=…",
        ),
        ('{ file = "none" }', "found file /etc/splice/none (No such file or directory)"),
        ('{ file = "a\\u0000b" }', "found file /etc/splice/a?b (not text)"),
        ('{ credential = "c" }', "found credential c, expected one that systemd passed; add Load"),
        ('{ credential = "../c" }', "found credential ../c"),
        ("{ env = 1 }", "found a value that is no secret"),
        ('{ env = "T", file = "x" }', "found a value that is no secret"),
        ("12345", "found a value that is no secret"),
        ('"two\\nlines"', "found a secret with other characters"),
    ],
)
def test_no_secret(text, said):
    found = faults(f"[admin]\ntoken = {text}", CREDENTIALS_DIRECTORY="")
    assert len(found) == 1
    assert found[0].startswith(f"2: admin.token: {said}")
    assert "12345" not in found[0]


def test_an_unreadable_secret_file_says_so(tmp_path):
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert (
        "empty, expected a secret in it"
        in (faults(f'[admin]\ntoken = {{ file = "{tmp_path}/empty" }}')[0])
    )
    assert "(not text)" in faults(f'[admin]\ntoken = {{ file = "{tmp_path}/binary" }}')[0]


def test_the_reading_token_is_not_the_other():
    assert faults('[admin]\ntoken = "a"\nread_token = "a"') == [
        "3: admin.read_token: found the same secret as token, expected another; it may only read"
    ]


def test_a_secret_that_others_can_read_is_warned_about(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('[admin]\ntoken = "literal"\n')
    path.chmod(0o644)
    (warning,) = load(path, {}).warnings
    assert warning.startswith(f"{path}: others can read the secrets on line 2; use {{ env = … }}")
    path.chmod(0o600)
    assert load(path, {}).warnings == ()
    path.write_text('[admin]\ntoken = { env = "T" }\n')
    path.chmod(0o644)
    assert load(path, {"T": "t"}).warnings == ()


def test_keys_are_new_each_time_and_checkable():
    key = new_key("sk-splice-")
    body = key.removeprefix("sk-splice-")
    assert len(body) == 49
    assert body.isalnum()
    assert body.isascii()
    assert key != new_key("sk-splice-")
    assert key_hash("abc").startswith("ba7816bf8f01cfea")


# Finding and explaining.


def test_a_named_file_is_used_and_must_exist(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("")
    assert find(str(path), {"SPLICE_CONFIG": "/none"}) == path
    assert find(None, {"SPLICE_CONFIG": str(path)}) == path
    with pytest.raises(ConfigError, match="-c: found no file /none"):
        find("/none", {})
    with pytest.raises(ConfigError, match=r"\$SPLICE_CONFIG: found no file /none"):
        find(None, {"SPLICE_CONFIG": "/none"})


def test_the_nearest_place_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    users = tmp_path / "home/.config/splice/config.toml"
    users.parent.mkdir(parents=True)
    users.write_text("")
    environ = {"HOME": str(tmp_path / "home")}
    assert find(None, environ) == users
    assert find(None, {"XDG_CONFIG_HOME": str(tmp_path / "home/.config")}) == users
    Path("config.toml").write_text("")
    assert find(None, environ) == Path("config.toml")


def test_nowhere_names_the_places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Path, "is_file", lambda _: False)
    with pytest.raises(ConfigError, match=r"found no configuration in config\.toml, ") as caught:
        find(None, {"HOME": "/h"})
    assert (
        "/h/.config/splice/config.toml, /etc/splice/config.toml; make one with `splice init`"
        in (str(caught.value))
    )


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="found no file to read"):
        load(tmp_path / "none", {})
    (tmp_path / "binary").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path / "binary", {})


def test_every_setting_says_where_it_comes_from(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(
        '[server]\nmax_body = "1024KiB"\n[admin]\ntoken = { env = "T" }\n'
        '[[accounts]]\nname = "a"\nprovider = "ollama"\n'
        '[[models]]\nname = "m"\ntimeouts = { idle = "1s" }\ncost = { input = 0.10 }\n'
    )
    settings = {s.key: s for s in load(path, {"T": "t", "STATE_DIRECTORY": "/s"}).settings}
    shown = {key: (s.value, s.origin) for key, s in settings.items()}
    assert shown["server.max_body"] == ("1MiB", f"{path}:2")
    assert shown["server.listen"] == (["127.0.0.1:8080"], "default")
    assert shown["admin.token"] == ("***", f"{path}:4 (env T)")
    assert shown["admin.read_token"] == (None, "default")
    assert shown["state.directory"] == ("/s", "env STATE_DIRECTORY")
    assert shown["accounts[0].provider"] == ("ollama", f"{path}:7")
    assert shown["models[0].timeouts.idle"] == ("1s", f"{path}:10")
    assert shown["models[0].timeouts.total"] == ("30m", "[timeouts]")
    assert shown["models[0].cost.input"] == ("0.10", f"{path}:11")
    assert len(settings) == len(load(path, {"T": "t"}).settings)


def test_money_is_decimal():
    text = '[[accounts]]\nname="a"\nprovider="ollama"\nbudget_usd=0.1\nbudget_period="day"'
    assert read(text).accounts[0].budget_usd == Decimal("0.1")


def test_both_listeners_may_ask_for_any_free_port():
    text = '[server]\nlisten = ["127.0.0.1:0"]\n[admin]\nlisten = ["127.0.0.1:0"]\n'
    config = loads(text, Path("/etc/splice/config.toml"), {})
    assert config.server.listen == config.admin.listen
