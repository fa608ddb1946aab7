"""What is passed on: OpenAI's SDK gets from each provider what it asks for, and from nobody what another key has made."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import openai
import pytest
import pytest_asyncio

from tests.integration import spoken
from tests.integration.gateway import (
    KEY,
    OTHER_KEY,
    SECRET,
    account,
    config_text,
    gateway,
    upstream,
)
from tests.integration.scripted import Scripted, settled, whole
from tests.integration.sdk import OpenAI
from tests.integration.warehouse import AUDIO, IMAGE_USAGE, PICTURE, SECRET_WORDS, warehouse
from tests.integration.wire import encoded, request

# The SDK's own way of using aiohttp.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession"),
    # Of what OpenAI itself is about to end, others have their own.
    pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning"),
]

AZURE = (
    '[[accounts]]\nname = "blue"\nprovider = "azure-openai"\napi_key = "sk-blue"\n'
    'base_url = "{url}/openai/v1?api-version=preview"\n'
)


@pytest_asyncio.fixture
async def house():
    async with warehouse() as running:
        yield running


@asynccontextmanager
async def served(house, *more, flags="{}", **sections):
    text = config_text(upstream(house.url, flags=flags), *more, **sections)
    async with gateway(text) as front:
        yield front


@pytest_asyncio.fixture
async def front(house):
    async with served(house) as running:
        yield running


@pytest_asyncio.fixture(params=["up", "azure-openai"])
async def either(request, house):
    """The SDK in front of one of two providers, with the beginning of its models' names."""
    table = upstream(house.url) if request.param == "up" else AZURE.format(url=house.url)
    async with gateway(config_text(table)) as running:
        sdk = OpenAI(running, asynchronous=True)
        yield sdk.client, request.param, house
        await sdk.close()


@pytest_asyncio.fixture
async def client(front):
    sdk = OpenAI(front, asynchronous=True)
    yield sdk.client
    await sdk.close()


@pytest_asyncio.fixture
async def stranger(front):
    sdk = OpenAI(front, asynchronous=True, key=OTHER_KEY)
    yield sdk.client
    await sdk.close()


def form(boundary: str, *parts: tuple[str, bytes]) -> bytes:
    """Return a form; a name with a dot is a file's."""
    out = b""
    for name, value in parts:
        file = '; filename="f"' if "." in name else ""
        out += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name.strip(".")}"{file}\r\n\r\n'
        ).encode()
        out += value + b"\r\n"
    return out + f"--{boundary}--\r\n".encode()


def in_form(boundary: str) -> str:
    return f"multipart/form-data; boundary={boundary}"


# The SDK's calls, each on two providers.


async def test_completions_are_passed_on(either):
    client, provider, house = either
    said = await client.completions.create(model=f"{provider}/m", prompt="Hello", max_tokens=5)
    chunks = [
        chunk
        async for chunk in await client.completions.create(
            model=f"{provider}/m", prompt="Hello", stream=True
        )
    ]
    assert (said.choices[0].text, said.usage.total_tokens) == ("Hi!", 7)
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == "Hi!"
    assert json.loads(house.seen[0]["body"]) == {"model": "m", "prompt": "Hello", "max_tokens": 5}
    assert KEY not in str(house.seen)


