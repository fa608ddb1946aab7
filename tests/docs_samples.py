"""One request for each row of the tables in docs/translation.md: what is put into a minimal body to see what becomes of it."""

from __future__ import annotations

from typing import Any

MARK = "bWFya2VkIGluIHRoZSBkb2N1bWVudGF0aW9u"
"""Base64 of ``MARKED``: where content is carried, one of the two is in the body that goes out."""
MARKED = "marked in the documentation"

BASES: dict[str, dict[str, Any]] = {
    "chat": {"model": "x", "max_tokens": 4096, "messages": [{"role": "user", "content": "Hi"}]},
    "messages": {"model": "x", "max_tokens": 4096, "messages": [{"role": "user", "content": "Hi"}]},
    "responses": {"model": "x", "max_output_tokens": 4096, "input": "Hi"},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]},
}

_SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}
_EMPTY = {"type": "object", "properties": {}}
_CHAT_TOOL = {"type": "function", "function": {"name": "f", "parameters": _EMPTY}}
_MESSAGES_TOOL = {"name": "f", "input_schema": _EMPTY}
_RESPONSES_TOOL = {"type": "function", "name": "f", "parameters": _EMPTY}
_GEMINI_TOOL = {"functionDeclarations": [{"name": "f", "parametersJsonSchema": _EMPTY}]}

