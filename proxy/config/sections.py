"""The sections that are one table each: the daemon, and how it treats a call."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from proxy.config import model, values
from proxy.config.errors import Wrong
from proxy.config.model import OnDisconnect, ReadOn
from proxy.config.reader import Table
from proxy.config.values import Kind, choice, many

EXPOSE: Kind[tuple[model.Expose, ...]] = many(choice(get_args(model.Expose)))
LEVEL = choice(get_args(model.Level))
FORMAT = choice(get_args(model.Format))


def server(table: Table) -> model.Server:
    default = model.Server()
    expose = table.get("expose", EXPOSE, ())
    found = model.Server(
        listen=table.addresses("listen", default.listen, at_least=1),
        public_url=table.get("public_url", values.PUBLIC_URL, default.public_url),
        trusted_proxies=table.get("trusted_proxies", many(values.NETWORK), ()),
        cors_origins=table.get("cors_origins", many(values.ORIGIN), ()),
        expose=frozenset(expose),
        tls=_tls(table.table("tls")),
        max_body=table.get("max_body", values.SIZE, default.max_body),
        max_upload=table.get("max_upload", values.SIZE, default.max_upload),
        grace_period=table.get("grace_period", values.WAIT, default.grace_period),
    )
    table.finish()
    return found


def _tls(table: Table) -> model.Tls | None:
    cert_file, key_file = table.file("cert_file"), table.file("key_file")
    table.finish()
    if cert_file and key_file:
        return model.Tls(cert_file=cert_file, key_file=key_file)
    for given, absent in (("cert_file", "key_file"), ("key_file", "cert_file")):
        if table.raw(given) and not table.raw(absent):
            table.document.wrong(table.at(absent), "nothing", f"a path, as {given} has one")
    return None


def admin(table: Table) -> model.Admin:
    default = model.Admin()
    found = model.Admin(
        listen=table.addresses("listen", default.listen),
        token=table.secret("token"),
        read_token=table.secret("read_token"),
        hosts=table.get("hosts", many(values.HOST), default.hosts),
    )
    if found.token and found.token == found.read_token:
        table.document.wrong(
            table.at("read_token"), "the same secret as token", "another", "it may only read"
        )
    table.finish()
    return found


def state(table: Table) -> model.State:
    fallback, origin = _state_directory(table.document.environ)
    if table.raw("directory") in (None, ""):
        table.document.set(table.at("directory"), str(fallback), origin)
        directory = fallback
    else:
        given = table.optional("directory", values.STRING)
        directory = table.document.relative(given or "")
    found = model.State(
        directory=directory,
        retain_requests=table.get("retain_requests", values.DURATION, 90 * 86_400.0),
    )
    table.finish()
    return found


def _state_directory(environ: Mapping[str, str]) -> tuple[Path, str]:
    """Where state goes when the file does not say, and who decided it."""
    if environ.get("STATE_DIRECTORY"):
        # systemd lists several with colons when the unit has several; ours is the first.
        return Path(environ["STATE_DIRECTORY"].partition(":")[0]), "env STATE_DIRECTORY"
    if os.geteuid() == 0:
        return Path("/var/lib/splice"), "default"
    if environ.get("XDG_STATE_HOME"):
        return Path(environ["XDG_STATE_HOME"], "splice"), "env XDG_STATE_HOME"
    return Path(environ.get("HOME") or Path.home(), ".local/state/splice"), "default"


def logging(table: Table) -> model.Logging:
    default = model.Logging()
    found = model.Logging(
        level=table.get("level", LEVEL, default.level),
        format=table.get("format", FORMAT, default.format),
    )
    table.finish()
    return found


def _on_disconnect(value: object) -> OnDisconnect:
    match value:
        case "cancel":
            return "cancel"
        case {"read_on": duration, **rest} if not rest:
            return ReadOn(values.DURATION.parse(duration))
        case _:
            raise Wrong('"cancel" or { read_on = "5s" }')


def _show_on_disconnect(value: OnDisconnect) -> object:
    return {"read_on": values.show_duration(value.seconds)} if value != "cancel" else value


ON_DISCONNECT: Kind[OnDisconnect] = Kind(_on_disconnect, _show_on_disconnect)


def streaming(table: Table) -> model.Streaming:
    default = model.Streaming()
    found = model.Streaming(
        heartbeat=table.get("heartbeat", values.DURATION, default.heartbeat),
        on_disconnect=table.get("on_disconnect", ON_DISCONNECT, default.on_disconnect),
    )
    table.finish()
    return found


def timeouts(table: Table, default: model.Timeouts) -> model.Timeouts:
    """``[timeouts]``, or a model's own, whose defaults are those of ``[timeouts]``."""
    if len(table.path) > 1:
        table.default_origin = "[timeouts]"
    found = model.Timeouts(
        connect=table.get("connect", values.DURATION, default.connect),
        first_content=table.get("first_content", values.DURATION, default.first_content),
        response=table.get("response", values.DURATION, default.response),
        idle=table.get("idle", values.DURATION, default.idle),
        total=table.get("total", values.DURATION, default.total),
        client_write=table.get("client_write", values.DURATION, default.client_write),
    )
    table.finish()
    return found


def retry(table: Table) -> model.Retry:
    default = model.Retry()
    found = model.Retry(
        attempts=table.get("attempts", values.integer(1), default.attempts),
        queue_timeout=table.get("queue_timeout", values.WAIT, default.queue_timeout),
    )
    table.finish()
    return found


def cooldown(table: Table) -> model.Cooldown:
    default = model.Cooldown()
    found = model.Cooldown(
        base=table.get("base", values.DURATION, default.base),
        max_burst=table.get("max_burst", values.DURATION, default.max_burst),
        max_quota=table.get("max_quota", values.DURATION, default.max_quota),
        probe_interval=table.get("probe_interval", values.DURATION, default.probe_interval),
    )
    for cap in ("max_burst", "max_quota"):
        seconds: float = getattr(found, cap)
        if seconds < found.base:
            shown = values.show_duration
            table.document.wrong(
                table.at(cap), shown(seconds), f"base ({shown(found.base)}) or more"
            )
    table.finish()
    return found


def limits(table: Table) -> model.Limits:
    found = model.Limits(concurrency=table.get("concurrency", values.COUNT, 64))
    table.finish()
    return found


def translation(table: Table) -> model.Translation:
    found = model.Translation(strict=table.get("strict", values.BOOLEAN, default=False))
    table.finish()
    return found


def metrics(table: Table) -> model.Metrics:
    found = model.Metrics(keys=table.get("keys", values.BOOLEAN, default=False))
    table.finish()
    return found


def keys_policy(table: Table) -> model.KeysPolicy:
    found = model.KeysPolicy(prefix=table.get("prefix", values.PREFIX, model.KeysPolicy().prefix))
    table.finish()
    return found
