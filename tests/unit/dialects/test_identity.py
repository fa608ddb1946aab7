"""Who asks, in OpenAI's words."""

import hashlib

import pytest

from proxy.dialects.conversation import Conversation
from proxy.dialects.identity import identity_fields


def test_nobody_is_told_where_nobody_was_named():
    assert identity_fields(Conversation()) == {}


@pytest.mark.parametrize("name", ["user", "safety_identifier"])
def test_a_name_in_openai_s_terms_passes_as_it_is(name):
    conversation = Conversation(
        user="u@e.com", cache_key="k", given={"user": name, "cache_key": "prompt_cache_key"}
    )
    assert identity_fields(conversation) == {name: "u@e.com", "prompt_cache_key": "k"}
    assert conversation.dropped == frozenset()


def test_an_opaque_user_is_hashed_and_its_session_keeps_the_cache():
    user = '{"device_id":"d","session_id":"s-1"}'
    conversation = Conversation(user=user, user_is_opaque=True, given={"user": "metadata.user_id"})
    assert identity_fields(conversation) == {
        "safety_identifier": hashlib.sha256(user.encode()).hexdigest(),
        "prompt_cache_key": "s-1",
    }
    assert conversation.dropped == frozenset()


@pytest.mark.parametrize("user", ["plain", '{"session_id":""}', '{"session_id":1}', "[]", '"text"'])
def test_an_opaque_user_without_session_is_its_own_cache_key(user):
    hashed = hashlib.sha256(user.encode()).hexdigest()
    conversation = Conversation(user=user, user_is_opaque=True)
    assert identity_fields(conversation) == {
        "safety_identifier": hashed,
        "prompt_cache_key": hashed,
    }
