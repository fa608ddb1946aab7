from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.conversation import Redacted, Thinking
from proxy.dialects.envelope import NONE, open_blocks, open_for, wrap, wrap_blocks


def test_a_seal_opens_for_its_maker_only():
    sealed = wrap("oai", "ENC:1")
    assert sealed == "gw1:oai:ENC:1"
    assert open_for("oai", sealed) == "ENC:1"
    assert open_for("gem", sealed) is None
    assert open_for("ant", sealed) is None


def test_a_bare_seal_is_anthropics():
    assert open_for("ant", "EqQB") == "EqQB"
    assert open_for("oai", "EqQB") is None


@pytest.mark.parametrize("opaque", ["", NONE, "gw1:", "gw1:oai", "gw1:oai:"])
def test_there_are_seals_that_open_for_nobody(opaque):
    assert all(open_for(maker, opaque) is None for maker in ("ant", "oai", "gem"))


@given(
    st.lists(
        st.one_of(
            st.builds(Thinking, st.text(max_size=9), st.text(max_size=9)),
            st.builds(Redacted, st.text(max_size=9)),
        ),
        max_size=4,
    )
)
def test_blocks_come_back_as_they_went(blocks):
    assert open_blocks(wrap_blocks(blocks)) == blocks


@pytest.mark.parametrize(
    "opaque",
    ["", "EqQB", "gw1:oai:x", "gw1:ant:", "gw1:ant:?", "gw1:ant:AAA", "gw1:ant:ü", "gw1:ant:AAAA"]
    + [
        wrap("ant", base64.urlsafe_b64encode(plain).decode())
        for plain in (
            b"{}",
            b"[5]",
            b'[{"type":"text"}]',
            b'[{"type":"thinking","thinking":5,"signature":"S"}]',
        )
    ],
)
def test_what_was_tampered_with_holds_no_blocks(opaque):
    assert open_blocks(opaque) == []
