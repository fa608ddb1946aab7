"""What the call of a model refers to is found where its dialect has it, and nowhere else; of other bodies wherever it stands."""

from __future__ import annotations

import json

import pytest

from proxy.dialects.references import Reference, anywhere, in_call, in_form, outputs, replayed


def found(dialect: str, document: object) -> dict[str, str]:
    assert isinstance(document, dict)
    return dict(in_call(dialect, json.dumps(document).encode(), document))


RESPONSES: dict[str, tuple[dict[str, object], dict[str, str]]] = {
    "previous": ({"previous_response_id": "r"}, {"previous_response_id": "r"}),
    "conversation": ({"conversation": "c"}, {"conversation": "c"}),
    "conversation, as an object": ({"conversation": {"id": "c"}}, {"conversation.id": "c"}),
    "prompt": ({"prompt": {"id": "p", "version": "2"}}, {"prompt.id": "p"}),
    "item": ({"input": ["x", {"type": "item_reference", "id": "i"}]}, {"input[1].id": "i"}),
    "item, without its type": ({"input": [{"id": "i"}]}, {"input[0].id": "i"}),
    "file": (
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
        {"input[0].content[0].file_id": "f"},
    ),
    "image of a result": (
        {"input": [{"type": "function_call_output", "output": [{"type": "input_image", "file_id": "f"}]}]},
        {"input[0].output[0].file_id": "f"},
    ),
    "screenshot": (
        {"input": [{"type": "computer_call_output", "output": {"file_id": "f"}}]},
        {"input[0].output.file_id": "f"},
    ),
    "vector stores": (
        {"tools": [{"type": "file_search", "vector_store_ids": ["a", "b"]}]},
        {"tools[0].vector_store_ids[0]": "a", "tools[0].vector_store_ids[1]": "b"},
    ),
    "container": ({"tools": [{"container": "k"}]}, {"tools[0].container": "k"}),
    "files of a container": (
        {"tools": [{"container": {"type": "auto", "file_ids": ["f"]}}]},
        {"tools[0].container.file_ids[0]": "f"},
    ),
    "container of a shell": (
        {"tools": [{"environment": {"type": "container_reference", "container_id": "k"}}]},
        {"tools[0].environment.container_id": "k"},
    ),
    "mask": ({"tools": [{"input_image_mask": {"file_id": "f"}}]}, {"tools[0].input_image_mask.file_id": "f"}),
}  # fmt: skip