async def test_images_are_made_and_edited_whole_and_streamed(either):
    client, provider, house = either
    model = f"{provider}/gpt-image-1"
    made = await client.images.generate(model=model, prompt="a cat")
    edited = await client.images.edit(model=model, prompt="a hat", image=("c.png", b"\x89PNG\r\n"))
    events = [
        event async for event in await client.images.generate(model=model, prompt="x", stream=True)
    ]
    assert made.data[0].b64_json == edited.data[0].b64_json == PICTURE
    assert made.usage.output_tokens == 272
    assert [event.type for event in events] == [
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    sent = house.seen[1]["body"]
    assert b"\r\n\r\ngpt-image-1\r\n" in sent
    assert b"\x89PNG\r\n\r\n--" in sent


async def test_speech_is_read_and_heard(either):
    client, provider, _ = either
    spoken = await client.audio.speech.create(model=f"{provider}/tts-1", voice="alloy", input="Hi")
    heard = await client.audio.transcriptions.create(
        model=f"{provider}/whisper-1", file=("a.wav", AUDIO)
    )
    written = await client.audio.transcriptions.create(
        model=f"{provider}/whisper-1", file=("a.wav", AUDIO), response_format="srt"
    )
    english = await client.audio.translations.create(
        model=f"{provider}/whisper-1", file=("a.wav", AUDIO)
    )
    events = [
        event
        async for event in await client.audio.transcriptions.create(
            model=f"{provider}/whisper-1", file=("a.wav", AUDIO), stream=True
        )
    ]
    assert spoken.content == AUDIO
    assert spoken.response.headers["content-type"] == "audio/mpeg"
    assert heard.text == english.text == events[-1].text == "Hello"
    assert written.startswith("1\n00:00")


async def test_moderations_need_no_model(client, house):
    found = await client.moderations.create(input="x")
    assert found.results[0].flagged is False
    assert json.loads(house.seen[0]["body"]) == {"input": "x"}


async def test_files_and_batches_go_where_they_are(either):
    client, _, _ = either
    file = await client.files.create(file=("in.jsonl", b'{"a":1}\n'), purpose="batch")
    batch = await client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    assert (await client.files.retrieve(file.id)).filename == "in.jsonl"
    assert (await client.files.content(file.id)).content == b'{"a":1}\n'
    assert (await client.batches.retrieve(batch.id)).input_file_id == file.id
    assert (await client.batches.cancel(batch.id)).status == "cancelling"
    assert [one.id async for one in client.files.list()] == [file.id]
    assert [one.id async for one in client.batches.list()] == [batch.id]
    assert (await client.files.delete(file.id)).deleted
    assert [one.id async for one in client.files.list()] == []
    with pytest.raises(openai.NotFoundError, match="No object with the id `file-0`"):
        await client.files.retrieve(file.id)


async def test_videos_are_made_mixed_and_fetched(either):
    client, provider, _ = either
    video = await client.videos.create(model=f"{provider}/sora-2", prompt="a cat")
    mixed = await client.videos.remix(video.id, prompt="a hat")
    assert (await client.videos.retrieve(mixed.id)).status == "queued"
    assert (await client.videos.download_content(video.id)).content == AUDIO
    assert [one.id async for one in client.videos.list()] == [mixed.id, video.id]
    await client.videos.delete(video.id)
    assert [one.id async for one in client.videos.list()] == [mixed.id]


async def test_azures_own_base_url_and_credential_are_used(house):
    async with gateway(config_text(AZURE.format(url=house.url))) as running:
        await running.post("/v1/completions", {"model": "azure-openai/m", "prompt": "Hello"})
    assert house.seen[0]["path"] == "/openai/v1/completions?api-version=preview"
    assert house.seen[0]["headers"]["api-key"] == "sk-blue"
    assert "Authorization" not in house.seen[0]["headers"]


async def test_azures_deployments_are_told_apart(house):
    table = AZURE.format(url=house.url).replace(
        "/v1?api-version=preview", "/deployments?api-version=1"
    )
    async with gateway(config_text(table)) as running:
        for model in ("one", "two"):
            await running.post(
                "/v1/completions", {"model": f"azure-openai/{model}", "prompt": "Hello"}
            )
            await running.post(
                "/v1/chat/completions",
                {"model": f"azure-openai/{model}", "messages": [{"role": "user", "content": "Hi"}]},
            )
    assert [one["path"] for one in house.seen] == [
        f"/openai/deployments/{model}/{path}?api-version=1"
        for model in ("one", "two")
        for path in ("completions", "chat/completions")
    ]


async def test_documents_are_reranked(front, house):
    answered = await front.post(
        "/v1/rerank", {"model": "up/r", "query": "q", "documents": ["a", "b"]}
    )
    assert answered.json["results"][0]["index"] == 1
    assert (await front.last())["input_tokens"] == 9
    assert house.seen[0]["path"] == "/v1/rerank"


# Whose it is.


async def test_another_keys_objects_are_absent_on_every_verb(client, stranger, front, house):
    file = await client.files.create(file=("in.jsonl", b"{}\n"), purpose="batch")
    batch = await client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    video = await client.videos.create(model="up/sora-2", prompt="a cat")
    asked = len(house.seen)
    for call in (
        stranger.files.retrieve(file.id),
        stranger.files.content(file.id),
        stranger.files.delete(file.id),
        stranger.batches.retrieve(batch.id),
        stranger.batches.cancel(batch.id),
        stranger.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        ),
        stranger.videos.retrieve(video.id),
        stranger.videos.delete(video.id),
        stranger.videos.download_content(video.id),
        stranger.videos.remix(video.id, prompt="x"),
        stranger.files.retrieve(batch.id),
    ):
        with pytest.raises(openai.NotFoundError, match="No object with the id"):
            await call
    for kind in ("files", "batches", "videos"):
        assert [one async for one in getattr(stranger, kind).list()] == []
    edit = await front.post(
        "/v1/videos/edits",
        {"prompt": "x", "video": {"id": video.id}},
        authorization=f"Bearer {OTHER_KEY}",
    )
    assert (edit.status, edit.error["param"]) == (404, "video.id")
    assert len(house.seen) == asked
    # The answers to what is not there and to what is another's are the same.
    theirs, nobodys = [
        (await front.get(f"/v1/files/{name}", authorization=f"Bearer {OTHER_KEY}")).error
        for name in (file.id, "file-x")
    ]
    assert theirs == {**nobodys, "message": nobodys["message"].replace("file-x", file.id)}


async def test_an_object_that_the_provider_has_lost_is_as_absent_as_anothers(client, house):
    file = await client.files.create(file=("in.jsonl", b"{}\n"), purpose="batch")
    house.files.clear()
    with pytest.raises(openai.NotFoundError, match=f"No object with the id `{file.id}`"):
        await client.files.retrieve(file.id)
    assert [one async for one in client.files.list()] == []


