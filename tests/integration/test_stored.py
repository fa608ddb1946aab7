"""Responses that a provider keeps: by id, on the account that made them, for the key that did and for nobody else."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from tests.integration import spoken
from tests.integration.gateway import (
    BEARER,
    OTHER_KEY,
    SECRET,
    Gateway,
    account,
    chat_body,
    config_text,
    gateway,
    in_front_of,
    upstream,
)
from tests.integration.scripted import Cut, Pause, Scripted, Step, play, whole
from tests.integration.sdk import OpenAI
from tests.integration.wire import request

DIALECT = "openai-responses"
OTHER = f"Bearer {OTHER_KEY}"
PATH = "/v1/responses"


class Store:
    """An upstream that keeps the responses that it makes, called ``resp_<name>1`` and so on; or plays ``steps``."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.kept: dict[str, dict[str, Any]] = {}
        self.steps: list[Step] | None = None
        self.server = Scripted(self)

    @property
    def asked(self) -> list[str]:
        return [f"{one.method} {one.target}" for one in self.server.requests]

    @property
    def body(self) -> dict[str, Any]:
        found = json.loads(self.server.requests[-1].body)
        assert isinstance(found, dict)
        return found

    async def __call__(self, reader, writer, asked) -> None:
        await play(self.steps or self._answer(asked), writer)

    def _answer(self, asked) -> list[Step]:
        path, _, query = asked.target.partition("?")
        name, _, rest = path.removeprefix(PATH).lstrip("/").partition("/")
        if asked.method == "POST" and not name:
            return [self._make(json.loads(asked.body))]
        if name not in self.kept:
            return [
                self._told(
                    {"error": {"message": f"no {SECRET}", "type": "invalid_request_error"}},
                    "404 Not Found",
                )
            ]
        if asked.method == "DELETE":
            del self.kept[name]
            return [self._told({"id": name, "object": "response", "deleted": True})]
        if rest == "input_items":
            return [self._told({"object": "list", "data": [], "has_more": False, "query": query})]
        if rest == "cancel":
            return [self._told({**self.kept[name], "status": "cancelled"})]
        if "stream=true" in query:
            return [
                spoken.HEAD
                + spoken.chunk(spoken.stream(DIALECT, "Hello").replace(b"resp_1", name.encode()))
                + spoken.LAST
            ]
        return [self._told(self.kept[name])]

    def _make(self, body: dict[str, Any]) -> bytes:
        name = f"resp_{self.name}{len(self.kept) + 1}"
        document = {**spoken.document(DIALECT), "id": name, "store": body.get("store", True)}
        document["output"][0]["id"] = f"msg_{name}"
        self.kept[name] = document
        if not body.get("stream"):
            return self._told(document)
        frames = spoken.stream(DIALECT, "Hello").replace(b'"msg_1"', f'"msg_{name}"'.encode())
        return spoken.HEAD + spoken.chunk(frames.replace(b"resp_1", name.encode())) + spoken.LAST

    def _told(self, document: dict[str, Any], status: str = "200 OK") -> bytes:
        return whole(json.dumps(document).encode(), status, **spoken.JSON)


def tables(one: Store, two: Store, **options: str) -> str:
    """Return one provider with an account at each store; the second is asked when the first is not there."""
    return upstream(one.server.url, DIALECT) + account(
        "two", "up", base_url=f'"{two.server.url}"', priority="1", **options
    )


async def made(front: Gateway, **fields: Any) -> str:
    answered = await front.post(PATH, {"model": "up/m", "input": "Hi", **fields})
    assert answered.status == 200, answered.body
    if fields.get("stream"):
        return str(answered.data[0]["response"]["id"])
    return str(answered.json["id"])


