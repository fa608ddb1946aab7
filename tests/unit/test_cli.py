"""The commands, as a user types them."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import proxy.cli
from proxy.billing.prices import Price
from proxy.cli import main
from proxy.cli.output import print_table, span
from proxy.config import key_hash, load

VARIABLES = ("OPENAI_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY", "GROQ_API_KEY")


@pytest.fixture(autouse=True)
def _clean_machine(tmp_path, monkeypatch):
    """No configuration and no provider key but the test's own."""
    for name in list(os.environ):
        if name.endswith(("_API_KEY", "HF_TOKEN")) or name.startswith(("SPLICE_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def test_the_version(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    python = ".".join(map(str, sys.version_info[:3]))
    assert capsys.readouterr().out == f"splice {proxy.__version__} (python {python})\n"


def test_the_package_is_a_command():
    found = subprocess.run(
        [sys.executable, "-m", "proxy", "--version"],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(proxy.__file__).parents[1])},
    )
    assert (found.returncode, found.stdout[:7]) == (0, "splice ")


@pytest.mark.parametrize("line", ["sreve", "check --jsn", "demo --port 0", "demo --port x"])
def test_bad_usage_is_2(line, capsys):
    with pytest.raises(SystemExit) as caught:
        main(line.split())
    assert caught.value.code == 2
    assert "error" in capsys.readouterr().err


def test_no_command_lists_them(capsys):
    assert main([]) == 2
    assert "serve" in capsys.readouterr().err


def test_check_says_what_the_file_amounts_to(capsys):
    Path("config.toml").write_text('[[accounts]]\nname = "a"\nprovider = "ollama"\n')
    assert main(["check"]) == 0
    assert capsys.readouterr().out == (
        "config.toml: ok\n"
        "  listen: 127.0.0.1:8080\n"
        "  admin: 127.0.0.1:8081\n"
        "  accounts: a (ollama)\n"
        "  models: none\n"
        "  keys: none\n"
    )


def test_check_warns_and_passes(capsys):
    Path("config.toml").write_text('[admin]\ntoken = "literal"\n')
    Path("config.toml").chmod(0o644)
    assert main(["check"]) == 0
    assert capsys.readouterr().err.startswith("splice: warning: config.toml: others can read")


@pytest.mark.parametrize("line", ["-c x.toml check", "check -c x.toml", "check --config=x.toml"])
def test_the_file_is_named_before_or_after_the_command(line, capsys):
    Path("x.toml").write_text("[retry]\nattempts = 0\n[sever]\n")
    assert main(line.split()) == 1
    assert capsys.readouterr().err.splitlines() == [
        "splice: x.toml:2: retry.attempts: found 0, expected a whole number from 1",
        "splice: x.toml:3: sever: found an unknown key; did you mean server?",
    ]


def test_check_in_json(capsys):
    Path("x.toml").write_text("[server]\n")
    assert main(["check", "--json", "-c", "x.toml"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["path"], found["listen"]) == (True, "x.toml", ["127.0.0.1:8080"])
    Path("x.toml").write_text("[sever]\n")
    assert main(["check", "--json", "-c", "x.toml"]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "ok": False,
        "faults": ["x.toml:1: sever: found an unknown key; did you mean server?"],
    }


def test_no_configuration_names_the_places(capsys):
    assert main(["check"]) == 1
    assert "make one with `splice init`" in capsys.readouterr().err


def test_config_shows_values_and_origins_but_no_secret(capsys, monkeypatch):
    monkeypatch.setenv("T", "hunter2")
    Path("config.toml").write_text('[admin]\ntoken = { env = "T" }\n')
    assert main(["config"]) == 0
    out = capsys.readouterr().out
    assert "admin.token\t***\tconfig.toml:2 (env T)\n" in out
    assert "admin.read_token\tnone\tdefault\n" in out
    assert 'server.public_url\t""\tdefault\n' in out
    assert "hunter2" not in out
    assert main(["config", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"key": "retry.attempts", "value": 3, "origin": "default"} in rows


def test_config_of_a_bad_file(capsys):
    Path("config.toml").write_text("x = 1")
    assert main(["config"]) == 1
    assert "config.toml:1: x: found an unknown key" in capsys.readouterr().err


def test_tables_are_aligned_for_people(capsys):
    print_table([("a", "bb"), ("ccc", "d")], aligned=True)
    assert capsys.readouterr().out == "a    bb\nccc  d\n"


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0s"), (0.6, "1s"), (59.4, "59s"), (60, "1m00s"), (252, "4m12s"), (3599, "59m59s"),
        (3600, "1h00m"), (86_399, "23h59m"), (86_400, "1d00h"), (1_000_000, "11d13h"),
    ],
)  # fmt: skip
def test_a_span_is_told_in_two_units(seconds, told):
    assert span(seconds) == told