async def test_an_object_is_found_on_the_account_that_it_was_made_through(house):
    spare = account("spare", "up").replace(SECRET, "sk-spare")
    async with served(house, spare) as running:
        sdk = OpenAI(running, asynchronous=True)
        made = [
            await sdk.client.files.create(file=("f", b"x"), purpose="user_data") for _ in range(4)
        ]
        used = [one["key"] for one in house.seen]
        for file in made:
            await sdk.client.files.retrieve(file.id)
        assert [one["key"] for one in house.seen[4:]] == used
        assert len(set(used)) == 2
        await sdk.close()


async def test_what_a_batch_has_written_is_its_keys_too(client, stranger, house):
    file = await client.files.create(file=("in.jsonl", b"{}\n"), purpose="batch")
    batch = await client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    house.files["file-out"] = {**house.files[file.id], "id": "file-out"}
    house.contents["file-out"] = b"done"
    with pytest.raises(openai.NotFoundError):
        await client.files.content("file-out")
    house.batches[batch.id] |= {"status": "completed", "output_file_id": "file-out"}
    await client.batches.retrieve(batch.id)
    assert (await client.files.content("file-out")).content == b"done"
    with pytest.raises(openai.NotFoundError):
        await stranger.files.content("file-out")


@pytest.mark.parametrize("listed", [False, True], ids=["asked for", "listed"])
async def test_what_a_batch_has_used_is_booked_once_and_its_output_is_there(house, listed):
    priced = '[[models]]\nname = "up/m"\ncost = { input = 2, output = 4, service_tiers = { batch = { input = 1, output = 2 } } }\n'
    async with served(house, priced) as running:
        sdk = OpenAI(running, asynchronous=True)
        file = await sdk.client.files.create(file=("in.jsonl", b"{}\n"), purpose="batch")
        batch = await sdk.client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        await sdk.client.batches.retrieve(batch.id)
        house.contents["file-out"] = b"done"
        house.batches[batch.id] |= {
            "status": "completed",
            "model": "m",
            "output_file_id": "file-out",
            "usage": {
                "input_tokens": 1_000,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": 500,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": 1_500,
            },
        }
        for _ in range(3):
            if listed:
                assert (await sdk.client.batches.list()).data[0].status == "completed"
            else:
                assert (await sdk.client.batches.retrieve(batch.id)).status == "completed"
        assert (await sdk.client.files.content("file-out")).content == b"done"
        used = (await running.get("/v1/usage")).json
        assert (used["total_cost_usd"], used["total_tokens"]) == (0.002, 1_500)
        history = (await running.get("/v1/usage/requests?limit=50")).json
        assert json.dumps(history).count('"cost_micro": 2000') == 1
        assert [one.id async for one in sdk.client.batches.list()] == [batch.id]
        await sdk.close()


async def test_objects_outlive_the_gateway(house, tmp_path):
    text = config_text(upstream(house.url))
    for turn in range(2):
        async with gateway(text, directory=tmp_path) as running:
            sdk = OpenAI(running, asynchronous=True)
            if turn == 0:
                await sdk.client.files.create(file=("f", b"x"), purpose="user_data")
            assert (await sdk.client.files.retrieve("file-0")).id == "file-0"
            await sdk.close()


async def test_a_list_has_pages(client):
    names = [
        (await client.files.create(file=("f", b"x"), purpose="user_data")).id for _ in range(5)
    ]
    first = await client.files.list(limit=2)
    assert (len(first.data), first.has_more) == (2, True)
    assert [one.id async for one in client.files.list(limit=2)] == names[::-1]
    assert [one.id async for one in client.files.list(order="asc", limit=3)] == names


async def test_a_list_that_cannot_be_whole_is_an_error(client, house):
    await client.files.create(file=("f", b"x"), purpose="user_data")
    house.refuse = [500]
    with pytest.raises(openai.InternalServerError) as refused:
        await client.files.list()
    assert SECRET_WORDS not in str(refused.value)


# Who is asked.


async def test_a_provider_is_named_where_several_have_it(house):
    async with served(house, upstream(house.url, name="two")) as running:
        answered = await running.post("/v1/moderations", {"input": "x"})
        assert answered.status == 400
        assert "x-splice-provider` (two, up)" in answered.error["message"]
        for headers, query in (({"x-splice-provider": "two"}, ""), ({}, "?provider=two")):
            answered = await running.post(f"/v1/moderations{query}", {"input": "x"}, **headers)
            assert answered.status == 200
        assert (await running.last(3))["account"] == "two"
        assert "provider" not in house.seen[-1]["path"]
        answered = await running.post("/v1/moderations?provider=three", {"input": "x"})
        assert answered.error["param"] == "provider"


