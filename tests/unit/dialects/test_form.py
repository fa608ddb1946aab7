"""A form is read as it passes, and what two parsers would read differently is refused."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.form import MAX_FIELD, MAX_PARTS, Form, boundary_of, content_type_of
from proxy.errors import GatewayError, Kind

DISPOSITION = b"Content-Disposition: form-data; "


def part(head: bytes, value: bytes) -> bytes:
    return b"--xyz\r\n" + head + b"\r\n\r\n" + value + b"\r\n"


def field(name: bytes, value: bytes) -> bytes:
    return part(DISPOSITION + b'name="%b"' % name, value)


END = b"--xyz--\r\n"
FILE = part(
    DISPOSITION + b'name="file"; filename="a \\"b\\".wav"\r\nContent-Type: audio/wav',
    b"\0\r\n--xy\r\n-" * 50,
)
USUAL = field(b"model", b"whisper-1") + field(b"empty", b"") + FILE + field(b"other", b"x") + END


def read(*pieces: bytes, wanted=("model", "empty")) -> Form:
    form = Form(b"xyz", wanted)
    for piece in pieces:
        form.feed(piece)
    form.close()
    return form


def refused(*pieces: bytes, wanted=("model",)) -> str:
    with pytest.raises(GatewayError) as error:
        read(*pieces, wanted=wanted)
    assert error.value.kind is Kind.INVALID_REQUEST
    return str(error.value)


def test_the_fields_that_are_wanted_are_found_where_they_stand():
    form = read(USUAL)
    assert form.whole
    assert form.fields == {"model": "whisper-1", "empty": ""}
    assert form.names == ["model", "empty", "file", "other"]
    start, end = form.at["model"]
    assert USUAL[start:end] == b"whisper-1"
    start, end = form.at["empty"]
    assert USUAL[start - 4 : end + 7] == b"\r\n\r\n\r\n--xyz"


@given(st.lists(st.integers(1, len(USUAL) - 1), unique=True, max_size=40))
def test_it_does_not_matter_how_the_form_was_cut(places):
    marks = [0, *sorted(places), len(USUAL)]
    form = read(*(USUAL[a:b] for a, b in itertools.pairwise(marks)))
    assert (form.fields, form.at) == (read(USUAL).fields, read(USUAL).at)


def test_a_form_byte_by_byte_is_the_same_form():
    form = read(*(USUAL[at : at + 1] for at in range(len(USUAL))))
    assert (form.fields, form.at) == (read(USUAL).fields, read(USUAL).at)


def test_a_large_file_costs_nothing():
    form = Form(b"xyz", ["model"])
    form.feed(part(DISPOSITION + b'name="file"; filename="f"', b"")[:-2])
    for _ in range(64):
        form.feed(b"x" * 65_536)
        assert len(form._rest) < 16
    form.feed(b"\r\n" + END)
    form.close()
    assert form.names == ["file"]


def test_nothing_but_line_ends_may_follow_the_last_boundary():
    assert read(USUAL, b"\r\n", b"\r\n").whole
    assert "follows the last boundary" in refused(USUAL, b"--xyz")
    assert "follows the last boundary" in refused(USUAL + field(b"model", b"x"))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (field(b"model", b"a") + field(b"model", b"b") + END, "comes twice"),
        (part(DISPOSITION + b'name="model"; filename="m"', b"x") + END, "is a file in the form"),
        (b"preamble\r\n" + USUAL, "does not begin with its boundary"),
        (field(b"a", b"x")[:-2] + b"--xyz\r\n", "in the middle of a line"),
        (field(b"a", b"b\n--xyz\r\nc") + END, "in the middle of a line"),
        (b"--xyz \r\n", "not followed by the end of its line"),
        (b"--xyz\n" + DISPOSITION, "not followed by the end of its line"),
        (USUAL[:-9], "cut off"),
        (b"", "cut off"),
        (part(b"Content-Type: text/plain", b"x") + END, "Content-Disposition"),
        (part(DISPOSITION + b"name=a b", b"x") + END, "Content-Disposition"),
        (part(DISPOSITION + b"name=", b"x") + END, "Content-Disposition"),
        (b"--wrong", "does not begin with its boundary"),
        (part(DISPOSITION + b"name*=utf-8''model", b"x") + END, "Content-Disposition"),
        (part(DISPOSITION + b'name="a"; name="model"', b"x") + END, "Content-Disposition"),
        (part(DISPOSITION + b'name="mo\\"del"', b"x") + END, "Content-Disposition"),
        (
            part(DISPOSITION + b'name="a"\r\n' + DISPOSITION + b'name="model"', b"x") + END,
            "Content-Disposition",
        ),
        (part(DISPOSITION + b'name="a"\r\n ; x=y', b"x") + END, "that is none"),
        (part(DISPOSITION + b'name="a"\r\nnonsense', b"x") + END, "that is none"),
        (
            part(DISPOSITION + b'name="a"\r\nContent-Transfer-Encoding: base64', b"x") + END,
            "is encoded",
        ),
        (part(DISPOSITION + b'name="\xff"', b"x") + END, "name of a part of the form is not UTF-8"),
        (field(b"model", b"\xff") + END, "`model` is not UTF-8"),
        (field(b"model", b"x" * (MAX_FIELD + 1)) + END, "longer than 64 KiB"),
        (b"--xyz\r\n" + b"x" * 9_000, "header lines of a part of the form are too long"),
        (b"--xyz\r\nx: " + b"x" * 9_000 + b"\r\n\r\n", "too long"),
        (field(b"a", b"") * (MAX_PARTS + 1) + END, "more than 1,000 parts"),
    ],
)
def test_what_no_library_writes_is_refused(body, said):
    assert said in refused(body)


def test_a_field_that_is_sent_as_it_is_may_say_so():
    head = DISPOSITION + b'name="model"\r\nContent-Transfer-Encoding: 8bit'
    assert read(part(head, b"m") + END).fields == {"model": "m"}


@pytest.mark.parametrize(
    ("kind", "boundary"),
    [
        ("multipart/form-data; boundary=xyz", b"xyz"),
        ('Multipart/Form-Data;boundary="x y"', b"x y"),
        (
            "multipart/form-data; boundary=----WebKitFormBoundary7MA4YW",
            b"----WebKitFormBoundary7MA4YW",
        ),
    ],
)
def test_the_boundary_is_found(kind, boundary):
    assert boundary_of(kind) == boundary
    assert boundary_of(content_type_of(boundary).decode()) == boundary


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data",
        "multipart/mixed; boundary=xyz",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=a; boundary=b",
        'multipart/form-data; boundary="a\\"b"',
        f"multipart/form-data; boundary={'x' * 71}",
    ],
)
def test_a_boundary_that_is_none_is_refused(kind):
    with pytest.raises(GatewayError):
        boundary_of(kind)


@pytest.mark.parametrize("size", [1, 5, 1_000])
def test_what_the_file_holds_is_told_as_it_passes(size):
    parts: list[bytes] = []
    body = (
        b'--x\r\nContent-Disposition: form-data; name="other"; filename="f"\r\n\r\nno\r\n'
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\na\r\nb\r\n--x--\r\n'
    )
    form = Form(b"x", (), parts.append)
    for at in range(0, len(body), size):
        form.feed(body[at : at + size])
    assert b"".join(parts) == b"\r\na\r\nb\n"


def test_a_name_may_stand_without_its_quotes_as_dotnet_writes_it():
    form = Form(b"xyz", ("model",))
    form.feed(part(DISPOSITION + b"name=model", b"x") + END)
    assert form.fields == {"model": "x"}
    form = Form(b"xyz", ())
    form.feed(part(DISPOSITION + b"name=file; filename=f.txt", b"x") + END)
    assert form.names == ["file"]