# Parameters: dotted names are nested.
PARAMETERS: dict[str, dict[str, Any]] = {
    "chat": {
        "max_completion_tokens": 1000,
        "max_tokens": 1000,
        "n": 2,
        "stop": ["END"],
        "seed": 1,
        "temperature": 0.3,
        "top_p": 0.4,
        "top_k": 5,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.5,
        "logit_bias": {"1": 1},
        "logprobs": True,
        "top_logprobs": 2,
        "tools": [_CHAT_TOOL],
        "functions": [{"name": "f"}],
        "tool_choice": "required",
        "function_call": {"name": "f"},
        "parallel_tool_calls": False,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "a", "schema": _SCHEMA},
        },
        "reasoning_effort": "high",
        "reasoning": {"effort": "high"},
        "thinking": {"type": "enabled", "budget_tokens": 2048},
        "verbosity": "low",
        "web_search_options": {},
        "user": "u1",
        "safety_identifier": "s1",
        "prompt_cache_key": "k",
        "prompt_cache_options": {"ttl": "1h"},
        "prompt_cache_retention": "24h",
        "cache_control": {"type": "ephemeral"},
        "service_tier": "default",
        "metadata": {"a": "b"},
        "store": True,
        "prediction": {"type": "content", "content": "x"},
        "moderation": {"model": "x"},
        "stream": True,
        "stream_options.include_usage": True,
        "stream_options.include_obfuscation": False,
        "modalities": ["text", "audio"],
        "audio": {"voice": "x"},
    },
    "messages": {
        "system": "Be brief.",
        "max_tokens": 1000,
        "stop_sequences": ["END"],
        "temperature": 0.3,
        "top_p": 0.4,
        "top_k": 5,
        "tools": [_MESSAGES_TOOL],
        "tool_choice": {"type": "any"},
        "tool_choice.disable_parallel_tool_use": True,
        "thinking": {"type": "enabled", "budget_tokens": 2048},
        "output_config.effort": "high",
        "output_config.format": {"type": "json_schema", "schema": _SCHEMA},
        "output_config.task_budget": {"type": "tokens", "total": 1},
        "output_format": {"type": "json_schema", "schema": _SCHEMA},
        "metadata.user_id": "u1",
        "service_tier": "standard_only",
        "cache_control": {"type": "ephemeral"},
        "stream": True,
        "billing_policy": "x",
        "container": "c",
        "context_management": {"edits": []},
        "diagnostics": {"x": 1},
        "fallback_credit_token": "t",
        "fallbacks": ["x"],
        "inference_geo": "us",
        "speed": "fast",
        "task_budget": {"total": 1},
        "thread": "t",
        "user_profile_id": "u",
        "workspace_id": "w",
        "anthropic_beta": ["x"],
        "anthropic_version": "x",
        "betas": ["x"],
        "compaction": {"enabled": True},
        "mcp_servers": [{"url": "https://mcp.example"}],
    },
    "responses": {
        "instructions": "Be brief.",
        "max_output_tokens": 1000,
        "temperature": 0.3,
        "top_p": 0.4,
        "top_logprobs": 2,
        "tools": [_RESPONSES_TOOL],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "max_tool_calls": 3,
        "text.format": {"type": "json_schema", "name": "a", "schema": _SCHEMA},
        "text.verbosity": "low",
        "reasoning": {"effort": "high", "summary": "auto"},
        "reasoning.mode": "x",
        "reasoning.context": "x",
        "include": ["reasoning.encrypted_content"],
        "user": "u1",
        "safety_identifier": "s1",
        "prompt_cache_key": "k",
        "prompt_cache_options": {"ttl": "1h"},
        "prompt_cache_retention": "24h",
        "service_tier": "default",
        "metadata": {"a": "b"},
        "store": True,
        "stream": True,
        "stream_options": {"include_obfuscation": False},
        "truncation": "auto",
        "context_management": [{"type": "compaction"}],
        "client_metadata": {"a": "b"},
        "moderation": {"model": "x"},
        "image": {"size": "auto"},
        "access_programs": ["x"],
        "background": True,
        "previous_response_id": "resp_1",
        "conversation": "conv_1",
        "prompt": {"id": "pmpt_1"},
    },
    "gemini": {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "generationConfig.maxOutputTokens": 1000,
        "generationConfig.stopSequences": ["END"],
        "generationConfig.temperature": 0.3,
        "generationConfig.topP": 0.4,
        "generationConfig.topK": 5,
        "generationConfig.seed": 1,
        "generationConfig.candidateCount": 2,
        "generationConfig.presencePenalty": 0.5,
        "generationConfig.frequencyPenalty": 0.5,
        "generationConfig.responseLogprobs": True,
        "generationConfig.logprobs": 2,
        "generationConfig.responseMimeType": "application/json",
        "generationConfig.responseJsonSchema": _SCHEMA,
        "generationConfig.responseSchema": {
            "type": "OBJECT",
            "properties": {"a": {"type": "STRING"}},
            "required": ["a"],
        },
        "generationConfig.thinkingConfig": {"thinkingLevel": "HIGH", "includeThoughts": True},
        "generationConfig.responseModalities": ["TEXT"],
        "generationConfig.speechConfig": {"voiceConfig": {}},
        "generationConfig.imageConfig": {"aspectRatio": "1:1"},
        "generationConfig.mediaResolution": "MEDIA_RESOLUTION_LOW",
        "generationConfig.audioTimestamp": True,
        "generationConfig.audioTranscriptionConfig": {"x": 1},
        "generationConfig.enableEnhancedCivicAnswers": True,
        "generationConfig.generationOutputConfig": {"x": 1},
        "generationConfig.modelSelectionConfig": {"x": 1},
        "generationConfig.routingConfig": {"x": 1},
        "tools": [_GEMINI_TOOL],
        "toolConfig.functionCallingConfig": {"mode": "ANY"},
        "toolConfig.retrievalConfig": {"languageCode": "en"},
        "toolConfig.includeServerSideToolInvocations": True,
        "serviceTier": "standard",
        "safetySettings": [
            {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"},
        ],
        "labels": {"a": "b"},
        "cachedContent": "cachedContents/1",
        "store": True,
        "modelArmorConfig": {"x": 1},
        "continuationToken": "t",
    },
}

BESIDE: dict[tuple[str, str], dict[str, Any]] = {
    ("chat", "tool_choice"): {"tools": [_CHAT_TOOL]},
    ("chat", "function_call"): {"functions": [{"name": "f"}]},
    ("chat", "parallel_tool_calls"): {"tools": [_CHAT_TOOL]},
    ("chat", "top_logprobs"): {"logprobs": True},
    ("messages", "tool_choice"): {"tools": [_MESSAGES_TOOL]},
    ("messages", "tool_choice.disable_parallel_tool_use"): {
        "tools": [_MESSAGES_TOOL],
        "tool_choice": {"type": "auto"},
    },
    ("responses", "tool_choice"): {"tools": [_RESPONSES_TOOL]},
    ("responses", "parallel_tool_calls"): {"tools": [_RESPONSES_TOOL]},
    ("gemini", "generationConfig.logprobs"): {"generationConfig": {"responseLogprobs": True}},
    ("gemini", "generationConfig.thinkingConfig"): {"generationConfig": {"maxOutputTokens": 30000}},
    ("gemini", "toolConfig.functionCallingConfig"): {"tools": [_GEMINI_TOOL]},
}
"""What a parameter means nothing without."""


