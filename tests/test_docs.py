"""What the documentation says, held against the code."""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import re
import shutil
import sys
import tomllib
from collections.abc import Mapping
from contextlib import asynccontextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any, get_args

import orjson
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it has no types

from proxy import demo
from proxy.cli import _parser
from proxy.config import key_hash, load, loads, model
from proxy.demo.greeting import greeting
from proxy.dialects import repair
from proxy.dialects.capabilities import BUDGETS, GEMINI_BUDGETS
from proxy.dialects.chat import decode as chat_decode
from proxy.dialects.chat import read as chat_read
from proxy.dialects.chat import shapes as chat_shapes
from proxy.dialects.conversation import EFFORTS
from proxy.dialects.gemini import encode as gemini_encode
from proxy.dialects.gemini import read as gemini_read
from proxy.dialects.gemini import reasons as gemini_reasons
from proxy.dialects.memory import LIFETIME, MAX_BYTES, MAX_ENTRIES
from proxy.dialects.messages import decode as messages_decode
from proxy.dialects.messages import encode as messages_encode
from proxy.dialects.messages import read as messages_read
from proxy.dialects.reply import Upstream, Written
from proxy.dialects.responses import encode as responses_encode
from proxy.dialects.responses import read as responses_read
from proxy.dialects.responses import shapes as responses_shapes
from proxy.dialects.spoken import CLIENTS, SERVERS, ClientDialect
from proxy.dialects.turn import StopReason
from proxy.errors import ROWS, GatewayError, Kind
from proxy.metrics import METRICS, PREFIX, Phase
from proxy.providers import ALIASES, BUILTIN, RESERVED, Dialect, Flags
from proxy.routing.cooldown import Cause
from proxy.routing.seat import Standing
from proxy.server import openapi
from proxy.server.admin import ROUTES
from proxy.server.exchange import _error_fields
from proxy.usage import Usage
from tests.docs_samples import BASES, BESIDE, CONTENT, MARK, MARKED, PARAMETERS, TOOLS
from tests.integration.gateway import KEY, Gateway, config_text, gateway, upstream
from tests.integration.warehouse import warehouse

ROOT = Path(__file__).parents[1]
PAGES = {
    path.relative_to(ROOT).as_posix(): path
    for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
}
Row = dict[str, str]


def section(page: str, *titles: str) -> str:
    """Return what stands under the heading ``titles[0]``, and in it under the next, up to a heading of the same level."""
    text = PAGES[page].read_text()
    for title in titles:
        head = re.search(rf"^(#+) {re.escape(title)}$", text, re.MULTILINE)
        assert head is not None, f"{page} has no heading {title!r}"
        text = text[head.end() :]
        end = re.search(rf"^#{{1,{len(head[1])}}} ", text, re.MULTILINE)
        text = text[: end.start()] if end else text
    return text