@pytest.mark.parametrize("stream", [False, True])
async def test_a_response_is_found_on_the_account_that_made_it(stream):
    one, two = Store("a"), Store("b")
    async with one.server, two.server, gateway(config_text(tables(one, two))) as front:
        await front.admin("POST", "accounts/up/disable")
        name = await made(front, stream=stream)
        assert name == "resp_b1"
        await front.admin("POST", "accounts/up/enable")
        shown = await front.get(f"{PATH}/{name}?include[]=reasoning.encrypted_content&key=sk-stray")
        items = await front.get(f"{PATH}/{name}/input_items?limit=5&order=asc")
        cancelled = await front.post(f"{PATH}/{name}/cancel", b"")
        gone = await front.get(f"{PATH}/{name}", method="DELETE")
        assert (shown.status, shown.json) == (200, {**spoken.document(DIALECT), **shown.json})
        assert items.json["query"] == "limit=5&order=asc"
        assert cancelled.json["status"] == "cancelled"
        assert gone.json == {"id": name, "object": "response", "deleted": True}
        again = [await front.get(f"{PATH}/{name}", method=verb) for verb in ("GET", "DELETE")]
        assert [one.status for one in again] == [404, 404]
    assert one.asked == []
    assert two.asked[1:] == [
        f"GET {PATH}/{name}?include%5B%5D=reasoning.encrypted_content",
        f"GET {PATH}/{name}/input_items?limit=5&order=asc",
        f"POST {PATH}/{name}/cancel",
        f"DELETE {PATH}/{name}",
    ]
    assert two.server.requests[-1].headers["authorization"] == f"Bearer {SECRET}"
    assert "content-length" not in two.server.requests[-1].headers


async def test_a_stored_response_is_told_again_as_a_stream_from_where_the_client_left_off():
    one, two = Store("a"), Store("b")
    async with one.server, two.server, gateway(config_text(tables(one, two))) as front:
        name = await made(front, stream=True)
        before = await front.requests(1)
        told = await front.get(f"{PATH}/{name}?stream=true&starting_after=3")
        assert told.headers["content-type"].startswith("text/event-stream")
        assert [frame["type"] for frame in told.data][-1] == "response.completed"
        # It was paid for when it was made.
        lines = await front.requests(2)
        usage = (await front.get("/v1/usage")).json
    assert one.asked[-1] == f"GET {PATH}/{name}?stream=true&starting_after=3"
    assert (before[0]["output_tokens"], lines[1].get("output_tokens", 0)) == (spoken.OUTPUT, 0)
    assert usage["breakdown_by_model"][0]["requests"] == 1


VERBS = (
    ("GET", ""),
    ("GET", "?stream=true"),
    ("DELETE", ""),
    ("POST", "/cancel"),
    ("GET", "/input_items"),
)


@pytest.mark.parametrize(("method", "rest"), VERBS)
async def test_another_keys_response_and_one_that_never_was_are_the_same_404(method, rest):
    one, two = Store("a"), Store("b")
    async with one.server, two.server, gateway(config_text(tables(one, two))) as front:
        name = await made(front)
        asked = len(one.asked)
        foreign = await front.get(f"{PATH}/{name}{rest}", method=method, authorization=OTHER)
        absent = await front.get(f"{PATH}/resp_x9{rest}", method=method, authorization=OTHER)
        stranger = await front.get(f"{PATH}/{name}{rest}", method=method, authorization="Bearer no")
        assert foreign.status == absent.status == 404
        assert foreign.body.replace(name.encode(), b"resp_x9") == absent.body
        known = {"x-request-id", "request-id", "date", "server-timing"}
        assert {k: v for k, v in foreign.headers.items() if k not in known} == {
            k: v for k, v in absent.headers.items() if k not in known
        }
        assert stranger.status == 401
        assert len(one.asked) == asked, "nobody upstream was asked"
        assert (await front.get(f"{PATH}/{name}")).status == 200