@pytest.mark.parametrize("native", ["", "/up"])
async def test_a_query_names_nothing_that_is_not_looked_at(front, house, native):
    query = "?file_id=file-of-others&access_token=x&provider=up&api-version=1"
    asked = {"prompt": "x", "model": "m" if native else "up/m"}
    answered = await front.post(f"{native}/v1/images/generations{query}", asked)
    assert answered.status == 200
    assert house.seen[0]["path"] == "/v1/images/generations?api-version=1"


async def test_a_key_of_some_models_gets_no_others_by_leaving_the_model_out(house):
    restricted = config_text(upstream(house.url)).replace(
        'name = "tester"', 'name = "tester"\nmodels = ["up/a", "up/b*"]'
    )
    async with gateway(restricted) as running:
        left_out = await running.post("/v1/images/generations", {"prompt": "x"})
        other = await running.post("/v1/images/generations", {"prompt": "x", "model": "up/c"})
        own = await running.post("/v1/images/generations", {"prompt": "x", "model": "up/a"})
        sdk = OpenAI(running, asynchronous=True)
        file = await sdk.client.files.create(file=("in.jsonl", b"{}\n"), purpose="batch")
        with pytest.raises(openai.PermissionDeniedError, match="A batch may ask any model"):
            await sdk.client.batches.create(
                input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
            )
        await sdk.close()
    assert (left_out.status, other.status, own.status) == (400, 403, 200)


@pytest.mark.parametrize("native", ["", "/up"])
@pytest.mark.parametrize("named", [{}, {"model": None}, {"model": ""}, {"model": 7}])
async def test_what_costs_something_names_its_model_whatever_else_it_names(house, native, named):
    restricted = config_text(upstream(house.url)).replace(
        'name = "tester"', 'name = "tester"\nmodels = ["up/a"]'
    )
    for text in (config_text(upstream(house.url)), restricted):
        async with gateway(text) as running:
            sdk = OpenAI(running, asynchronous=True)
            file = (await sdk.client.files.create(file=("f", b"x"), purpose="vision")).id
            await sdk.close()
            asked = len(house.seen)
            for path in ("/v1/images/generations", "/v1/images/edits", "/v1/videos"):
                for about in ({}, {"images": [{"file_id": file}]}):
                    refused = await running.post(
                        f"{native}{path}", {"prompt": "x", **named, **about}
                    )
                    assert (refused.status, refused.error["param"]) == (400, "model")
            assert len(house.seen) == asked


@pytest.mark.parametrize("native", ["", "/up"])
async def test_a_video_says_of_which_model_another_is_made(house, native):
    async with served(house) as running:
        made = await running.post("/v1/videos", {"prompt": "x", "model": "up/sora-2"})
        for path in ("edits", "extensions", f"{made.json['id']}/remix"):
            about = {} if "remix" in path else {"video": {"id": made.json["id"]}}
            answered = await running.post(f"{native}/v1/videos/{path}", {"prompt": "y", **about})
            assert answered.status == 200
            other = await running.post(
                f"{native}/v1/videos/{path}",
                {"prompt": "y", **about},
                authorization=f"Bearer {OTHER_KEY}",
            )
            assert other.status == 404


@pytest.mark.parametrize("native", ["", "/up"])
async def test_nobody_makes_a_video_of_another_who_may_spend_so_much(house, native):
    own = '[[models]]\nname = "up/sora-2"\ncost = { requests_kcount = 40 }\n'
    prepaid = config_text(upstream(house.url), own).replace(
        'name = "tester"', 'name = "tester"\nprepaid = true\ncredit_usd = 1'
    )
    async with gateway(prepaid) as running:
        made = await running.post("/v1/videos", {"prompt": "x", "model": "up/sora-2"})
        assert made.status == 200
        for path in ("edits", "extensions", f"{made.json['id']}/remix"):
            about = {} if "remix" in path else {"video": {"id": made.json["id"]}}
            refused = await running.post(f"{native}/v1/videos/{path}", {"prompt": "y", **about})
            assert (refused.status, refused.error["code"]) == (403, "model_not_allowed")
        assert len(house.videos) == 1


async def test_a_key_that_may_spend_so_much_starts_no_batch(house):
    budget = config_text(upstream(house.url)).replace(
        'name = "tester"', 'name = "tester"\nbudget_usd = 1\nbudget_period = "day"'
    )
    async with gateway(budget) as running:
        sdk = OpenAI(running, asynchronous=True)
        file = await sdk.client.files.create(file=("in.jsonl", b"{}\n"), purpose="batch")
        with pytest.raises(openai.PermissionDeniedError, match="paid for when it is done"):
            await sdk.client.batches.create(
                input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
            )
        await sdk.close()


LONG = {"custom_id": "0", "url": "/v1/responses", "body": {"model": "m", "input": "x" * 1_000}}


