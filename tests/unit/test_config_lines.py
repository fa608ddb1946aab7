"""Lines of keys, found in documents of every TOML form."""

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from proxy.config.lines import key_lines

DOCUMENT = '''\
top = 1 # [not.a.table]

[server]
listen = [
    "a", # first
    "b",
]
"quoted \\" key" = 'literal # no comment'
text = """
[also.not]
x = 1 \\""" still """
raw = \'\'\'
it's = \'\'\'

[a.b]
c.d = { e = 1, f = [ { g = 2 } ] }

[[models]]
name = "one"
[models.timeouts]
idle = "1s"

[[models]]
name = "two"
timeouts.idle = "2s"
[[models.cost]]
input = 1
[[models.cost]]
input = 2
'''


def test_every_form_of_key_is_found():
    tomllib.loads(DOCUMENT)
    lines = key_lines(DOCUMENT)
    expected = {
        ("top",): 1,
        ("server",): 3,
        ("server", "listen"): 4,
        ("server", "listen", 0): 5,
        ("server", "listen", 1): 6,
        ("server", 'quoted " key'): 8,
        ("server", "text"): 9,
        ("server", "raw"): 12,
        ("a", "b"): 15,
        ("a", "b", "c", "d", "e"): 16,
        ("a", "b", "c", "d", "f", 0, "g"): 16,
        ("models",): 18,
        ("models", 0): 18,
        ("models", 0, "name"): 19,
        ("models", 0, "timeouts"): 20,
        ("models", 0, "timeouts", "idle"): 21,
        ("models", 1): 23,
        ("models", 1, "name"): 24,
        ("models", 1, "timeouts", "idle"): 25,
        ("models", 1, "cost", 0, "input"): 27,
        ("models", 1, "cost", 1, "input"): 29,
    }
    assert {path: lines.get(path) for path in expected} == expected


keys = st.from_regex(r"[a-z]{1,3}", fullmatch=True)
scalars = st.integers().map(str) | st.sampled_from(
    ['"x"', "'#'", '"a\\"b"', '"""\nx = 1\n"""', "true", "1.5", "2027-01-01"]
)
inline = st.recursive(
    scalars,
    lambda value: (
        st.lists(value, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(keys, value.filter(lambda v: "\n" not in v), max_size=3).map(
            lambda table: "{" + ", ".join(f"{k} = {v}" for k, v in table.items()) + "}"
        )
    ),
    max_leaves=6,
)


@given(st.dictionaries(keys, st.dictionaries(keys, inline, max_size=4), max_size=4))
def test_every_key_is_on_the_line_that_it_is_found_on(tables):
    text = ""
    written = {}
    for name, pairs in tables.items():
        text += f"[{name}]\n"
        for key, value in pairs.items():
            written[name, key] = text.count("\n") + 1
            text += f"{key} = {value}  # {key}\n"
    tomllib.loads(text)
    lines = key_lines(text)
    assert {path: lines[path] for path in written} == written