def table(page: str, *titles: str) -> list[Row]:
    """Return the rows of the first table of a section, by the names in its head."""
    lines = section(page, *titles).splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("|"))
    rows = [
        [cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|")]
        for line in takewhile(lambda line: line.startswith("|"), lines[first:])
    ]
    head, _, *body = rows
    return [dict(zip(head, row, strict=True)) for row in body]


def coded(cell: str) -> list[str]:
    """Return the words of a cell that are set as code."""
    return re.findall(r"`([^`]+)`", cell)


def fences(page: str, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```$", PAGES[page].read_text(), re.MULTILINE | re.DOTALL
    )


# docs/translation.md.

TRANSLATION = "docs/translation.md"
TITLES: dict[ClientDialect, str] = {
    "chat": "From chat completions",
    "messages": "From messages",
    "responses": "From responses",
    "gemini": "From Gemini",
}
_OFFICIAL = BUILTIN["openai"].flags
UPSTREAMS: dict[Dialect, tuple[tuple[str, Flags], ...]] = {
    "openai-chat": (
        ("gpt-6-sol", _OFFICIAL),
        ("gpt-4.1", _OFFICIAL),
        ("llama-3.3-70b", Flags()),
        ("deepseek-chat", BUILTIN["deepseek"].flags),
    ),
    "openai-responses": (("gpt-6-sol", _OFFICIAL), ("gpt-4.1", _OFFICIAL), ("grok-4", Flags())),
    "anthropic": (
        ("claude-opus-5-5", Flags()),
        ("claude-haiku-5-5", Flags()),
        ("claude-sonnet-4-5", Flags()),
    ),
    "gemini": (
        ("gemini-3.1-pro", Flags()),
        ("gemini-3.6-flash", Flags()),
        ("gemini-2.5-flash", Flags()),
        ("gemma-3-27b-it", Flags()),
        ("gemini-3.1-pro", Flags(penalties=True, logprobs=True)),
    ),
}
"""Models whose rows differ: "varies" is what some of them carry and others do not."""

READ: dict[ClientDialect, frozenset[str]] = {
    "chat": chat_read._KNOWN,
    "messages": messages_read.READ | {*messages_read.DROPPED, *messages_read.REFUSED},
    "responses": responses_read._KNOWN,
    "gemini": gemini_read._ROOT | {"continuationToken"},
}
CONVERSATION = frozenset(("model", "messages", "input", "contents"))


def crossings() -> list[Any]:
    """Return each row of the parameter tables with each of its upstreams."""
    return [
        pytest.param(
            client, coded(row["parameter"]), dialect, row[dialect], id=f"{client}-{dialect}-{i}"
        )
        for client, title in TITLES.items()
        for dialect in SERVERS
        if dialect != CLIENTS[client].native
        for i, row in enumerate(table(TRANSLATION, title, "Parameters"))
    ]


def written(
    client: ClientDialect, body: Mapping[str, Any], dialect: Dialect, upstream: Upstream
) -> Written:
    conversation = CLIENTS[client].read_request({**BASES[client], **body})
    repair.repair(conversation, param=CLIENTS[client].turns)
    return SERVERS[dialect].write_request(conversation, upstream)


def with_parameter(client: ClientDialect, name: str) -> dict[str, Any]:
    body = dict(BESIDE.get((client, name), {}))
    *outer, last = name.split(".")
    holder = body
    for key in outer:
        holder[key] = dict(holder.get(key, {}))
        holder = holder[key]
    holder[last] = PARAMETERS[client][name]
    return body


def fate(client: ClientDialect, name: str, dialect: Dialect, upstream: Upstream) -> str:
    """Return what becomes of a parameter: the words of the tables."""
    body = with_parameter(client, name)
    try:
        sent = written(client, body, dialect, upstream)
    except GatewayError as error:
        return "refused" if (error.status, error.param) == (400, name) else repr(error)
    told = sent.dropped | sent.weakened
    if told:
        return "dropped" if name in told else f"dropped as {told}"
    bare = written(client, BESIDE.get((client, name), {}), dialect, upstream)
    return "ours" if (sent.path, sent.body) == (bare.path, bare.body) else "carried"


@pytest.mark.parametrize(("client", "names", "dialect", "said"), crossings())
def test_a_parameter_fares_as_the_table_says(client, names, dialect, said):
    for name in names:
        fates = {fate(client, name, dialect, Upstream(*one)) for one in UPSTREAMS[dialect]}
        assert ("varies" if fates == {"carried", "dropped"} else " ".join(sorted(fates))) == said


@pytest.mark.parametrize("client", get_args(ClientDialect))
def test_every_parameter_that_is_read_is_in_the_table(client):
    rows = table(TRANSLATION, TITLES[client], "Parameters")
    names = [name for row in rows for name in coded(row["parameter"])]
    assert sorted(names) == sorted(PARAMETERS[client])
    assert {name.partition(".")[0] for name in names} == READ[client] - CONVERSATION


@pytest.mark.parametrize("client", get_args(ClientDialect))
def test_an_invented_parameter_is_told_as_unknown(client):
    for dialect in SERVERS:
        if dialect != CLIENTS[client].native:
            upstream = Upstream(*UPSTREAMS[dialect][0])
            assert written(client, {"x-evil\r\n": 1}, dialect, upstream).dropped == {"unknown"}


def content_fate(
    client: ClientDialect, body: dict[str, Any], dialect: Dialect, upstream: Upstream
) -> str:
    try:
        sent = written(client, body, dialect, upstream)
    except GatewayError as error:
        return "refused" if error.status == 400 and error.param else repr(error)
    document = orjson.dumps(sent.body).decode()
    if MARK in document or MARKED in document:
        return "carried"
    return "dropped" if sent.dropped else "left out"


@pytest.mark.parametrize("kind", ["Content", "Tools"])
@pytest.mark.parametrize("client", get_args(ClientDialect))
def test_content_and_tools_fare_as_the_tables_say(client, kind):
    samples = {"Content": CONTENT, "Tools": TOOLS}[kind][client]
    rows = table(TRANSLATION, TITLES[client], kind)
    assert [row[kind.lower()] for row in rows] == list(samples)
    for row in rows:
        for dialect in SERVERS:
            if dialect == CLIENTS[client].native:
                continue
            fates = {
                content_fate(client, samples[row[kind.lower()]], dialect, Upstream(*one))
                for one in UPSTREAMS[dialect]
            }
            assert fates == {row[dialect]}, (row, dialect)


def test_finish_reasons_cross_as_the_table_says():
    rows = table(TRANSLATION, "Why an answer ended")
    assert [row["meaning"] for row in rows] == [f"`{reason}`" for reason in StopReason]
    for reason, row in zip(StopReason, rows, strict=True):
        assert coded(row["chat reads"]) == [chat_shapes._REASONS[reason]]
        assert coded(row["messages reads"]) == [messages_encode.STOP_REASONS[reason]]
        assert coded(row["responses reads"]) == [
            responses_encode._INCOMPLETE.get(reason, "completed")
        ]
        assert coded(row["gemini reads"]) == [gemini_reasons.FINISH_REASONS[reason]]
        for column, words in (
            ("openai-chat", chat_decode._REASONS),
            ("anthropic", messages_decode.STOP_REASONS),
            ("gemini", gemini_reasons.STOP_REASONS),
        ):
            assert coded(row[f"{column} says"]) == [
                w for w, means in words.items() if means is reason
            ]


def test_usage_is_counted_as_the_table_says():
    usage = Usage(
        input=1,
        cache_read=10,
        cache_write=100,
        cache_write_1h=1000,
        output=20_000,
        reasoning=10_000,
    )
    shapes = {
        "chat": chat_shapes.write_usage(usage),
        "messages": messages_encode.write_usage(usage),
        "responses": responses_shapes.write_usage(usage),
        "gemini": gemini_encode.write_usage(usage),
    }
    told: dict[str, dict[str, Any]] = {name: {} for name in shapes}
    for row in table(TRANSLATION, "Usage"):
        parts, _, less = row["is the sum of"].partition("less")
        meant = sum(getattr(usage, name) for name in coded(parts))
        meant -= sum(getattr(usage, name) for name in coded(less))
        for client, shape in shapes.items():
            for field in coded(row[client]):
                value: Any = shape
                for key in field.split("."):
                    value = value[key]
                assert value == meant, field
                told[client][field] = value
    for client, shape in shapes.items():
        leaves = {
            f"{name}.{inner}" if inner else name
            for name, value in shape.items()
            for inner in (value if isinstance(value, dict) else {"": value})
        }
        assert {leaf for leaf in leaves if not leaf.endswith("audio_tokens")} <= set(
            told[client]
        ), client


def test_an_effort_is_worth_the_documented_tokens():
    rows = table(TRANSLATION, "How much to think")
    assert [coded(row["effort"]) for row in rows] == [[effort] for effort in EFFORTS]
    for effort, row in zip(EFFORTS, rows, strict=True):
        if effort != "none":
            assert row["Claude by budget"] == f"{BUDGETS[effort]:,}"
        assert row["Gemini 2.5"] == f"{GEMINI_BUDGETS[effort]:,}"


def test_the_memorys_bounds_are_the_documented_ones():
    said = section(TRANSLATION, "Thinking, there and back")
    for bound in (f"{MAX_ENTRIES:,} calls", f"{MAX_BYTES >> 20} MiB", f"{LIFETIME / 3600:g} hours"):
        assert bound in said


# docs/errors.md.


def test_every_kind_of_error_is_in_the_table_as_it_is_told():
    rows = table("docs/errors.md", "The table")
    assert [coded(row["kind"]) for row in rows] == [[kind] for kind in Kind]
    for kind, row in zip(Kind, rows, strict=True):
        told = ROWS[kind]
        assert int(row["status"]) == told.status
        assert coded(row["OpenAI's type"]) == [told.openai_type]
        assert coded(row["code"]) == ([] if told.code is None else [told.code])
        assert coded(row["Anthropic's type"]) == [told.messages_type]
        assert coded(row["Gemini's status"]) == [told.gemini_status]
        assert coded(row["error_type"]) == [told.error_type]
        assert (row["retry-after"] == "yes") == (
            b"retry-after" in _error_fields(GatewayError(kind))
        )
        assert (row["another account"] == "yes") == told.another
        assert (row["fixed text"] == "yes") == (told.text is not None)


@pytest.mark.parametrize("page", ["docs/errors.md", "docs/api/errors.md"])
def test_the_error_bodies_are_the_documented_ones(page):
    chat, messages, gemini = (orjson.loads(text) for text in fences(page, "json"))
    error = GatewayError(
        Kind.INVALID_REQUEST, "found a string, expected a number", param="temperature"
    )
    request_id = messages["request_id"]
    assert chat_shapes.write_error(error, request_id) == chat
    assert messages_encode.write_error(error, request_id) == messages
    assert gemini_encode.write_error(error, request_id) == gemini


# docs/api.

API = [page for page in PAGES if page.startswith("docs/api/")]
SHAPES = {
    "docs/api/errors.md": ("OpenAIError", "AnthropicError", "GeminiError"),
    "docs/api/keys.md": ("Key",),
    "docs/api/usage.md": ("UsageOfRequest", "Usage"),
}
"""What the JSON on these pages is, by its name in /openapi.json: the answers of a gateway are held against the same."""


@pytest.mark.parametrize("page", API)
def test_every_snippet_for_users_is_one_that_is_run(page):
    text = PAGES[page].read_text()
    assert set(re.findall(r"^```(.+)$", text, re.MULTILINE)) <= {"sh", "python", "json"}
    for shell in fences(page, "sh"):
        assert "".join(curl_lines(shell)) == shell.strip()
    described = orjson.loads(openapi.document("", ""))
    shown = [orjson.loads(one) for one in fences(page, "json")]
    for name, document in zip(SHAPES.get(page, ()), shown, strict=True):
        schema = {"$ref": f"#/components/schemas/{name}", "components": described["components"]}
        Draft202012Validator(schema).validate(document)


@pytest.mark.parametrize("page", API)
def test_the_pages_for_users_lead_nowhere_but_to_each_other(page):
    links = re.findall(r"\]\(([^)]+)\)", PAGES[page].read_text())
    names = {path.rpartition("/")[2] for path in API}
    assert {name for link in links if (name := link.partition("#")[0])} <= names


def test_every_code_that_users_may_be_told_is_explained():
    rows = table("docs/api/errors.md", "Errors")
    told = {int(row["status"]): set(coded(row["OpenAI's code"])) for row in rows}
    codes: dict[int, set[str]] = {}
    for row in ROWS.values():
        codes.setdefault(row.status, set()).update([row.code] if row.code else [])
    del codes[499]
    assert told == codes


# docs/metrics.md.


def test_every_metric_is_in_the_table_as_it_is_declared():
    rows = table("docs/metrics.md", "The table")
    assert [coded(row["metric"]) for row in rows] == [[PREFIX + name] for name in METRICS]
    for metric, row in zip(METRICS.values(), rows, strict=True):
        assert row["type"] == metric.kind
        assert coded(row["labels"]) == list(metric.labels)
        assert row["unit"] == _unit(metric.name.removesuffix("_total"))
        assert row["meaning"] == metric.help


def _unit(name: str) -> str:
    units = {
        "timestamp_seconds": "Unix time",
        "seconds": "seconds",
        "usd": "USD",
        "tokens": "tokens",
        "bytes": "bytes",
    }
    return next((unit for suffix, unit in units.items() if name.endswith(f"_{suffix}")), "")


def test_the_buckets_are_the_documented_ones():
    text = section("docs/metrics.md", "The table").partition("Buckets, in seconds:")[2]
    told = {
        f"{name}_seconds": tuple(map(float, cells[1].split()))
        for line in text.splitlines()
        if line.startswith("| `")
        for cells in [line.strip("| ").split(" | ")]
        for name in coded(cells[0])
    }
    assert told == {name: one.buckets for name, one in METRICS.items() if one.buckets}


# docs/configuration.md.

CONFIGURATION = "docs/configuration.md"


def test_every_setting_is_in_the_example():
    example = tomllib.loads(
        "".join(
            line[1:] if line.startswith("#") and not line.startswith("# ") else line
            for line in (ROOT / "config.example.toml").read_text().splitlines(keepends=True)
        )
    )
    config = loads("", Path("c.toml"), {})
    tables = {"accounts": "Account", "models": "Model", "keys": "Key"}
    for name in config.__dataclass_fields__:
        if name in ("path", "providers", "warnings", "settings"):
            continue
        made = getattr(model, tables[name]) if name in tables else type(getattr(config, name))
        shown = example[name][0] if name in tables else example[name]
        assert set(made.__dataclass_fields__) - {"default"} <= set(shown), name
    shown = example["providers"]["my-vllm"]
    assert set(shown) == {"dialects", "base_url", "base_urls", "auth", "families", "flags"}
    text = (ROOT / "config.example.toml").read_text()
    assert all(re.search(rf"\b{flag}\b", text) for flag in Flags.__dataclass_fields__)


def test_the_aliases_and_reserved_names_are_the_documented_ones():
    said = section(CONFIGURATION, "Names of models")
    assert dict(re.findall(r"`([\w-]+)` → `([\w-]+)`", said)) == ALIASES
    named = section(CONFIGURATION, "Names of providers")
    assert set(coded(named.partition("may not be called")[2])) >= RESERVED


def test_the_configurations_in_the_documents_are_valid(tmp_path):
    environ = {"GROQ_API_KEY": "k", "OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"}
    found = 0
    for page in PAGES:
        for text in fences(page, "toml"):
            if "[[accounts]]" in text:
                path = tmp_path / "config.toml"
                path.write_text(text)
                assert load(path, environ).settings
                found += 1
    assert found >= 2


def test_the_addresses_are_joined_as_the_table_says():
    for row in table(CONFIGURATION, "Addresses"):
        provider = BUILTIN["openai"]
        (base,), (path,), (url,) = (coded(row[name]) for name in ("base_url", "route", "called"))
        assert provider.url("openai-chat", path, base) == url


# docs/operations.md.

OPERATIONS = "docs/operations.md"


def test_every_state_and_phase_is_told():
    states = [coded(row["state"]) for row in table(OPERATIONS, "At a glance")]
    assert states == [[state] for state in Standing]
    phases = [coded(row["phase"]) for row in table(OPERATIONS, "A request does not end")]
    assert phases == [[phase] for phase in Phase]


def test_every_cause_of_a_rest_has_its_advice():
    said = section(OPERATIONS, "An account is benched")
    # A spent budget is a state, and benches nobody.
    assert set(coded(" ".join(re.findall(r"^- (.*?):", said, re.MULTILINE)))) == {
        cause for cause in Cause if cause is not Cause.BUDGET
    }


def test_every_route_of_the_admin_api_is_told():
    told: set[tuple[str, str]] = set()
    for row in table(OPERATIONS, "Over HTTP"):
        first, *verbs = coded(row["method and path"])
        method, _, path = first.partition(" ")
        path = re.sub("NAME|ID", "*", path.partition("?")[0].removeprefix("/api/v1/"))
        told |= {(method, path)} | {(method, f"{path.rpartition('/')[0]}/{one}") for one in verbs}
    assert told == {(method, row) for row, methods in ROUTES.items() for method in methods}


@pytest.mark.parametrize("page", [OPERATIONS, "docs/runbook.md"])
def test_the_commands_in_the_handbooks_exist(page):
    lines = set(re.findall(r"(?:\$ |`)splice ([a-z][^`\n]*)", PAGES[page].read_text()))
    assert len(lines) >= 9
    for line in lines:
        assert _parser().parse_args(line.split()).command == line.split()[0]


# What is to be pasted.

PASSED_ON = ("docs/api/pass-through.md",)
"""The pages on what the demo does not have."""


@asynccontextmanager
async def the_demo() -> Any:
    provider = await demo.start(words_per_second=0)
    try:
        text = demo.config_text(provider.url, 0, key_hash(KEY), "state")
        text = text.replace('[admin]\nlisten = ["127.0.0.1:0"]', "[admin]\nlisten = []")
        async with gateway(text) as front:
            yield front
    finally:
        await provider.close()


@asynccontextmanager
async def the_provider_of(page: str) -> Any:
    """Run the demo, or for what it does not have a provider that has it."""
    if page not in PASSED_ON:
        async with the_demo() as front:
            yield front
        return
    async with warehouse() as house:
        models = (
            f'[[models]]\nname = "demo-{name}"\ntargets = ["up/{name}"]\n'
            for name in ("image", "speech", "whisper")
        )
        async with gateway(config_text(upstream(house.url), *models)) as front:
            yield front


def filled(text: str, front: Gateway) -> str:
    """Return ``text`` with the address and key of a gateway that runs."""
    return text.replace("http://127.0.0.1:8080", front.url).replace("$KEY", KEY)


async def ran(directory: Path, *command: str) -> str:
    """Run a command beside the files that the pages speak of; return what it prints."""
    (directory / "speech.mp3").write_bytes(b"ID3")
    (directory / "batch.jsonl").write_text("{}\n")
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=directory,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


def greeting_lines() -> str:
    return greeting("http://127.0.0.1:8080", "http://127.0.0.1:8081", "$KEY", "splice -c c.toml")


def curl_lines(text: str) -> list[str]:
    return [found.strip() for found in re.findall(r"^ *(curl (?:.*\\\n)*.*)$", text, re.MULTILINE)]


def shell_samples() -> list[Any]:
    pages = {page: path.read_text() for page, path in PAGES.items()} | {
        "greeting": greeting_lines()
    }
    return [
        pytest.param(page, line, id=f"{page}-{i}")
        for page, text in pages.items()
        for i, line in enumerate(curl_lines(text))
    ]


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
@pytest.mark.parametrize(("page", "line"), shell_samples())
async def test_a_curl_line_works_as_pasted(page, line, tmp_path):
    async with the_provider_of(page) as front:
        told = await ran(tmp_path, "sh", "-c", filled(line, front))
    assert told
    assert re.search('"error": *[^n]', told) is None


def python_samples() -> list[Any]:
    samples = [
        pytest.param(page, text, id=f"{page}-{i}")
        for page in PAGES
        for i, text in enumerate(fences(page, "python"))
    ]
    # As it stands: who pastes it pastes what is in front of it too.
    shown = re.search(r"^ *from openai.*?(?=\n\n)", greeting_lines(), re.MULTILINE | re.DOTALL)
    assert shown is not None
    return [*samples, pytest.param("greeting", shown[0], id="greeting")]


@pytest.mark.parametrize(("page", "text"), python_samples())
async def test_a_python_snippet_works_as_pasted(page, text, tmp_path):
    imported = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    missing = [name for name in imported if not _is_installed(name)]
    if missing:
        pytest.skip(f"it compiles; {', '.join(missing)} is not among the locked packages")
    async with the_provider_of(page) as front:
        script = f"KEY = {KEY!r}\n{filled(text, front)}"
        assert (await ran(tmp_path, sys.executable, "-W", "ignore", "-c", script)).strip()


def _is_installed(name: str) -> bool:
    return importlib.util.find_spec(name.partition(".")[0]) is not None


def test_codex_is_configured_with_toml():
    for text in (greeting_lines(), PAGES["docs/clients.md"].read_text()):
        for setting in re.findall(r"-c '(model_providers[^']*)'", text):
            provider = tomllib.loads(setting)["model_providers"]["splice"]
            assert provider["base_url"].endswith("/v1")
            assert provider["wire_api"] == "responses"
    for text in fences("docs/clients.md", "toml"):
        tomllib.loads(text)
    for text in fences("docs/clients.md", "json"):
        orjson.loads(text)


# Every page.


def anchors(text: str) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    path = PAGES[page]
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", path.read_text()):
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text()), link


def test_decisions_are_numbered_without_gaps():
    names = sorted(path.name for path in ROOT.glob("docs/decisions/*.md"))
    assert [int(name[:3]) for name in names] == list(range(1, len(names) + 1))
    for name in names:
        text = (ROOT / "docs/decisions" / name).read_text()
        assert all(f"**{part}.**" in text for part in ("Context", "Choice", "Consequence")), name