@pytest.mark.parametrize("lines", [1, 2_000], ids=["small", "large"])
@pytest.mark.parametrize("order", [("purpose", "file."), ("file.", "purpose")])
async def test_no_line_of_a_batch_names_what_is_another_keys(front, house, lines, order):
    sdk = OpenAI(front, asynchronous=True)
    own = (await sdk.client.files.create(file=("f", b"x"), purpose="user_data")).id
    await sdk.close()
    head = {"content-type": in_form("xyz")}

    async def put(name: str, purpose: bytes = b"batch", **headers: str) -> int:
        part = {"type": "input_file", "file_id": name}
        last = {**LONG, "body": {"model": "m", "input": [{"role": "user", "content": [part]}]}}
        text = "\n".join(map(json.dumps, [*[LONG] * lines, last])).encode()
        parts = {"purpose": purpose, "file.": text}
        body = form("xyz", *((one, parts[one]) for one in order))
        return int((await front.post("/v1/files", body, **head, **headers)).status)

    assert await put(own) == 200
    before = len(house.files)
    assert await put(own, authorization=f"Bearer {OTHER_KEY}") == 404
    assert await put("file-of-nobody") == 404
    assert len(house.files) == before
    assert await put("file-of-nobody", b"fine-tune") == 200


# Forms.


async def test_a_model_behind_the_file_is_found(front, house):
    body = form("xyz", ("file.", b"\0\r\n-" * 100_000), ("model", b"up/whisper-1"))
    answered = await front.post(
        "/v1/audio/transcriptions", body, **{"content-type": in_form("xyz")}
    )
    assert answered.json["text"] == "Hello"
    assert house.seen[0]["body"] == body.replace(b"up/whisper-1", b"whisper-1")


async def test_a_model_behind_more_than_is_read_whole_is_asked_for_in_front(house):
    async with served(house, server='max_body = "1MiB"') as running:
        body = form("xyz", ("file.", b"x" * (3 << 20)), ("model", b"up/whisper-1"))
        answered = await running.post(
            "/v1/audio/transcriptions", body, **{"content-type": in_form("xyz")}
        )
        assert (answered.status, answered.error["param"]) == (400, "model")
        assert "put it in front of the file" in answered.error["message"]
        body = form("xyz", ("model", b"up/whisper-1"), ("file.", b"x" * (3 << 20)))
        answered = await running.post(
            "/v1/audio/transcriptions", body, **{"content-type": in_form("xyz")}
        )
        assert answered.status == 200
        assert house.seen[0]["body"] == body.replace(b"up/whisper-1", b"whisper-1")


@pytest.mark.parametrize("size", [10, 3 << 20], ids=["small", "large"])
async def test_a_second_model_of_a_form_reaches_nobody_whole(house, size):
    async with served(house) as running:
        body = form("xyz", ("model", b"up/cheap"), ("file.", b"x" * size), ("model", b"dear"))
        answered = await running.post(
            "/v1/audio/transcriptions", body, **{"content-type": in_form("xyz")}
        )
    assert (answered.status, answered.error["param"]) == (400, "model")
    assert all("body" not in one for one in house.seen)


async def test_a_form_without_its_end_is_refused(front, house):
    body = form("xyz", ("model", b"up/whisper-1"), ("file.", b"x"))[:-10]
    answered = await front.post(
        "/v1/audio/transcriptions", body, **{"content-type": in_form("xyz")}
    )
    assert (answered.status, house.seen) == (400, [])


async def test_a_file_is_refused_where_it_is_too_large(house):
    async with served(house, server='max_upload = "1MiB"') as running:
        wire = await running.wire()
        body = form("xyz", ("purpose", b"batch"), ("file.", b"x" * (2 << 20)))
        headers = {"authorization": f"Bearer {KEY}", "content-type": in_form("xyz")}
        wire.send(request("POST", "/v1/files", body, **headers))
        assert (await wire.answer()).status == 413
        wire = await running.wire()
        chunked = b"".join(
            b"10000\r\n" + body[at : at + 65536] + b"\r\n" for at in range(0, 32 * 65536, 65536)
        )
        head = request("POST", "/v1/files", b"", **headers).partition(b"\r\n\r\n")[0]
        head = b"\r\n".join(
            line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length")
        )
        wire.send(head + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked)
        assert (await wire.answer()).status == 413
    assert house.files == {}


async def test_an_upload_without_a_length_arrives(front, house):
    wire = await front.wire()
    body = form("xyz", ("purpose", b"user_data"), ("file.", b"0123456789" * 100_000))
    head = (
        f"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: {in_form('xyz')}\r\nTransfer-Encoding: chunked\r\n\r\n"
    ).encode()
    pieces = [body[at : at + 50_000] for at in range(0, len(body), 50_000)]
    wire.send(head + b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in pieces) + b"0\r\n\r\n")
    answered = await wire.answer()
    assert answered.json["bytes"] == 1_000_000
    assert house.seen[0]["fields"] == {"purpose": "user_data"}
    # The connection carries the next request.
    wire.send(request("GET", "/v1/files/file-0", b"", authorization=f"Bearer {KEY}"))
    assert (await wire.answer()).json["bytes"] == 1_000_000


# When it fails.