async def test_questions_are_no_requests_by_the_minute_but_run_like_others():
    one, two = Store("a"), Store("b")
    async with one.server, two.server:
        text = config_text(tables(one, two)).replace(
            'name = "tester"', 'name = "tester"\nrpm = 1\nconcurrency = 1'
        )
        async with gateway(text) as front:
            name = await made(front)
            told = [await front.get(f"{PATH}/{name}") for _ in range(2)]
            again = await front.post(PATH, {"model": "up/m", "input": "Hi"})
    left = "x-ratelimit-remaining-requests"
    assert [(answer.status, answer.headers[left]) for answer in told] == [(200, "0")] * 2
    assert again.status == 429


@pytest.mark.parametrize(("method", "rest"), [("POST", "/cancel"), ("DELETE", "")])
async def test_what_changes_something_is_a_request_by_the_minute(method, rest):
    one, two = Store("a"), Store("b")
    async with one.server, two.server:
        text = config_text(tables(one, two)).replace('name = "tester"', 'name = "tester"\nrpm = 2')
        async with gateway(text) as front:
            name = await made(front)
            assert (await front.get(f"{PATH}/{name}{rest}", method)).status == 200
            refused = await front.post(PATH, {"model": "up/m", "input": "Hi"})
            assert refused.status == 429


async def test_what_its_provider_has_let_go_of_is_that_404_too():
    one, two = Store("a"), Store("b")
    async with one.server, two.server, gateway(config_text(tables(one, two))) as front:
        name = await made(front)
        one.kept.clear()
        gone = await front.get(f"{PATH}/{name}")
        absent = await front.get(f"{PATH}/resp_x9")
        assert gone.status == 404
        assert gone.body.replace(name.encode(), b"resp_x9") == absent.body
        # The account is none the worse for it.
        assert (await front.admin("GET", "accounts/up")).json["state"] == "available"
        assert await made(front)


@pytest.mark.parametrize(
    "path",
    [
        f"{PATH}/a/b",
        f"{PATH}/..%2Ffiles",
        f"{PATH}/resp_1/cancel/x",
        f"{PATH}/{'r' * 257}",
        f"{PATH}/",
    ],
)
async def test_a_path_that_is_none_of_ours_goes_nowhere(path):
    one, two = Store("a"), Store("b")
    async with one.server, two.server, gateway(config_text(tables(one, two))) as front:
        assert (await front.get(path)).status == 404
    assert one.asked == two.asked == []


async def test_methods_are_told():
    one, two = Store("a"), Store("b")
    async with one.server, two.server, gateway(config_text(tables(one, two))) as front:
        answered = await front.get(f"{PATH}/resp_a1", method="PUT")
        upgraded = await front.get(PATH, upgrade="websocket", connection="Upgrade")
    assert (answered.status, answered.headers["allow"]) == (405, "GET, DELETE, HEAD, OPTIONS")
    assert upgraded.status == 426


# What a request refers to.


@pytest.mark.parametrize("stream", [False, True])
async def test_a_conversation_that_goes_on_stays_with_its_account(stream):
    one, two = Store("a"), Store("b")
    async with one.server, two.server, gateway(config_text(tables(one, two))) as front:
        await front.admin("POST", "accounts/up/disable")
        first = await made(front)
        await front.admin("POST", "accounts/up/enable")
        assert await made(front) == "resp_a1", "the first account takes what refers to nothing"
        second = await made(front, previous_response_id=first, stream=stream)
        third = await made(front, input=[{"type": "item_reference", "id": f"msg_{second}"}])
        assert (first, second, third) == ("resp_b1", "resp_b2", "resp_b3")
        assert two.body["input"] == [{"type": "item_reference", "id": "msg_resp_b2"}]