def test_a_table_names_its_columns_for_people_only(capsys):
    print_table([("a", "b")], head=("X", "LONG"), aligned=True)
    print_table([("a", "b")], head=("X", "LONG"), aligned=False)
    assert capsys.readouterr().out == "X  LONG\na  b\na\tb\n"


def test_what_others_wrote_cannot_break_a_line_or_steer_a_terminal(capsys):
    for aligned in (True, False):
        print_table([("a\tb\n", "\x1b[2J\x9b2J\u202e")], aligned=aligned)
    assert capsys.readouterr().out == "a?b?  ?[2J?2J?\na?b?\t?[2J?2J?\n"


def test_init_writes_a_file_that_holds_no_secret(capsys, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-theirs")
    monkeypatch.setenv("GOOGLE_API_KEY", "g-theirs")
    assert main(["init"]) == 0
    out = capsys.readouterr().out
    text = Path("config.toml").read_text()
    assert "theirs" not in text + out
    assert stat.S_IMODE(Path("config.toml").stat().st_mode) == 0o600
    config = load(Path("config.toml"), os.environ)
    assert [(a.name, a.provider) for a in config.accounts] == [
        ("openai", "openai"),
        ("gemini", "gemini"),
    ]
    shown = next(line for line in out.splitlines() if line.startswith("your key"))
    key = shown.rpartition(" ")[2]
    assert key.startswith("sk-splice-")
    assert key not in text
    assert config.keys[0].hash == key_hash(key)
    assert config.warnings == ()
    curl = out.splitlines()[-1]
    assert curl.startswith("  curl http://127.0.0.1:8080/v1/chat/completions ")
    assert f"Bearer {key}" in curl
    assert '"model": "openai/' in curl


def test_init_overwrites_nothing(capsys, monkeypatch):
    monkeypatch.setenv("GROQ_API_KEY", "k")
    Path("mine.toml").write_text("# mine")
    assert main(["init", "-c", "mine.toml"]) == 1
    assert capsys.readouterr().err == (
        "splice: found mine.toml already, expected no such file; name another with -c\n"
    )
    assert Path("mine.toml").read_text() == "# mine"


def test_init_somewhere_that_is_not_there(capsys, monkeypatch):
    monkeypatch.setenv("GROQ_API_KEY", "k")
    assert main(["init", "-c", "none/x.toml"]) == 1
    assert "cannot write none/x.toml: No such file or directory" in capsys.readouterr().err


def test_init_tells_how_to_start_another_file(capsys, monkeypatch):
    monkeypatch.setenv("GROQ_API_KEY", "k")
    assert main(["init", "-c", "x.toml"]) == 0
    assert "splice serve -c x.toml\n" in capsys.readouterr().out


def test_init_without_keys_says_which_it_looked_for(capsys):
    assert main(["init"]) == 1
    said = capsys.readouterr().err
    assert all(name in said for name in VARIABLES)
    assert "splice demo" in said
    assert not Path("config.toml").exists()


def test_a_reader_that_has_seen_enough_gets_no_traceback():
    Path("config.toml").write_text("")
    command = f"{sys.executable} -m proxy config | true; echo ${{PIPESTATUS[0]}}"
    found = subprocess.run(
        ["bash", "-c", command],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(proxy.__file__).parents[1])},
    )
    assert (found.stdout, found.stderr) == ("1\n", "")


# Prices and models.

PRICED = """
[[accounts]]
name = "d"
provider = "deepseek"
api_key = "x"
models = ["deepseek-v4-pro", "*"]
[[models]]
name = "smart"
targets = ["deepseek/deepseek-v4-pro", "deepseek/of-tomorrow"]
[[models]]
name = "sold"
targets = ["deepseek/of-tomorrow"]
cost = { input = 0.5, output = 2, searches_kcount = 7, tiers = [{ above = 100, input = 1 }] }
price = [{ input = 3 }, { from = 2027-01-01, input = 4, service_tiers = { flex = { input = 1 } } }]
"""


@pytest.fixture
def _priced():
    Path("config.toml").write_text(PRICED)
    Path("config.toml").chmod(0o600)