# Content and tools.


def _chat(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}]}


def _said(client: str, **message: Any) -> dict[str, Any]:
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello", **message},
        {"role": "user", "content": "Go on"},
    ]
    return {"input" if client == "responses" else "messages": turns}


def _messages(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(blocks)}]}


def _responses(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": list(parts)}]}


def _chat_result(content: Any) -> dict[str, Any]:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    return {
        "tools": [_CHAT_TOOL],
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": content},
        ],
    }


def _messages_result(content: Any) -> dict[str, Any]:
    use = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": content}
    return {
        "tools": [_MESSAGES_TOOL],
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": [use]},
            {"role": "user", "content": [result]},
        ],
    }


def _responses_result(output: Any) -> dict[str, Any]:
    return {
        "tools": [_RESPONSES_TOOL],
        "input": [
            {"role": "user", "content": "Hi"},
            {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": output},
        ],
    }


def _gemini(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": list(parts)}]}


def _gemini_turn(part: dict[str, Any]) -> dict[str, Any]:
    return {
        "contents": [
            {"role": "user", "parts": [{"text": "Hi"}]},
            {"role": "model", "parts": [{"text": "Hello"}, part]},
            {"role": "user", "parts": [{"text": "Go on"}]},
        ]
    }


def _gemini_result(**result: Any) -> dict[str, Any]:
    call = {"functionCall": {"id": "c1", "name": "f", "args": {}}}
    answered = {"functionResponse": {"id": "c1", "name": "f", **result}}
    return {
        "tools": [_GEMINI_TOOL],
        "contents": [
            {"role": "user", "parts": [{"text": "Hi"}]},
            {"role": "model", "parts": [call]},
            {"role": "user", "parts": [answered]},
        ],
    }


def _blob(mime: str) -> dict[str, Any]:
    return {"inlineData": {"mimeType": mime, "data": MARK}}


def _file_data(uri: str, mime: str) -> dict[str, Any]:
    return {"fileData": {"fileUri": uri, "mimeType": mime}}


def _item(item: dict[str, Any]) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": "Hi"}, item, {"role": "user", "content": "Go"}]}


def _data(mime: str) -> str:
    return f"data:{mime};base64,{MARK}"


def _link(scheme: str) -> str:
    return f"{scheme}://x.example/{MARK}"


def _image_url(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def _file(mime: str) -> dict[str, Any]:
    return {"type": "file", "file": {"filename": "a", "file_data": _data(mime)}}


def _source(kind: str, mime: str | None = None) -> dict[str, Any]:
    match kind:
        case "base64":
            return {"type": kind, "media_type": mime, "data": MARK}
        case "url":
            return {"type": kind, "url": _link("https")}
        case "file":
            return {"type": kind, "file_id": f"file_{MARK}"}
        case _:
            return {"type": kind, "media_type": "text/plain", "data": MARKED}


_IMAGE_BLOCK = {"type": "image", "source": _source("base64", "image/png")}
_INPUT_IMAGE = {"type": "input_image", "image_url": _data("image/png")}

CONTENT: dict[str, dict[str, dict[str, Any]]] = {
    "chat": {
        "`text`": _chat({"type": "text", "text": MARKED}),
        "`image_url`, data, PNG": _chat(_image_url(_data("image/png"))),
        "`image_url`, data, BMP": _chat(_image_url(_data("image/bmp"))),
        "`image_url`, https": _chat(_image_url(_link("https"))),
        "`image_url`, http": _chat(_image_url(_link("http"))),
        "`file`, PDF": _chat(_file("application/pdf")),
        "`file`, plain text": _chat(_file("text/plain")),
        "`file`, another type": _chat(_file("application/zip")),
        "`file`, `file_id` of OpenAI": _chat({"type": "file", "file": {"file_id": f"file-{MARK}"}}),
        "`file`, `file_id` of Anthropic": _chat(
            {"type": "file", "file": {"file_id": f"file_{MARK}"}}
        ),
        "`input_audio`": _chat(
            {"type": "input_audio", "input_audio": {"data": MARK, "format": "wav"}}
        ),
        "tool result, text": _chat_result(MARKED),
        "tool result, image": _chat_result([_image_url(_data("image/png"))]),
        "assistant's `refusal`": _said("chat", content=None, refusal=MARKED),
        "assistant's `audio`": _said("chat", audio={"id": "a"}),
        "a message's `name`": {"messages": [{"role": "user", "content": "Hi", "name": MARKED}]},
        "later `system` or `developer` message": {
            "messages": [
                {"role": "user", "content": "Hi"},
                {"role": "developer", "content": MARKED},
            ]
        },
    },
    "messages": {
        "`text`": _messages({"type": "text", "text": MARKED}),
        "`image`, base64": _messages(_IMAGE_BLOCK),
        "`image`, url": _messages({"type": "image", "source": _source("url")}),
        "`image`, file": _messages({"type": "image", "source": _source("file")}),
        "`document`, PDF": _messages(
            {"type": "document", "source": _source("base64", "application/pdf")}
        ),
        "`document`, text": _messages({"type": "document", "source": _source("text")}),
        "`document`, url": _messages({"type": "document", "source": _source("url")}),
        "`document`, file": _messages({"type": "document", "source": _source("file")}),
        "`document`, content": _messages(
            {"type": "document", "source": {"type": "content", "content": MARKED}}
        ),
        "`search_result`": _messages(
            {
                "type": "search_result",
                "title": "t",
                "source": "s",
                "content": [{"type": "text", "text": MARKED}],
            }
        ),
        "`container_upload`": _messages({"type": "container_upload", "file_id": MARK}),
        "tool result, text": _messages_result(MARKED),
        "tool result, image": _messages_result([_IMAGE_BLOCK]),
        "tool result, `tool_reference`": _messages_result(
            [{"type": "tool_reference", "tool_name": MARKED}]
        ),
        "tool result, `browser_state`": _messages_result([{"type": "browser_state", "x": MARKED}]),
        "`server_tool_use`": _said(
            "messages",
            content=[
                {"type": "text", "text": "I looked."},
                {
                    "type": "server_tool_use",
                    "id": "s",
                    "name": "web_search",
                    "input": {"q": MARKED},
                },
            ],
        ),
        "`compaction`": _said("messages", content=[{"type": "compaction", "content": MARKED}]),
        "later `system` message": {
            "messages": [
                {"role": "user", "content": "Hi"},
                {"role": "system", "content": MARKED},
            ]
        },
        "`citations` of a text": _said(
            "messages",
            content=[{"type": "text", "text": "x", "citations": [{"cited_text": MARKED}]}],
        ),
    },
    "responses": {
        "`input_text`": _responses({"type": "input_text", "text": MARKED}),
        "`input_image`, data": _responses(_INPUT_IMAGE),
        "`input_image`, https": _responses({"type": "input_image", "image_url": _link("https")}),
        "`input_image`, `file_id`": _responses({"type": "input_image", "file_id": f"file-{MARK}"}),
        "`input_file`, PDF": _responses(
            {"type": "input_file", "filename": "a.pdf", "file_data": _data("application/pdf")}
        ),
        "`input_file`, plain text": _responses(
            {"type": "input_file", "filename": "a.txt", "file_data": _data("text/plain")}
        ),
        "`input_file`, `file_url`": _responses({"type": "input_file", "file_url": _link("https")}),
        "`input_file`, `file_id`": _responses({"type": "input_file", "file_id": f"file-{MARK}"}),
        "`input_audio`": _responses(
            {"type": "input_audio", "input_audio": {"data": MARK, "format": "wav"}}
        ),
        "call output, text": _responses_result(MARKED),
        "call output, image": _responses_result([_INPUT_IMAGE]),
        "assistant's `refusal`": _said(
            "responses", content=[{"type": "refusal", "refusal": MARKED}]
        ),
        "later `developer` message": _item({"role": "developer", "content": MARKED}),
        "`item_reference`": _item({"type": "item_reference", "id": MARK}),
        "trace of a hosted tool": _item(
            {"type": "web_search_call", "id": MARK, "status": "completed"}
        ),
        "an item of another type": _item({"type": "invented", "text": MARKED}),
    },
    "gemini": {
        "`text`": _gemini({"text": MARKED}),
        "`inlineData`, PNG": _gemini(_blob("image/png")),
        "`inlineData`, PDF": _gemini(_blob("application/pdf")),
        "`inlineData`, plain text": _gemini(_blob("text/plain")),
        "`inlineData`, audio": _gemini(_blob("audio/wav")),
        "`inlineData`, another type": _gemini(_blob("video/mp4")),
        "`fileData`, https, image": _gemini(_file_data(_link("https"), "image/png")),
        "`fileData`, https, PDF": _gemini(_file_data(_link("https"), "application/pdf")),
        "`fileData`, gs": _gemini(_file_data(_link("gs"), "application/pdf")),
        "`functionResponse`, text": _gemini_result(response={"output": MARKED}),
        "`functionResponse`, `parts`": _gemini_result(
            response={"output": "see"}, parts=[_blob("image/png")]
        ),
        "`executableCode`": _gemini_turn({"executableCode": {"code": MARKED}}),
        "`codeExecutionResult`": _gemini_turn({"codeExecutionResult": {"output": MARKED}}),
        "`toolCall`": _gemini_turn({"toolCall": {"id": MARK}}),
        "`toolResponse`": _gemini_turn({"toolResponse": {"id": MARK}}),
    },
}

_GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": MARKED}

TOOLS: dict[str, dict[str, dict[str, Any]]] = {
    "chat": {
        "function": {
            "tools": [{"type": "function", "function": {"name": "f", "description": MARKED}}]
        },
        "custom, with a grammar": {
            "tools": [
                {
                    "type": "custom",
                    "custom": {"name": "f", "format": {"type": "grammar", "grammar": _GRAMMAR}},
                }
            ]
        },
        "legacy `functions`": {"functions": [{"name": "f", "description": MARKED}]},
        "any other type": {"tools": [{"type": "web_search"}]},
    },
    "messages": {
        "function": {"tools": [{**_MESSAGES_TOOL, "description": MARKED}]},
        "`web_search_…`": {
            "tools": [
                {
                    "type": "web_search_20250305",
                    "name": "web_search",
                    "user_location": {"type": "approximate", "city": MARKED},
                }
            ]
        },
        "`defer_loading`, not found yet": {
            "tools": [_MESSAGES_TOOL, {"name": MARK, "input_schema": _EMPTY, "defer_loading": True}]
        },
        "any other type": {"tools": [{"type": "bash_20250124", "name": "bash"}]},
    },
    "responses": {
        "function": {"tools": [{**_RESPONSES_TOOL, "description": MARKED}]},
        "custom, with a grammar": {"tools": [{"type": "custom", "name": "f", "format": _GRAMMAR}]},
        "namespace": {
            "tools": [
                {
                    "type": "namespace",
                    "name": "n",
                    "tools": [{**_RESPONSES_TOOL, "description": MARKED}],
                }
            ]
        },
        "`web_search`": {
            "tools": [
                {
                    "type": "web_search",
                    "user_location": {"type": "approximate", "city": MARKED},
                }
            ]
        },
        "hosted by OpenAI": {
            "tools": [_RESPONSES_TOOL, {"type": "file_search", "vector_store_ids": [MARK]}]
        },
        "hosted by OpenAI, forced": {
            "tools": [_RESPONSES_TOOL],
            "tool_choice": {"type": "file_search"},
        },
    },
    "gemini": {
        "function": {"tools": [{"functionDeclarations": [{"name": "f", "description": MARKED}]}]},
        "`googleSearch`": {"tools": [{"googleSearch": {"x": MARKED}}]},
        "`codeExecution`": {"tools": [{"codeExecution": {}}]},
        "any other of Google's": {"tools": [{"googleMaps": {}}]},
    },
}