@pytest.mark.parametrize(
    "fields",
    [
        {"previous_response_id": "NAME"},
        {"conversation": "NAME"},
        {"conversation": {"id": "NAME"}},
        {"prompt": {"id": "NAME"}},
        {"input": [{"type": "item_reference", "id": "NAME"}]},
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "NAME"}]}]},
        {"tools": [{"type": "file_search", "vector_store_ids": ["NAME"]}]},
        {"tools": [{"type": "code_interpreter", "container": "NAME"}]},
    ],
)
async def test_what_another_key_made_cannot_be_referred_to(fields):
    one, two = Store("a"), Store("b")
    async with one.server, two.server, gateway(config_text(tables(one, two))) as front:
        name = await made(front)
        asked = len(one.asked)

        async def refused(said: str):
            body = {
                "model": "up/m",
                "input": "Hi",
                **json.loads(json.dumps(fields).replace("NAME", said)),
            }
            return await front.post(PATH, body, authorization=OTHER)

        foreign, absent = await refused(name), await refused("resp_x9")
        assert foreign.status == absent.status == 404
        assert foreign.body.replace(name.encode(), b"resp_x9") == absent.body
        assert foreign.error["param"].startswith(next(iter(fields)))
        assert len(one.asked) == asked


@pytest.mark.parametrize("native", ["", "/up"])
async def test_what_a_model_has_said_to_another_key_cannot_be_said_again_and_what_nobody_keeps_can(
    native,
):
    call = {"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1", "code": "1"}
    document = spoken.document(DIALECT)
    document["output"] = [{"type": "image_generation_call", "id": "ig_1", "result": "x"}, call]
    script = [whole(json.dumps(document).encode(), **spoken.JSON)]
    async with in_front_of(script, DIALECT) as (front, up):
        model = "m" if native else "up/m"

        async def again(item: dict[str, Any], **headers: str) -> int:
            asked = {"model": model, "input": [item, {"role": "user", "content": "Hi"}]}
            return (await front.post(native + PATH, asked, **headers)).status

        assert (await front.post(native + PATH, {"model": model, "input": "Hi"})).status == 200
        said = [
            {"type": "image_generation_call", "id": "ig_1"},
            call,
            {**call, "id": "ci_of_nobody"},
        ]
        for item in said:
            assert await again(item) == 200
            assert await again(item, authorization=OTHER) == 404
        assert len(up.requests) == 4
        sealed = {"type": "reasoning", "id": "rs_x", "summary": [], "encrypted_content": "x"}
        assert await again(sealed, authorization=OTHER) == 200


async def test_a_response_that_was_not_to_be_kept_is_nobodys():
    one, two = Store("a"), Store("b")
    async with one.server, two.server, gateway(config_text(tables(one, two))) as front:
        for stream in (False, True):
            name = await made(front, store=False, stream=stream)
            assert (await front.get(f"{PATH}/{name}")).status == 404
            refused = await front.post(
                PATH, {"model": "up/m", "input": "Hi", "previous_response_id": name}
            )
            assert (refused.status, refused.error["param"]) == (404, "previous_response_id")


@pytest.mark.parametrize("cause", ["disabled", "gone"])
async def test_no_other_account_is_asked_when_that_one_is_away(cause, tmp_path):
    one, two = Store("a"), Store("b")
    async with one.server, two.server:
        path = tmp_path / "config.toml"
        quick = {"retry": 'queue_timeout = "10ms"'}
        text = config_text(tables(one, two), **quick)
        async with gateway(text, directory=tmp_path, path=path) as front:
            name = await made(front)
            if cause == "disabled":
                await front.admin("POST", "accounts/up/disable")
            else:
                path.write_text(text.replace('name = "up"\nprovider', 'name = "new"\nprovider'))
                await front.running.reload()
            shown = await front.get(f"{PATH}/{name}")
            body = {"model": "up/m", "input": "Hi", "previous_response_id": name}
            answered = [
                await front.post(PATH, {**body, "stream": stream}) for stream in (False, True)
            ]
            for refused in (shown, *answered):
                assert refused.status == 503
                assert refused.error["code"] == "account_unavailable"
                assert "no other" in refused.error["message"]
                assert int(refused.headers["retry-after"]) >= 1
            assert await made(front)
    assert two.asked == ([f"POST {PATH}"] if cause == "disabled" else [])