RESPONSES |= {
    "prompt, as text": ({"prompt": "p"}, {"prompt": "p"}),
    "a prompt's variables": (
        {"prompt": {"id": 7, "variables": {"file_id": "x", "picture": {"type": "input_image", "file_id": "f"}}}},
        {"prompt.variables.picture.file_id": "f"},
    ),
    "skills": (
        {"tools": [{"environment": {"type": "container_auto", "skills": [{"skill_id": "skill_1"}, {"skill_id": "openai-x"}]}}]},
        {"tools[0].environment.skills[0].skill_id": "skill_1"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RESPONSES)
def test_of_a_responses_request(name):
    document, told = RESPONSES[name]
    assert found("responses", {"model": "m", **document}) == told


def test_what_only_looks_like_a_reference_is_none():
    document = {
        "input": [
            {"type": "message", "role": "assistant", "id": "msg_1", "content": [
                {"type": "output_text", "text": "file_id", "annotations": [{"type": "file_citation", "file_id": "f"}]}]},
            {"role": "user", "id": "msg_2", "content": "Hi"},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "n", "arguments": '{"file_id": "f"}'},
            {"type": "function_call_output", "call_id": "call_1", "output": "file_id"},
        ],
        "tools": [{"type": "function", "name": "n", "parameters": {"properties": {"file_id": {"type": "string"}}}}],
        "metadata": {"file_id": "f", "conversation": "c"},
        "previous_response_id": None,
        "conversation": None,
    }  # fmt: skip
    assert found("responses", document) == {}
    assert found("responses", {"input": "previous_response_id"}) == {}
    assert found("responses", {"previous_response_id": 7, "tools": 7, "input": {"id": "i"}}) == {}


def test_what_a_model_has_said_is_told_apart():
    document = {
        "input": [
            {"type": "reasoning", "id": "rs_1"},
            {"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1"},
            {"type": "shell_call", "id": 7, "environment": {"container_id": "cntr_2"}},
            {"type": "item_reference", "id": "msg_1"},
            {"role": "user", "content": "Hi"},
        ],
        "tools": [{"environment": {"container_id": "cntr_3"}}],
    }
    body = json.dumps(document).encode()
    assert dict(replayed("responses", body, document)) == {
        "input[0].id": "rs_1",
        "input[1].id": "ci_1",
        "input[1].container_id": "cntr_1",
        "input[2].environment.container_id": "cntr_2",
    }
    assert found("responses", document) == {
        "input[3].id": "msg_1",
        "tools[0].environment.container_id": "cntr_3",
    }
    assert replayed("responses", b"{}", document) == replayed("chat", body, document) == []


def test_a_key_may_be_spelt_with_escapes():
    body = b'{"previous\\u005fresponse_id": "r"}'
    assert in_call("responses", body, json.loads(body)) == [("previous_response_id", "r")]


def test_of_a_chat_request():
    parts = [
        {"type": "text", "text": "Hi"},
        {"type": "file", "file": {"file_id": "f"}},
        {"file": 7},
    ]
    document = {
        "messages": [{"role": "system", "content": "file_id"}, {"role": "user", "content": parts}]
    }
    assert found("chat", document) == {"messages[1].content[1].file.file_id": "f"}
    assert found("chat", {"messages": "Hi"}) == {}


def test_of_a_messages_request():
    blocks = [
        {"type": "image", "source": {"type": "file", "file_id": "a"}},
        {"type": "tool_result", "content": [{"type": "document", "source": {"type": "file", "file_id": "b"}}]},
        {"type": "container_upload", "file_id": "c"},
    ]  # fmt: skip
    assert found("messages", {"messages": [{"content": blocks}], "container": "k"}) == {
        "container": "k",
        "messages[0].content[0].source.file_id": "a",
        "messages[0].content[1].content[0].source.file_id": "b",
        "messages[0].content[2].file_id": "c",
    }
    assert found("messages", {"container": {"id": "k", "skills": []}}) == {"container.id": "k"}


def test_a_document_of_documents_is_looked_into_and_what_anthropics_tools_answer_is_not():
    inner = [{"type": "image", "source": {"type": "file", "file_id": "a"}}]
    blocks = [
        {"type": "document", "source": {"type": "content", "content": inner}},
        {"type": "tool_use", "input": {"file_id": "x"}},
        {"type": "text", "text": "Hi", "citations": [{"file_id": "x"}]},
        {"type": "bash_code_execution_tool_result", "content": {"content": [{"file_id": "x"}]}},
    ]
    skills = [{"type": "custom", "skill_id": "skill_1"}, {"type": "anthropic", "skill_id": "pptx"}]
    document = {"messages": [{"content": blocks}], "container": {"skills": skills}}
    assert found("messages", document) == {
        "messages[0].content[0].source.content[0].source.file_id": "a",
        "container.skills[0].skill_id": "skill_1",
    }


GOOGLES = "https://generativelanguage.googleapis.com/v1beta/files/a-b"


def test_of_a_gemini_request():
    parts = [
        {"fileData": {"fileUri": GOOGLES}},
        {"file_data": {"file_uri": "files/c"}},
        {"fileData": {"fileUri": "https://example.com/files/d"}},
        {"fileData": {"fileUri": 7}},
        {"fileData": "files/e"},
        {"text": "files/f"},
        {"fileData": {"fileUri": "HTTPS://GenerativeLanguage.googleapis.com:443/v1beta/files/g"}},
    ]
    document = {"contents": [{"parts": parts}], "cachedContent": "cachedContents/1"}
    assert found("gemini", document) == {
        "cachedContent": "cachedContents/1",
        "contents[0].parts[0].fileData.fileUri": "files/a-b",
        "contents[0].parts[1].file_data.file_uri": "files/c",
        "contents[0].parts[6].fileData.fileUri": "files/g",
    }
    one = {"contents": {"parts": parts[:1]}}
    assert found("gemini", one) == {"contents.parts[0].fileData.fileUri": "files/a-b"}
    assert found("gemini", {"cached_content": "x"}) == {"cached_content": "x"}


def test_a_slash_may_be_escaped():
    body = rb'{"contents":[{"parts":[{"fileData":{"fileUri":"files\/a"}}]}]}'
    assert dict(in_call("gemini", body, json.loads(body))) == {
        "contents[0].parts[0].fileData.fileUri": "files/a"
    }


@pytest.mark.parametrize(
    ("uri", "one"),
    [
        (GOOGLES, "files/a-b"),
        (f"{GOOGLES}:download?alt=media", "files/a-b"),
        ("https://x@generativelanguage.googleapis.com./v1beta/files/a-b", "files/a-b"),
        (f"{GOOGLES}/../c", None),
        (GOOGLES.replace("/files", "/%66iles"), None),
        (GOOGLES.replace("/", "\\"), None),
        ("tunedModels/a", None),
        ("gs://bucket/files/a", ""),
        ("https://example.com/files/a", ""),
        ("", ""),
    ],
)
@pytest.mark.parametrize("where", ["contents", "systemInstruction", "functionResponse"])
def test_whatever_is_googles_own_is_a_file_of_the_key_or_refused(where, uri, one):
    parts = [{"fileData": {"fileUri": uri}}]
    if where == "functionResponse":
        parts = [{where: {"parts": parts, "response": {"fileUri": "files/x"}}}]
    turn = {"parts": parts}
    document = {where: turn} if where == "systemInstruction" else {"contents": [turn]}
    ids = list(found("gemini", document).values())
    assert ids == ([] if one == "" else [one or uri])


@pytest.mark.parametrize(
    ("tool", "name"),
    [("fileSearch", "fileSearchStoreNames"), ("file_search", "file_search_store_names")],
)
def test_of_geminis_search_in_files(tool, name):
    tools = [{"googleSearch": {}}, {tool: "x"}, {tool: {name: ["fileSearchStores/a"]}}]
    assert found("gemini", {"tools": tools}) == {f"tools[2].{tool}.{name}[0]": "fileSearchStores/a"}


def test_a_body_without_any_of_the_words_is_not_looked_through():
    assert in_call("responses", b"{}", {"previous_response_id": "not in the body"}) == []


# Wherever they stand.


@pytest.mark.parametrize(
    ("document", "ids"),
    [
        ({"input_file_id": "file-1"}, {"input_file_id": "file-1"}),
        (
            {"input": [{"content": [{"type": "input_image", "file_id": "file-1"}, {"file_id": "file-2"}]}]},
            {"input[0].content[0].file_id": "file-1", "input[0].content[1].file_id": "file-2"},
        ),
        ({"previous_response_id": "resp_1"}, {"previous_response_id": "resp_1"}),
        ({"conversation": {"id": "conv_1"}}, {"conversation.id": "conv_1"}),
        (
            {"tools": [{"vector_store_ids": ["vs_1", 2]}, {"container": {"type": "auto", "file_ids": ["file-1"]}}]},
            {"tools[0].vector_store_ids[0]": "vs_1", "tools[1].container.file_ids[0]": "file-1"},
        ),
        ({"container": "cntr_1"}, {"container": "cntr_1"}),
        ({"container": "auto"}, {}),
        ({"cachedContent": "cachedContents/1"}, {"cachedContent": "cachedContents/1"}),
        ({"parts": [{"fileData": {"fileUri": "https://x/files/1"}}]}, {}),
        ({"parts": [{"fileData": {"fileUri": "files/1"}}]}, {"parts[0].fileData.fileUri": "files/1"}),
        ({"video": "video_1"}, {"video": "video_1"}),
        ({"video": 7, "characters": [{"id": "char_1"}, {"id": 7}, "x"]}, {"characters[0].id": "char_1"}),
        ({"characters": "x", "metadata": {"file_id": "file-1"}}, {"metadata.file_id": "file-1"}),
        ({"src": {"file_name": "files/1"}}, {"src.file_name": "files/1"}),
        ({"file_name": "holiday.jpg"}, {}),
        ({"video": {"id": "video_1"}}, {"video.id": "video_1"}),
        ({"video": "a video"}, {}),
        ({"file_id": None, "vector_store_ids": "x", "model": "file-1"}, {}),
        ("text", {}),
    ],
)  # fmt: skip
def test_of_a_body_of_no_dialect(document, ids):
    assert dict(anywhere(document)) == ids


def test_of_a_form():
    fields = {"file_id": "file-1", "model": "sora", "video[id]": "video_1"}
    assert list(in_form(fields)) == [
        Reference("file_id", "file-1"),
        Reference("video[id]", "video_1"),
    ]


def test_what_a_batch_has_written_is_told():
    batch = {"id": "batch_1", "output_file_id": "file-1", "error_file_id": None}
    assert outputs(batch) == ["file-1"]