async def test_a_small_body_is_sent_again_to_another_account(house):
    async with served(house, account("spare", "up")) as running:
        house.refuse = [500]
        answered = await running.post("/v1/images/generations", {"prompt": "x", "model": "up/i"})
        house.refuse = [500]
        body = form("xyz", ("model", b"up/whisper-1"), ("file.", b"x" * 1000))
        heard = await running.post(
            "/v1/audio/transcriptions", body, **{"content-type": in_form("xyz")}
        )
        assert (answered.status, heard.status) == (200, 200)
        assert [line["attempts"] for line in await running.requests(2)] == [2, 2]
    assert house.seen[2]["key"] == house.seen[3]["key"]


async def test_a_large_upload_is_put_once(house):
    async with served(house, account("spare", "up")) as running:
        house.refuse = [503]
        body = form("xyz", ("purpose", b"user_data"), ("file.", b"x" * (4 << 20)))
        answered = await running.post("/v1/files", body, **{"content-type": in_form("xyz")})
        assert (answered.status, len(house.seen)) == (503, 1)
        assert SECRET_WORDS not in answered.body.decode()


async def test_an_answer_that_is_cut_off_has_no_end_for_the_client(house):
    async def cuts(reader, writer, asked):
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: 1000\r\n\r\n"
            + b"x" * 400
        )
        await writer.drain()
        writer.close()

    async with Scripted(cuts) as up, gateway(config_text(upstream(up.url))) as running:
        wire = await running.wire()
        wire.send(
            request(
                "POST",
                "/v1/audio/speech",
                json.dumps({"model": "up/t", "input": "Hi", "voice": "a"}).encode(),
                authorization=f"Bearer {KEY}",
            )
        )
        status, headers = await wire.head()
        assert (status, headers["content-length"]) == (200, "1000")
        assert await wire.rest() == b"x" * 400
        assert (await running.last())["error_type"] == "truncated"


async def test_a_refusal_of_the_request_is_told_and_one_of_our_account_is_not(front, house):
    house.refuse = [400]
    own = await front.post("/v1/images/generations", {"prompt": "x", "model": "up/i"})
    house.refuse = [401]
    ours = await front.post("/v1/images/generations", {"prompt": "x", "model": "up/i"})
    assert (own.status, SECRET_WORDS in own.body.decode()) == (400, True)
    assert (ours.status, SECRET_WORDS in ours.body.decode()) == (502, False)


# What is kept of it.


async def test_what_is_passed_on_is_metered_by_what_the_answer_tells(front):
    await front.post("/v1/images/generations", {"prompt": "x", "model": "up/gpt-image-1"})
    await front.post(
        "/v1/images/generations", {"prompt": "x", "model": "up/gpt-image-1", "stream": True}
    )
    await front.post("/v1/audio/speech", {"model": "up/t", "input": "Hello there", "voice": "a"})
    body = form("xyz", ("model", b"up/w"), ("file.", b"x"))
    await front.post("/v1/audio/transcriptions", body, **{"content-type": in_form("xyz")})
    lines = await front.requests(4)
    assert [(line["input_tokens"], line["output_tokens"]) for line in lines] == [
        (10, 272),
        (10, 272),
        (3, 16),
        (14, 3),
    ]
    assert [line.get("estimated", False) for line in lines] == [False, False, True, False]
    assert {line["route"] for line in lines} == {
        "/v1/images/generations",
        "/v1/audio/speech",
        "/v1/audio/transcriptions",
    }


async def test_an_image_is_paid_for(house):
    priced = '[[models]]\nname = "up/gpt-image-1"\ncost = { input = 5, output = 40 }\n'
    async with served(house, priced) as running:
        answered = await running.post(
            "/v1/images/generations", {"prompt": "x", "model": "up/gpt-image-1"}
        )
        assert answered.headers["x-splice-cost-usd"] == "0.01093"
        usage = await running.get(f"/v1/usage/{answered.headers['x-request-id']}")
        assert (usage.json["cost_micro"], usage.json["output_tokens"]) == (10930, 272)


PREPAID = 'name = "tester"\nprepaid = true\ncredit_usd = '
DEAR = '[[models]]\nname = "up/gpt-image-1"\ncost = { input = 5, output = 40 }\n'


@asynccontextmanager
async def prepaid(url, credit, **sections):
    text = config_text(upstream(url), DEAR, **sections)
    async with gateway(text.replace('name = "tester"', f"{PREPAID}{credit}")) as running:
        yield running


async def at_once(running, house, path, body) -> list[int]:
    """Ask six times, of which nobody is answered before all have been let in or refused; return the statuses."""
    house.open.clear()
    async with asyncio.TaskGroup() as calls:
        asking = [calls.create_task(running.post(path, body)) for _ in range(6)]
        await settled(lambda: sum(one.done() for one in asking) + len(house.seen) == 6)
        house.open.set()
    return sorted(one.result().status for one in asking)