async def test_a_limited_account_is_told_as_limited():
    one, two = Store("a"), Store("b")
    quick = {"retry": 'queue_timeout = "10ms"'}
    async with one.server, two.server, gateway(config_text(tables(one, two), **quick)) as front:
        name = await made(front)
        one.steps = [whole(b'{"error": {"message": "slow"}}', "429 Slow", retry_after="60")]
        body = {"model": "up/m", "input": "Hi", "previous_response_id": name}
        first, second = [await front.post(PATH, body) for _ in range(2)]
        assert (first.status, second.status) == (429, 429)
        assert second.error["code"] == "account_unavailable"
        assert int(second.headers["retry-after"]) > 1
    assert two.asked == []


async def test_a_model_of_another_provider_cannot_go_on_with_it():
    one, two, other = Store("a"), Store("b"), Store("c")
    async with one.server, two.server, other.server:
        text = config_text(tables(one, two), upstream(other.server.url, DIALECT, name="other"))
        async with gateway(text) as front:
            name = await made(front)
            body = {"model": "other/m", "input": "Hi", "previous_response_id": name}
            refused = await front.post(PATH, body)
    assert (refused.status, refused.error["param"]) == (400, "model")
    assert other.asked == []


async def test_a_translated_call_still_says_that_it_cannot():
    async with in_front_of([spoken.told("anthropic")], "anthropic") as (front, _):
        body = {"model": "up/m", "input": "Hi", "previous_response_id": "resp_1"}
        refused = await front.post(PATH, body)
    assert (refused.status, refused.error["code"]) == (400, "unsupported_parameter")


async def test_what_the_operator_has_set_is_his_to_give():
    one, two = Store("a"), Store("b")
    own = (
        '[[models]]\nname = "own"\ntargets = ["up/m"]\noverride = { prompt = { id = "pmpt_1" } }\n'
    )
    async with one.server, two.server, gateway(config_text(tables(one, two), own)) as front:
        body = {"model": "own", "input": [{"role": "user", "content": "Hi", "id": "msg_1"}]}
        assert (await front.post(PATH, body)).status == 200
        mine = await front.post(PATH, {"model": "up/m", "input": "Hi", "prompt": {"id": "pmpt_1"}})
        assert mine.status == 404
    assert one.body["prompt"] == {"id": "pmpt_1"}


async def test_it_is_found_after_the_gateway_has_started_anew(tmp_path):
    one, two = Store("a"), Store("b")
    async with one.server, two.server:
        text = config_text(tables(one, two))
        async with gateway(text, directory=tmp_path) as front:
            name = await made(front)
        async with gateway(text, directory=tmp_path) as front:
            assert (await front.get(f"{PATH}/{name}")).json["id"] == name


async def test_the_id_of_a_stream_is_kept_before_the_client_reads_it():
    begun = spoken.HEAD + spoken.chunk(spoken.metadata(DIALECT) + spoken.text(DIALECT, "He"))
    one, two = Store("a"), Store("b")
    one.steps = [begun, Pause(60)]
    async with one.server, two.server, gateway(config_text(tables(one, two))) as front:
        wire = await front.wire()
        body = json.dumps({"model": "up/m", "input": "Hi", "stream": True}).encode()
        wire.send(request("POST", PATH, body, authorization=BEARER))
        await wire.head()
        assert b"resp_1" in await wire.chunk()
        one.steps = None
        one.kept["resp_1"] = {**spoken.document(DIALECT), "status": "in_progress"}
        assert (await front.get(f"{PATH}/resp_1")).json["status"] == "in_progress"


# What the store says.


