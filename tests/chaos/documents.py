"""JSON that is right (``y``), wrong (``n``), or that parsers disagree on (``i``), by families and without a copy of anybody's list."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple


class Case(NamedTuple):
    """``value`` stands where a JSON value stands."""

    kind: Literal["y", "n", "i"]
    name: str
    value: bytes


_RIGHT = {
    "numbers": [b"0", b"-0", b"1", b"-1", b"0.5", b"-0.0", b"1e1", b"1E+2", b"1e-2", b"123.456e7", b"0e0", b"20e1", b"1.0000",
                b"9007199254740993", b"-9223372036854775808", b"18446744073709551615", b"0.1e-7", b"2.2250738585072014e-308"],
    "words": [b"true", b"false", b"null"],
    "strings": [b'""', b'"a"', b'"\\""', b'"\\\\"', b'"\\/"', b'"/"', b'"\\b\\f\\n\\r\\t"', b'"\\u0000"', b'"\\u0041"', b'"\\u00e9"',
                b'"\\uD83D\\uDE00"', b'"\\uFFFF"', b'"\\uFFFE"', b'"\\u2028\\u2029"', b'"\\u200B"', b'"\\u202e"', b'"\\uDBFF\\uDFFF"',
                '"é€😀"'.encode(), b'"\x7f"', b'"\xe2\x80\xa8"', b'"\xef\xbb\xbf"', b'"\xf4\x8f\xbf\xbf"', b'"\xef\xbf\xbf"', b'"a/*b*/c"',
                b'"[[[[{{{{"', b'"\\\\u0000"', b'"\\\\\\""', b'" "', b'"data: x"'],
    "arrays": [b"[]", b"[ ]", b"[1]", b"[[]]", b"[1,2]", b"[1 ,2]", b"[\n1\t]", b"[[],[[]]]", b'[null,1,"1",{}]', b"[1,null,null,2]"],
    "objects": [b"{}", b"{ }", b'{"a":1}', b'{"a":1,"b":2}', b'{"":0}', b'{"a":{}}',
                b'{"\\u0061":1}', b'{"__proto__":{"a":1}}', b'{"constructor":null}', b'{"a\\u0000b":1}', b'{"model":"other"}',
                '{"é":1}'.encode(), b'{"a" :1}', b'{"a": 1 }'],
}  # fmt: skip
_WRONG = {
    "numbers": [b"-", b"+1", b"++1", b"-+1", b"01", b"-01", b"00", b"1.", b".5", b"-.5", b"1.e1", b"1e", b"1e+", b"1E-", b"0e", b"1eE2", b"1.2.3",
                b"0x1F", b"0b1", b"0o7", b"1_000", b"1 000", b"NaN", b"-NaN", b"nan", b"Infinity", b"-Infinity", b"inf", b"1/2", b"1+1", b"--1",
                b"- 1", b"1a", b"1e1e1", b"\xd9\xa1", b"\xef\xbc\x91", b"1,5", b"0.3e", b"1.0e", b"2.e+3"],
    "words": [b"True", b"FALSE", b"nul", b"nulll", b"truee", b"tru", b"undefined", b"None", b"a", b"null1", b"t", b"\xc3\xa9"],
    "strings": [b"'a'", b'"', b'"a', b'a"', b'"\\"', b'"\\x41"', b'"\\a"', b'"\\0"', b'"\\u"', b'"\\u1"', b'"\\u123"', b'"\\u{41}"', b'"\\uZZZZ"',
                b'"\\U00000041"', b'"\\ "', b'"\\\xc3\xa9"', b"`a`", b'"a" "b"', b'"\xff"', b'"\xc0\x80"', b'"\xed\xa0\x80"', b'"\xed\xbf\xbf"',
                b'"\xe2\x82"', b'"\xf4\x90\x80\x80"', b'"\xf8\x88\x80\x80\x80"', b'"\x80"', b'"\xc3"', b'"\xfe"', b'"\\uD83D\\u"', b'\\u0022a"',
                *(b'"a%cb"' % code for code in range(0x20))],
    "arrays": [b"[", b"]", b"[1", b"[1,", b"[1,]", b"[,1]", b"[,]", b"[1,,2]", b"[1,,]", b"[1 2]", b"[1:2]", b"[1}", b"[[]", b"[]]", b"[1;2]",
               b'["a"', b'["a",', b"[1,\n1\n,1", b"[*]", b"[...]", b"(1)", b"[\x0c]", b"[\x0b]", b"[\xa0]", b"[\xc2\xa0]", b"[\xe2\x81\xa0]",
               b"[\xef\xbb\xbf]", b"[\x00]", b"<a>", b"[a]", b"[1,\x00]", b"[/**/]", b"[//\n]", b"[#\n]"],
    "objects": [b"{", b"}", b'{"a"', b'{"a":', b'{"a":1', b'{"a":1,', b'{"a":1,}', b"{,}", b'{,"a":1}', b'{"a":1,,"b":2}', b'{"a"}', b'{"a",1}',
                b'{"a" 1}', b'{"a"::1}', b'{"a"=1}', b'{"a"=>1}', b"{a:1}", b"{'a':1}", b"{1:1}", b"{null:1}", b"{true:1}", b"{[]:1}", b"{{}:1}",
                b'{"a":1]', b'{"a":1}}', b'{"a":1 "b":2}', b'{"a":1;"b":2}', b'{"a":/**/1}', b'{"a":1}//', b'{"a":1}#', b'{"\xff":1}', b'{"\n":1}',
                b'{"a":}', b"{:1}", b'{"a":1,"b"}', b'{"a":"b" "c"}', b'{"a":\x00 1}', b'{{"a":1}}', b"{...a}", b"{\\u0061:1}",
                # JSON, but of two parsers one may take the first, and bodies go on as they are.
                b'{"a":1,"a":2}', b'{"a":1,"\\u0061":1}'],
}  # fmt: skip
_ODD = {
    "numbers": [b"1e400", b"-1e400", b"1e-400", b"1" * 20, b"-" + b"1" * 20, b"1" * 100, b"1" * 4301, b"1" * 20_000, b"0." + b"1" * 20_000,
                b"1e" + b"9" * 20, b"1e-" + b"9" * 20, b"123456789012345678901234567890.5", b"18446744073709551616", b"1e308", b"1.8e308",
                b"-9223372036854775809", b"0.4e00669999999999999999999999999999999999999999999999999999999"],
    "strings": [b'"\\ud800"', b'"\\udc00"', b'"\\ud800\\ud800"', b'"\\udc00\\ud800"', b'"\\ud800\\u0041"', b'"\\ud83d\\ude"', b'"\\ud800a"',
                b'"\\uD800\\n"', b'"\\uDd1ea"', b'"' + b"x" * 200_000 + b'"', b'"' + b"\\u0041" * 50_000 + b'"', b'"' + b"\\ud83d\\ude00" * 10_000 + b'"'],
    "arrays": [b"[" * depth + b"]" * depth for depth in (50, 90, 99, 100, 101, 128, 254, 255, 500, 1000, 1024, 1025, 5000)],
    "objects": [b'{"a":' * depth + b"1" + b"}" * depth for depth in (50, 90, 99, 100, 101, 128, 254, 255, 500, 1000, 1024, 1025, 5000)]
    + [b'{"\\ud800":1}', b"{" + b",".join(b'"%d":0' % n for n in range(20_000)) + b"}", b'{"' + b"k" * 100_000 + b'":1}'],
}  # fmt: skip


def values() -> Iterator[Case]:
    """Yield every case as a value."""
    for kind, families in (("y", _RIGHT), ("n", _WRONG), ("i", _ODD)):
        for family, cases in families.items():
            for number, value in enumerate(cases):
                yield Case(kind, f"{family} {number}: {value[:30]!r}", value)  # type: ignore[arg-type]  # of these three


def around(good: bytes) -> Iterator[Case]:
    """Yield whole bodies, made of one that is right, in which what is around the document or its encoding is not."""
    text = good.decode()
    for name, value in {
        "white space": b" \t\r\n" + good + b"\n ", "a byte order mark": b"\xef\xbb\xbf" + good,
    }.items():  # fmt: skip
        yield Case("y", name, value)
    for coding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "utf-7"):
        # ASCII's UTF-7 is ASCII but for the plus.
        yield Case("n", coding, f"+{text}".encode(coding))
    endings = (
        b"x", b"}", b"]", b",", b"{}", b"null", b"\0", b"\x1a", b"#", b"//", b"/*", b"\xef\xbb\xbf", b"\xff", b"\x0c", b"\xc2\xa0", b"\xe2\x80\xa8",
        b";", b'"', good,
    )  # fmt: skip
    for ending in endings:
        yield Case("n", f"followed by {ending[:10]!r}", good + ending)
        yield (
            Case("n", f"behind {ending[:10]!r}", ending + good)
            if ending != b"\xef\xbb\xbf"
            else Case("n", "two byte order marks", ending * 2 + good)
        )
    for cut in range(len(good)):
        yield Case("n", f"cut at {cut}", good[:cut])


def deep(*, long: bool) -> Iterator[Case]:
    """Yield bodies that are mostly brackets."""
    depths = (100, 101, 255, 1025, 100_000, 5_000_000) if long else (101, 1025, 100_000)
    for depth in depths:
        yield Case("n", f"{depth} arrays that stay open", b"[" * depth)
        yield Case("n", f"{depth} arrays", b"[" * depth + b"]" * depth)
        yield Case("n", f"{depth} objects", b'{"a":' * depth)
        yield Case("n", f"{depth} closings", b"]" * depth)
        if depth > 100:
            inside = b'{"a":' + b'[{"b":' * (depth // 2) + b"1" + b"}]" * (depth // 2) + b"}"
            yield Case("n", f"{depth} of both in a member", inside)


def huge(size: int) -> Iterator[Case]:
    """Yield bodies of about ``size`` bytes of one thing; what they are called tells which."""

    def full(one: bytes) -> bytes:
        return b",".join([one] * (size // (len(one) + 1)))

    yield Case("n", "empty objects", b'{"a":[' + full(b"{}") + b"]}")
    yield Case("n", "empty arrays", b'{"a":[' + full(b"[]") + b"]}")
    yield Case("n", "brackets in a string", b'{"a":"' + b"[" * size + b'"}')
    yield Case("i", "zeros", b'{"a":[' + full(b"0") + b"]}")
    yield Case("i", "nulls", b'{"a":[' + full(b"null") + b"]}")
    yield Case("i", "fractions", b'{"a":[' + full(b"0.123456789") + b"]}")
    yield Case("i", "empty strings", b'{"a":[' + full(b'""') + b"]}")
    yield Case(
        "i",
        "members",
        b'{"a":{' + b",".join(b'"%x":0' % number for number in range(size // 10)) + b"}}",
    )
    yield Case("i", "one string", b'{"a":"' + b"x" * size + b'"}')
    yield Case("i", "one string of escapes", b'{"a":"' + b"\\u00e9" * (size // 6) + b'"}')
    yield Case("i", "one name", b'{"' + b"x" * size + b'":1}')
    yield Case("i", "one number", b'{"a":' + b"1" * size + b"}")
    yield Case("i", "white space", b" " * size + b"{}")
    yield Case("n", "nothing but white space", b" " * size)