async def test_what_pictures_may_cost_is_held_while_they_are_made(house):
    asked = {"model": "up/gpt-image-1", "prompt": "x", "quality": "low"}
    async with prepaid(house.url, 0.033) as running:
        assert (
            await at_once(running, house, "/v1/images/generations", asked) == [200] * 2 + [402] * 4
        )
        several = await running.post("/v1/images/generations", {**asked, "n": 2})
        assert several.status == 402
        fields = ("model", b"up/gpt-image-1"), ("n", b"2"), ("quality", b"low")
        body = form("xyz", *fields, ("image.", b"x"))
        edited = await running.post("/v1/images/edits", body, **{"content-type": in_form("xyz")})
        assert edited.status == 402


@pytest.mark.parametrize(
    ("path", "fields", "most"),
    [
        ("/v1/completions", {"max_tokens": 100}, 2),
        ("/v1/completions", {"max_tokens": 50, "n": 2}, 2),
        ("/v1/completions", {"max_tokens": 10, "best_of": 10}, 2),
        ("/v1/completions", {}, 0),
        ("/v1/audio/speech", {"input": "x" * 70, "voice": "alloy"}, 2),
    ],
)
async def test_so_is_what_others_may_cost(house, path, fields, most):
    asked = {"model": "up/gpt-image-1", "prompt": "x", **fields}
    async with prepaid(house.url, 0.009) as running:
        assert await at_once(running, house, path, asked) == [200] * most + [402] * (6 - most)


SHOWN = {"type": "image_generation.partial_image", "b64_json": "A" * 50_000}
MADE = {"type": "image_generation.completed", "b64_json": "A" * 50_000, "usage": IMAGE_USAGE}


@pytest.mark.parametrize(
    ("streaming", "tokens", "estimated"),
    [("", 408 + 2 * 100, True), ('on_disconnect = { read_on = "5s" }', 272, None)],
    ids=["dropped", "read on"],
)
async def test_a_client_that_leaves_when_it_has_seen_enough_pays(streaming, tokens, estimated):
    left = asyncio.Event()

    async def paint(_, writer, __):
        writer.write(spoken.HEAD + spoken.chunk(spoken.data(SHOWN)))
        await left.wait()
        writer.write(spoken.chunk(spoken.data(MADE)) + spoken.LAST)
        await writer.drain()

    asked = {"model": "up/gpt-image-1", "prompt": "x", "stream": True, "partial_images": 2}
    body = encoded({**asked, "quality": "low"})
    async with Scripted(paint) as up, prepaid(up.url, 1, streaming=streaming) as running:
        wire = await running.wire(limit=1 << 20)
        wire.send(request("POST", "/v1/images/generations", body, authorization=f"Bearer {KEY}"))
        await wire.head()
        await wire.chunk()
        wire.leave()
        inside = running.running.gateway
        await settled(lambda: inside.reading_on or not inside.calls)
        left.set()
        line = await running.last()
        assert (line["status"], line["output_tokens"], line.get("estimated")) == (
            499,
            tokens,
            estimated,
        )
        assert line["cost_usd"] == pytest.approx((line["input_tokens"] * 5 + tokens * 40) / 1e6)


async def test_a_picture_that_is_left_before_it_is_whole_is_estimated():
    document = b'{"data": [{"b64_json": "' + b"A" * (1_600_000)
    stay = asyncio.Event()

    async def paint(_, writer, __):
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9999999\r\n\r\n"
            + document
        )
        await writer.drain()
        await stay.wait()

    body = encoded({"model": "up/gpt-image-1", "prompt": "x"})
    async with Scripted(paint) as up, prepaid(up.url, 1) as running:
        wire = await running.wire(limit=1 << 22)
        wire.send(request("POST", "/v1/images/generations", body, authorization=f"Bearer {KEY}"))
        await wire.head()
        wire.leave()
        line = await running.last()
        stay.set()
        assert (line["status"], line["output_tokens"], line["estimated"]) == (499, 6_240, True)


async def test_a_whole_picture_of_which_nothing_is_told_has_no_tokens():
    body = json.dumps({"created": 1, "data": [{"url": "https://x.test/a.png"}]}).encode()
    async with (
        Scripted([whole(body, content_type="application/json")]) as up,
        prepaid(up.url, 1) as running,
    ):
        answered = await running.post(
            "/v1/images/generations", {"model": "up/gpt-image-1", "prompt": "x"}
        )
        assert answered.headers["x-splice-cost-usd"] == "0"


@pytest.mark.parametrize("options", [None, {"include_usage": False}, {"include_usage": True}])
async def test_completions_are_asked_what_they_use_and_tell_whoever_asked(front, house, options):
    asked = {"model": "up/m", "prompt": "Hello", "stream": True}
    answered = await front.post(
        "/v1/completions", asked if options is None else {**asked, "stream_options": options}
    )
    wanted = options == {"include_usage": True}
    assert json.loads(house.seen[0]["body"])["stream_options"] == {"include_usage": True}
    assert (b'"usage"' in answered.body) is wanted
    assert answered.body.count(b"data: ") == 3 + wanted
    assert answered.body.endswith(b"data: [DONE]\n\n")
    line = await front.last()
    assert (line["input_tokens"], line["output_tokens"], line.get("estimated")) == (5, 2, None)