@pytest.mark.usefixtures("_priced")
def test_prices_show_tells_whose_they_are_and_when_they_hold(capsys):
    assert main(["prices", "show", "sold"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert rows[0][:6] == ["target", "", "source", "when", "input", "output"]
    assert rows[0][-1] == "searches_kcount"
    assert [row[1:5] for row in rows[1:]] == [
        ["cost", "config", "always", "0.5"],
        ["cost", "config", "above 100 tokens", "1"],
        ["price", "config", "always", "3"],
        ["price", "config", "from 2027-01-01", "4"],
        ["price", "config", "from 2027-01-01 flex", "1"],
    ]
    assert {row[0] for row in rows[1:]} == {"deepseek/of-tomorrow"}


@pytest.mark.usefixtures("_priced")
def test_prices_show_names_the_catalog_and_what_nobody_knows(capsys):
    assert main(["prices", "show", "smart"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert ["deepseek/deepseek-v4-pro", "cost, price", "catalog"] in [row[:3] for row in rows]
    assert any("UTC" in row[3] for row in rows), "DeepSeek is dearer at some hours"
    assert rows[-1][:4] == ["deepseek/of-tomorrow", "cost, price", "none", "unpriced"]


@pytest.mark.usefixtures("_priced")
def test_prices_show_in_json_has_the_fields_of_a_configured_price(capsys):
    assert main(["prices", "show", "sold", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (target,) = found["targets"]
    assert (target["cost_source"], target["price_source"]) == ("config", "config")
    assert (
        target["cost"][0]["tiers"][0] | {"input": "1", "above": 100}
        == target["cost"][0]["tiers"][0]
    )
    assert target["price"][1]["from"] == "2027-01-01T00:00:00Z"
    assert found["catalog"]["source"].startswith("genai-prices ")
    assert [len(Price.parse(target[name])) for name in ("cost", "price")] == [1, 2]


@pytest.mark.usefixtures("_priced")
def test_prices_show_knows_models_of_providers_without_an_account(capsys):
    assert main(["prices", "show", "anthropic/claude-opus-5-5"]) == 0
    assert "anthropic/claude-opus-5-5\tcost, price\tcatalog\talways" in capsys.readouterr().out
    assert main(["prices", "show", "nobody/nothing"]) == 1
    assert "found no model 'nobody/nothing'" in capsys.readouterr().err


@pytest.mark.usefixtures("_priced")
def test_models_lists_names_targets_and_prices(capsys):
    assert main(["models"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["model", "target", "source", "input", "output"]
    assert ["smart", "deepseek/of-tomorrow", "none", "unpriced", "unpriced"] in rows
    assert ["sold", "deepseek/of-tomorrow", "config", "3", "0"] in rows
    assert rows[-1][:3] == ["deepseek/deepseek-v4-pro", "deepseek/deepseek-v4-pro", "catalog"]
    assert main(["models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[1]["input"] is None


@pytest.mark.parametrize("command", ["models", "prices show x"])
def test_prices_and_models_need_a_configuration(command, capsys):
    assert main(command.split()) == 1
    assert "splice init" in capsys.readouterr().err


@pytest.mark.usefixtures("_priced")
def test_prices_import_puts_a_list_before_the_bundled_one(capsys):
    with Path("config.toml").open("a") as file:
        file.write('[state]\ndirectory = "kept"\n')
    listed = {
        "deepseek/of-tomorrow": {"litellm_provider": "deepseek", "input_cost_per_token": 7e-6}
    }
    Path("theirs.json").write_text(json.dumps(listed))
    assert main(["prices", "import", "theirs.json"]) == 0
    assert "kept/prices.json: 1 models of 1 providers" in capsys.readouterr().out
    assert stat.S_IMODE(Path("kept").stat().st_mode) == 0o700
    assert [path.name for path in Path("kept").iterdir()] == ["prices.json"]
    assert main(["prices", "show", "deepseek/of-tomorrow", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["targets"][0]["cost"][0]["input"] == "7"
    assert found["catalog"]["source"] == "theirs.json"
    Path("kept/prices.json").write_text("{}")
    assert main(["models"]) == 1
    assert "found no price list" in capsys.readouterr().err


@pytest.mark.usefixtures("_priced")
@pytest.mark.parametrize(
    ("written", "said"),
    [
        (None, "found no file theirs.json to read"),
        ("{", "theirs.json: "),
        ("{}", "found no prices"),
    ],
)
def test_prices_import_refuses_what_is_no_list(written, said, capsys):
    if written is not None:
        Path("theirs.json").write_text(written)
    assert main(["prices", "import", "theirs.json"]) == 1
    assert said in capsys.readouterr().err