async def test_a_stored_failure_is_shown_and_is_nobodys_fault():
    one, two = Store("a"), Store("b")
    async with one.server, two.server, gateway(config_text(tables(one, two))) as front:
        name = await made(front)
        failed = {
            **one.kept[name],
            "status": "failed",
            "error": {"code": "server_error", "message": "The model failed."},
        }
        one.kept[name] = failed
        shown = await front.get(f"{PATH}/{name}")
        assert (shown.status, shown.json) == (200, failed)
        event = spoken.event({"type": "response.failed", "response": failed})
        one.steps = [spoken.HEAD + spoken.chunk(spoken.metadata(DIALECT) + event) + spoken.LAST]
        told = await front.get(f"{PATH}/{name}?stream=true")
        assert told.data[-1] == {"type": "response.failed", "response": failed}
        assert (await front.admin("GET", "accounts/up")).json["state"] == "available"


async def test_what_the_store_refuses_is_told_in_its_own_words():
    one, two = Store("a"), Store("b")
    async with one.server, two.server, gateway(config_text(tables(one, two))) as front:
        name = await made(front)
        said = {
            "error": {
                "message": "Cannot cancel a synchronous response.",
                "type": "invalid_request_error",
                "param": None,
                "code": None,
            }
        }
        one.steps = [whole(json.dumps(said).encode(), "400 Bad Request", **spoken.JSON)]
        refused = await front.post(f"{PATH}/{name}/cancel", b"")
        assert (refused.status, refused.json) == (400, said)


@pytest.mark.parametrize(
    "steps", [[Cut()], [whole(b"[1]", **spoken.JSON)], [whole(b"<p>", **spoken.JSON)]]
)
async def test_a_store_that_says_nothing_sensible_is_a_502(steps):
    one, two = Store("a"), Store("b")
    async with one.server, two.server, gateway(config_text(tables(one, two))) as front:
        name = await made(front)
        one.steps = steps
        refused = await front.get(f"{PATH}/{name}")
        assert refused.status == 502
    assert two.asked == []


async def test_openais_sdk_finds_what_it_made():
    one, two = Store("a"), Store("b")
    async with one.server, two.server, gateway(config_text(tables(one, two))) as front:
        for asynchronous in (False, True):
            sdk = OpenAI(front, asynchronous=asynchronous)
            responses = sdk.client.responses
            first = await sdk.call(responses.create, model="up/m", input="Hi")
            second = await sdk.call(
                responses.create, model="up/m", input="On", previous_response_id=first.id
            )
            shown = await sdk.call(responses.retrieve, second.id)
            assert shown.output_text == "Hello"
            items = await sdk.call(responses.input_items.list, second.id)
            assert items.data == []
            assert (await sdk.call(responses.cancel, second.id)).status == "cancelled"
            await sdk.call(responses.delete, second.id)
            with pytest.raises(openai.NotFoundError):
                await sdk.call(responses.retrieve, second.id)
            with pytest.raises(openai.NotFoundError) as refused:
                await sdk.call(
                    responses.create, model="up/m", input="On", previous_response_id=second.id
                )
            assert refused.value.param == "previous_response_id"
            await sdk.close()


async def test_a_file_that_is_nobodys_is_a_404_on_every_surface():
    """Accounts are shared: who can guess the id of another's file must not read it."""
    file = {"type": "file", "file": {"file_id": "file-1"}}
    source = {"type": "document", "source": {"type": "file", "file_id": "file-1"}}
    calls = {
        "openai-chat": ("/v1/chat/completions", chat_body(said=[file])),  # type: ignore[arg-type]
        "anthropic": ("/v1/messages", {"max_tokens": 9, **chat_body(said=[source])}),  # type: ignore[arg-type]
        "gemini": (
            "/v1beta/models/up/m:generateContent",
            {"contents": [{"parts": [{"text": "Hi"}]}], "cachedContent": "cachedContents/1"},
        ),
    }
    for dialect, (path, body) in calls.items():
        async with in_front_of([spoken.told(dialect)], dialect) as (front, up):
            refused = await front.post(path, body)
        assert (refused.status, up.requests) == (404, []), dialect