@pytest.mark.parametrize(
    ("path", "model", "flags"),
    [("/up/v1/completions", "m", "{}"), ("/v1/completions", "up/m", "{ stream_options = false }")],
)
async def test_completions_that_tell_nothing_are_estimated_by_what_they_say(path, model, flags):
    said = {"id": "c", "choices": [{"text": "four", "index": 0, "finish_reason": None}]}
    end = {"id": "c", "choices": [{"text": "", "index": 0, "finish_reason": "stop"}]}
    frames = [spoken.data(said)] * 100 + [spoken.data(end), b"data: [DONE]\n\n"]
    script = spoken.HEAD + spoken.chunk(b"".join(frames)) + spoken.LAST
    body = {"model": model, "prompt": "x", "stream": True}
    async with Scripted([script]) as up, served(up, flags=flags) as running:
        answered = await running.post(path, body)
        assert answered.body == b"".join(frames)
        assert "stream_options" not in json.loads(up.requests[0].body)
        line = await running.last()
        assert (line["output_tokens"], line["estimated"]) == (100, True)


async def test_routes_are_told_without_what_stands_in_them(client, front):
    file = await client.files.create(file=("secret-name", b"x"), purpose="user_data")
    await client.files.content(file.id)
    await front.get("/v1/files/file-of-nobody/content")
    lines = await front.requests(3)
    assert [line["route"] for line in lines] == [
        "/v1/files",
        "/v1/files/{id}/content",
        "/v1/files/{id}/content",
    ]
    assert file.id not in json.dumps(front.lines)
    assert "secret-name" not in json.dumps(front.lines)
    assert KEY not in json.dumps(front.lines)


async def test_limits_hold_for_what_is_passed_on(house):
    limited = config_text(upstream(house.url)).replace(
        'name = "tester"', 'name = "tester"\nrpm = 1'
    )
    async with gateway(limited) as running:
        assert (await running.post("/v1/moderations", {"input": "x"})).status == 200
        refused = await running.post("/v1/moderations", {"input": "x"})
        assert (refused.status, refused.error["code"]) == (429, "rate_limit_exceeded")
        # To read what there is is no request by the minute.
        assert (await running.get("/v1/files")).status == 200
        assert (await running.get("/v1/files/file-x")).status == 404
        nobody = await running.post("/v1/moderations", {"input": "x"}, authorization="Bearer x")
        assert nobody.status == 401


async def test_a_part_of_a_file_can_be_asked_for(front, house):
    ranged = await front.get("/v1/files/file-x/content", range="bytes=0-3")
    assert ranged.status == 404
    sdk = OpenAI(front, asynchronous=True)
    await sdk.client.files.create(file=("f", b"0123456789"), purpose="user_data")
    await front.get("/v1/files/file-0/content", range="bytes=0-3")
    await sdk.close()
    assert house.seen[-1]["headers"]["Range"] == "bytes=0-3"


async def test_of_a_head_nothing_but_the_head_is_fetched():
    made = json.dumps({"id": "file-1", "object": "file"}).encode()
    closed = asyncio.Event()

    async def store(reader, writer, asked):
        if asked.method == "POST":
            writer.write(whole(made, **spoken.JSON))
            return
        size = 50 << 20
        head = b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: %d\r\n\r\n" % size
        writer.write(head + b"x" * 1_000)
        await writer.drain()
        await reader.read()
        closed.set()

    async with Scripted(store) as up, served(up) as running:
        body = form("xyz", ("purpose", b"user_data"), ("file.", b"x"))
        await running.post("/v1/files", body, **{"content-type": in_form("xyz")})
        wire = await running.wire()
        path = "/v1/files/file-1/content"
        wire.send(request("HEAD", path, b"", authorization=f"Bearer {KEY}"))
        answered = await wire.answer(bodiless=True)
        assert (answered.status, answered.headers["content-length"]) == (200, str(50 << 20))
        await asyncio.wait_for(closed.wait(), 5)
        wire.send(request("GET", "/v1/models", b"", authorization=f"Bearer {KEY}"))
        assert (await wire.answer()).status == 200
        await running.last()


async def test_nothing_of_a_file_is_taken_for_a_page_of_ours(front):
    sdk = OpenAI(front, asynchronous=True)
    await sdk.client.files.create(file=("f", b"{}"), purpose="user_data")
    answered = await front.get("/v1/files/file-0/content")
    wire = await front.wire()
    for path in ("/v1/files/file-0/content", "/v1/files/file-0", "/v1/files"):
        wire.send(request("HEAD", path, b"", authorization=f"Bearer {KEY}"))
        assert (await wire.answer(bodiless=True)).status == 200
    await sdk.close()
    assert answered.headers["x-content-type-options"] == "nosniff"
    assert answered.headers["content-disposition"] == 'attachment; filename="f"'
