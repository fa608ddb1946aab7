"""In which dialect an upstream is called, and how its answer is to be read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.dialects.answer import Translation, Whole, WholeSplice
from proxy.dialects.asked import Asked
from proxy.dialects.chat.splice import ChatSplice
from proxy.dialects.gemini.splice import GeminiSplice
from proxy.dialects.messages.splice import MessagesSplice
from proxy.dialects.plan import choose_dialect, continued, dropped_header, make_plan
from proxy.dialects.responses.splice import ResponsesSplice
from proxy.errors import GatewayError, Kind
from proxy.providers import BUILTIN, Provider
from proxy.usage import Usage
from tests.integration import spoken

DOCUMENT, EVENTS = True, False
"""What an upstream answers with, as ``Plan.answer`` is told it."""

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def asked(dialect: Any = "chat", **fields: Any) -> Asked:
    document = {
        "model": "up/m",
        "max_tokens": 10,
        "messages": [{"role": "user", "content": "Hi"}],
        **fields,
    }
    body = json.dumps(document).encode()
    return Asked(
        dialect=dialect, body=body, document=document, edited=False, model="up/m", stream=bool(fields.get("stream")),
        request_id="req_1", now=1.0, mint=lambda: "0" * 24, recall=lambda _: None, remember=lambda *_: None,
    )  # fmt: skip


def provider(*dialects: Any) -> Provider:
    return Provider(name="up", base_url="http://up.test", dialects=dialects, auth="none")


@pytest.mark.parametrize(
    ("dialect", "offered", "chosen"),
    [
        ("chat", ("openai-chat",), "openai-chat"),
        ("chat", ("anthropic", "openai-chat"), "openai-chat"),
        ("chat", ("gemini", "anthropic"), "gemini"),
        ("messages", ("openai-chat", "anthropic"), "anthropic"),
        ("messages", ("openai-responses", "openai-chat"), "openai-responses"),
    ],
)
def test_the_clients_own_dialect_comes_first_then_the_first_listed(dialect, offered, chosen):
    assert choose_dialect(asked(dialect), provider(*offered), "m") == chosen


def test_openai_itself_takes_tools_of_reasoning_models_on_responses():
    openai = BUILTIN["openai"]
    assert choose_dialect(asked(), openai, "gpt-4o") == "openai-chat"
    assert choose_dialect(asked(tools=[TOOL]), openai, "gpt-4o") == "openai-chat"
    assert (
        choose_dialect(asked(tools=[TOOL], reasoning_effort="high"), openai, "gpt-6-sol")
        == "openai-responses"
    )


@pytest.mark.parametrize(
    ("dialect", "native"), [("chat", "openai-chat"), ("messages", "anthropic")]
)
def test_a_native_plan_sends_the_clients_bytes(dialect, native):
    one = asked(dialect)
    plan = make_plan(one, provider(native), "real", strict=True)
    assert plan.native
    assert plan.body == one.body.replace(b"up/m", b"real")
    assert plan.dropped == frozenset()
    assert isinstance(plan.answer(DOCUMENT), WholeSplice)


def of_responses(**fields: Any) -> Asked:
    one = asked("responses", input="Hi", **fields)
    del one.document["messages"], one.document["max_tokens"]
    one.body = json.dumps(one.document).encode()
    return one


def test_a_response_is_asked_for_with_the_clients_bytes():
    one = of_responses()
    plan = make_plan(one, provider("openai-responses"), "real", strict=True)
    assert (plan.native, plan.path) == (True, "/v1/responses")
    assert plan.body == one.body.replace(b"up/m", b"real")
    assert one.document["model"] == "up/m"
    assert isinstance(plan.answer(DOCUMENT), WholeSplice)
    streamed = make_plan(of_responses(stream=True), provider("openai-responses"), "m", strict=True)
    assert isinstance(streamed.answer(EVENTS), ResponsesSplice)


def test_openai_itself_is_asked_for_a_response_by_whoever_asks_for_one():
    openai = BUILTIN["openai"]
    assert choose_dialect(of_responses(), openai, "gpt-4o") == "openai-responses"
    assert choose_dialect(asked("messages"), openai, "gpt-4o") == "openai-chat"


def test_a_prompt_that_cannot_be_read_is_a_token_for_four_bytes():
    one = asked(messages="no list")
    assert one.estimate_input() == len(one.body) // 4
    assert 0 < asked().estimate_input() < one.estimate_input()


@pytest.mark.parametrize("stream", [True, False])
def test_a_tool_whose_name_the_upstream_does_not_take_keeps_it_for_the_client(stream):
    tool = {"type": "function", "function": {"name": "fs.read", "parameters": {"type": "object"}}}
    plan = make_plan(asked(tools=[tool], stream=stream), provider("anthropic"), "m", strict=True)
    (sent,) = json.loads(plan.body)["tools"]
    assert sent["name"] == "fs_read"
    said = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "tool_use", "id": "toolu_1", "name": "fs_read", "input": {"p": 1}}],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    answer = plan.answer(DOCUMENT)
    out = answer.feed(json.dumps(said).encode()) + answer.finish()
    assert b'"name":"fs.read"' in out
    assert b"fs_read" not in out


@pytest.mark.parametrize(
    ("dialect", "native"), [("chat", "openai-chat"), ("messages", "anthropic")]
)
def test_a_native_stream_that_nobody_asked_for_becomes_a_document(dialect, native):
    answer = make_plan(asked(dialect), provider(native), "m", strict=False).answer(EVENTS)
    assert isinstance(answer, Whole)
    assert answer.feed(spoken.stream(native, "He", "llo")) == b""
    document = json.loads(answer.finish())
    assert "Hello" in json.dumps(document)
    assert document["model"] == "up/m"


@pytest.mark.parametrize(
    ("dialect", "native", "kind"),
    [("chat", "openai-chat", ChatSplice), ("messages", "anthropic", MessagesSplice)],
)
def test_a_native_stream_is_spliced_unless_a_document_comes(dialect, native, kind):
    plan = make_plan(asked(dialect, stream=True), provider(native), "real", strict=False)
    assert isinstance(plan.answer(EVENTS), kind)
    assert isinstance(plan.answer(DOCUMENT), Translation)


@pytest.mark.parametrize("dialect", ["chat", "messages"])
@pytest.mark.parametrize("upstream", ["openai-responses", "gemini"])
def test_a_foreign_plan_is_translated(dialect, upstream):
    one = asked(dialect, seed=5)
    plan = make_plan(one, provider(upstream), "real", strict=False)
    assert not plan.native
    assert plan.dialect == upstream
    assert isinstance(plan.answer(DOCUMENT), Whole)
    streamed = make_plan(asked(dialect, stream=True), provider(upstream), "real", strict=False)
    assert isinstance(streamed.answer(EVENTS), Translation)


def test_what_would_be_dropped_is_refused_by_the_strict():
    plan = make_plan(asked(seed=5, logit_bias={}), provider("anthropic"), "m", strict=False)
    assert "seed" in plan.dropped
    with pytest.raises(GatewayError) as raised:
        make_plan(asked(seed=5), provider("anthropic"), "m", strict=True)
    assert (raised.value.kind, raised.value.param) == (Kind.UNSUPPORTED_PARAMETER, "seed")


def test_each_plan_is_made_from_the_same_request():
    one = asked(tools=[TOOL], seed=5)
    first = make_plan(one, provider("anthropic"), "m", strict=False)
    again = make_plan(one, provider("anthropic"), "m", strict=False)
    assert first.body == again.body
    assert first.dropped == again.dropped


def test_an_edited_document_is_what_is_sent():
    one = asked()
    edited = Asked(**{name: getattr(one, name) for name in Asked.__slots__} | {
        "document": {**one.document, "temperature": 0.5}, "edited": True})  # fmt: skip
    plan = make_plan(edited, provider("openai-chat"), "m", strict=False)
    assert json.loads(plan.body)["temperature"] == 0.5


def test_a_continuation_asks_for_the_rest():
    plan = make_plan(asked(), provider("gemini"), "m", strict=False)
    assert json.loads(continued(plan, "tok")) == {
        **json.loads(plan.body),
        "continuationToken": "tok",
    }


def test_what_was_dropped_is_a_sorted_list_of_at_most_512_bytes():
    assert dropped_header(frozenset({"seed", "n", "logit_bias"})) == "logit_bias,n,seed"
    long = dropped_header(frozenset(f"parameter_{number:03}" for number in range(100)))
    assert len(long) <= 512
    assert all(len(name) == len("parameter_000") for name in long.split(","))


@pytest.mark.parametrize(
    ("dialect", "fields", "limit"),
    [
        ("chat", {"max_tokens": 5}, 5),
        ("chat", {"max_tokens": 5, "max_completion_tokens": 9}, 9),
        ("chat", {"max_tokens": None}, None),
        ("messages", {"max_tokens": 0}, 0),
        ("responses", {"max_tokens": 5}, None),
        ("responses", {"max_output_tokens": 5}, 5),
    ],
)
def test_the_limit_of_the_output_is_the_client_s_own_field(dialect, fields, limit):
    assert asked(dialect, **fields).output_limit == limit


def test_only_chat_wants_several_answers():
    assert [asked("chat", n=n).choices for n in (None, 1, 3)] == [1, 1, 3]
    assert asked("messages", n=3).choices == 1


@pytest.mark.parametrize(
    ("dialect", "offered", "field"),
    [
        ("chat", "openai-chat", "max_tokens"),
        ("messages", "anthropic", "max_tokens"),
        ("responses", "openai-responses", "max_output_tokens"),
        ("responses", "openai-chat", "max_tokens"),
        ("chat", "openai-responses", "max_output_tokens"),
    ],
)
def test_a_limit_that_is_set_is_sent_in_the_upstream_s_own_field(dialect, offered, field):
    one = unlimited(dialect)
    one.limit_output(1234)
    assert one.output_limit == 1234
    plan = make_plan(one, provider(offered), "m", strict=True)
    assert json.loads(plan.body)[field] == 1234


def test_openai_itself_takes_a_limit_by_its_newer_name():
    one = unlimited("chat")
    one.limit_output(1234)
    sent = json.loads(make_plan(one, BUILTIN["openai"], "gpt-4o", strict=True).body)
    assert (sent["max_completion_tokens"], "max_tokens" in sent) == (1234, False)


def test_a_limit_that_is_set_leaves_the_other_bytes_alone():
    one = unlimited("chat")
    before = one.body
    one.limit_output(20)
    assert one.body == b'{"max_tokens":20,' + before[1:]
    assert not one.edited


@pytest.mark.parametrize("nulls", [{"max_completion_tokens": None}, {"max_tokens": None}])
def test_a_limit_takes_the_place_of_a_null(nulls):
    one = unlimited("chat", **nulls)
    one.limit_output(20)
    sent = json.loads(make_plan(one, BUILTIN["openai"], "gpt-4o", strict=True).body)
    assert (sent["max_completion_tokens"], "max_tokens" in sent) == (20, False)


def test_a_limit_is_set_in_a_request_that_was_changed_already():
    one = unlimited("chat", temperature=1)
    one.document["temperature"], one.edited = 0, True
    one.limit_output(20)
    sent = json.loads(make_plan(one, provider("openai-chat"), "m", strict=True).body)
    assert (sent["temperature"], sent["max_tokens"]) == (0, 20)


def unlimited(dialect: Any, **fields: Any) -> Asked:
    said = {"input": "Hi"} if dialect == "responses" else {}
    one = asked(dialect, **said)
    for name in ("max_tokens", *(["messages"] if said else [])):
        del one.document[name]
    one.document.update(fields)
    one.body = json.dumps(one.document).encode()
    return one


def of_gemini(**fields: Any) -> Asked:
    one = asked("gemini", contents=[{"parts": [{"text": "Hi"}]}], **fields)
    for name in ("model", "messages", "max_tokens", "stream"):
        one.document.pop(name, None)
    one.body = json.dumps(one.document, indent=1).encode()
    return one


@pytest.mark.parametrize(
    ("stream", "path"),
    [
        (False, "/v1beta/models/a%20b:generateContent"),
        (True, "/v1beta/models/a%20b:streamGenerateContent?alt=sse"),
    ],
)
def test_gemini_is_asked_with_the_clients_bytes_and_the_model_in_the_path(stream, path):
    one = of_gemini(stream=stream)
    plan = make_plan(one, provider("gemini"), "a b", strict=True)
    assert (plan.native, plan.path, plan.body, plan.stream) == (True, path, one.body, stream)
    answer = plan.answer(EVENTS if stream else DOCUMENT)
    assert isinstance(answer, GeminiSplice if stream else WholeSplice)


def test_a_whole_answer_of_gemini_tells_its_usage_and_its_id():
    answer = make_plan(of_gemini(), provider("gemini"), "m", strict=True).answer(DOCUMENT)
    body = json.dumps(spoken.document("gemini")).encode()
    answer.feed(body)
    assert answer.finish() == body
    assert answer.answer_id == "g1"
    usage = answer.usage()
    assert (usage.input, usage.cache_read, usage.output) == (
        spoken.INPUT,
        spoken.CACHED,
        spoken.OUTPUT,
    )


def test_a_refused_prompt_of_gemini_is_not_billed():
    answer = make_plan(of_gemini(), provider("gemini"), "m", strict=True).answer(DOCUMENT)
    answer.feed(b'{"promptFeedback": {"blockReason": "SAFETY"}}')
    answer.finish()
    assert answer.usage() == Usage()


@pytest.mark.parametrize("dialect", ["openai-chat", "openai-responses", "anthropic"])
def test_whether_a_gemini_client_streams_is_asked_of_every_upstream(dialect):
    for stream in (False, True):
        # Without a limit Anthropic would be asked for a stream in any case.
        one = of_gemini(stream=stream, generationConfig={"maxOutputTokens": 100})
        plan = make_plan(one, provider(dialect), "m", strict=True)
        assert (plan.stream, bool(json.loads(plan.body).get("stream"))) == (stream, stream)


@pytest.mark.parametrize("dialect", ["openai-chat", "openai-responses", "anthropic"])
def test_a_translated_stream_is_one_array_for_who_wants_that(dialect):
    one = of_gemini(stream=True)
    one.array = True
    answer = make_plan(one, provider(dialect), "m", strict=True).answer(EVENTS)
    out = answer.feed(spoken.stream(dialect, "He", "llo")) + answer.finish()
    chunks = json.loads(out)
    parts = [part for one in chunks for part in one["candidates"][0]["content"]["parts"]]
    assert "".join(part["text"] for part in parts) == "Hello"
    assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"


def test_a_document_where_a_stream_was_asked_for_is_played_as_one():
    plan = make_plan(of_gemini(stream=True), provider("gemini"), "m", strict=True)
    answer = plan.answer(DOCUMENT)
    answer.feed(json.dumps([spoken.document("gemini", "Hello")]).encode())
    out = answer.finish()
    assert out.startswith(b"data: {")
    assert b"Hello" in out
    assert answer.error is None


def test_the_limit_of_a_gemini_request_is_nested():
    assert of_gemini().output_limit is None
    assert of_gemini(generationConfig={"maxOutputTokens": 7}).output_limit == 7
    assert of_gemini(generation_config={"max_output_tokens": 7}).output_limit == 7
    assert of_gemini(generationConfig={"candidateCount": 3}).choices == 3
    assert of_gemini(generationConfig={"candidateCount": "3"}).choices == 1


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"generationConfig": None},
        {"generationConfig": {"temperature": 1}},
        {"generation_config": {"max_output_tokens": None}},
    ],
)
def test_a_limit_is_set_where_gemini_looks_for_it(fields):
    one = of_gemini(**fields)
    one.limit_output(20)
    sent = json.loads(make_plan(one, provider("gemini"), "m", strict=True).body)
    (config,) = [sent[name] for name in ("generationConfig", "generation_config") if sent.get(name)]
    assert config["maxOutputTokens"] == 20
    assert "max_output_tokens" not in config
    other = make_plan(one, provider("openai-chat"), "m", strict=True)
    assert json.loads(other.body)["max_tokens"] == 20


@pytest.mark.parametrize("is_document", [DOCUMENT, EVENTS])
@pytest.mark.parametrize(
    ("fields", "told", "made"),
    [
        ({}, {}, ["response", "item"]),
        ({"store": True}, {"store": True}, ["response", "item"]),
        ({"store": False}, {}, []),
        ({}, {"store": False}, []),
    ],
)
def test_what_the_provider_keeps_is_known_from_the_answer(is_document, fields, told, made):
    stream = not is_document
    one = asked("responses", input="Hi", stream=stream, **fields)
    plan = make_plan(one, provider("openai-responses"), "m", strict=False)
    answer = plan.answer(is_document)
    response = {**spoken.document("openai-responses"), **told}
    if is_document:
        answer.feed(json.dumps(response).encode())
        answer.finish()
    else:
        created = {**response, "output": []}
        answer.feed(spoken.event({"type": "response.created", "response": created}))
        assert [kind for kind, _ in answer.made] == made[:1]
        answer.feed(spoken.event({"type": "response.completed", "response": response}))
    assert [kind for kind, _ in answer.made] == made


@pytest.mark.parametrize("dialect", ["chat", "messages", "gemini"])
def test_of_other_dialects_nothing_is_kept(dialect):
    one = asked(dialect, input="Hi", contents=[{"parts": [{"text": "Hi"}]}])
    native = {"chat": "openai-chat", "messages": "anthropic", "gemini": "gemini"}[dialect]
    plan = make_plan(one, provider(native), "m", strict=False)
    answer = plan.answer(DOCUMENT)
    answer.feed(json.dumps(spoken.document(native)).encode())
    answer.finish()
    assert list(answer.made) == []


@pytest.mark.parametrize(
    ("dialect", "background", "goes_on"),
    [
        ("responses", True, True),
        ("responses", False, False),
        ("responses", None, False),
        ("chat", True, False),
    ],
)
def test_only_a_response_can_be_asked_for_in_the_background(dialect, background, goes_on):
    assert asked(dialect, background=background).in_background is goes_on


SEARCH = {
    "search_context_size": "high",
    "user_location": {"type": "approximate", "approximate": {"city": "Bern"}},
}


@pytest.mark.parametrize(
    ("upstream", "model", "dropped"),
    [
        ("openai-responses", "gpt-5.6", []),
        ("anthropic", "claude-opus-4-8", ["search_context_size"]),
        ("gemini", "gemini-3-flash", ["search_context_size", "user_location"]),
    ],
)
def test_the_parts_of_a_search_that_an_upstream_has_no_word_for_are_named(upstream, model, dropped):
    plan = make_plan(asked(web_search_options=SEARCH), provider(upstream), model, strict=False)
    assert plan.dropped == {f"web_search_options.{name}" for name in dropped}
    own = asked("responses")
    own.document = {
        "input": "Hi",
        "tools": [
            {
                "type": "web_search",
                "search_context_size": "high",
                "user_location": {"type": "approximate", "city": "Bern"},
            }
        ],
    }
    if upstream != "openai-responses":
        plan = make_plan(own, provider(upstream), model, strict=False)
        assert plan.dropped == {f"tools[web_search].{name}" for name in dropped}


def test_openai_gets_all_of_a_search():
    plan = make_plan(
        asked(web_search_options=SEARCH), provider("openai-responses"), "gpt-5.6", strict=False
    )
    assert json.loads(plan.body)["tools"] == [
        {
            "type": "web_search",
            "user_location": {"type": "approximate", "city": "Bern"},
            "search_context_size": "high",
        }
    ]


def test_of_a_search_that_is_lost_as_a_whole_the_parts_are_not_named():
    tool = {"type": "function", "function": {"name": "f"}}
    plan = make_plan(
        asked(web_search_options=SEARCH, tools=[tool]),
        provider("gemini"),
        "gemini-2.5-flash",
        strict=False,
    )
    assert plan.dropped == {"web_search_options"}
