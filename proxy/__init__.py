"""Splice: an LLM gateway.

A client's call enters through ``server``, which knows its key, limits and dialect; ``relay`` picks
an account, sends the call through ``upstream`` and streams the answer back. Where both sides speak
the same dialect the bytes are spliced through untouched; elsewhere ``dialects`` translates them as
they pass. ``routing`` decides who is asked, and is pure. ``billing`` knows what it costs and keeps the
books: a journal before the last byte goes out, a ledger a moment later.

Dependencies point down, one layer a line (checked by ``tests/test_layers.py``)::

    cli                 the commands
    app                 puts the parts together; starts, drains
    server | demo       the public and admin listeners | a provider that costs nothing
    relay               the path of a call: pick, send, stream, settle
    upstream            one HTTP exchange with a provider, and the connections for it
    billing | routing   keys, prices, the books | names, accounts, cooldowns, limits
    dialects | config   wire formats | the configuration file
    providers           the known providers, as rows
    money | usage       amounts and their periods | token counts
    counts              what happens, counted
    metrics             every metric by its name
    tasks | errors | log | notify   what starts tasks | what clients, the log and systemd are told
"""

__version__ = "0.1.0"
