"""The configuration as values: one frozen dataclass for each section, with its defaults.

Durations are seconds, sizes are bytes, money is USD. None means "none": no limit, not set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal

from proxy.config.secrets import Secret
from proxy.money import Period
from proxy.providers import Provider

Expose = Literal["account", "upstream_model", "attempts", "upstream_request_id"]
Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "json", "text"]

Unpriced = Literal["record", "refuse"]
Network = IPv4Network | IPv6Network
Json = str | int | float | bool | list["Json"] | dict[str, "Json"]


# What is listened on.


@dataclass(frozen=True, slots=True)
class TcpAddress:
    host: str
    """Without brackets: ``::1``."""
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    path: Path

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True)
class SystemdAddress:
    """A socket that systemd hands over, by its FileDescriptorName."""

    name: str

    def __str__(self) -> str:
        return f"systemd:{self.name}"


Address = TcpAddress | UnixAddress | SystemdAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    cert_file: Path
    key_file: Path


# The daemon.


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    listen: tuple[Address, ...] = (TcpAddress("127.0.0.1", 8080),)
    public_url: str = ""
    trusted_proxies: tuple[Network, ...] = ()
    cors_origins: tuple[str, ...] = ()
    expose: frozenset[Expose] = frozenset()
    tls: Tls | None = None
    max_body: int = 32 << 20
    max_upload: int = 2 << 30
    grace_period: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Admin:
    listen: tuple[Address, ...] = (TcpAddress("127.0.0.1", 8081),)
    token: Secret | None = None
    read_token: Secret | None = None
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1")


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    directory: Path
    """Always set: the default is worked out from the environment when the file is loaded."""
    retain_requests: float = 90 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Logging:
    level: Level = "info"
    format: Format = "auto"


# A call.


@dataclass(frozen=True, slots=True)
class ReadOn:
    """When the client has left, read the upstream's answer for this long to learn its usage."""

    seconds: float


OnDisconnect = Literal["cancel"] | ReadOn


@dataclass(frozen=True, slots=True, kw_only=True)
class Streaming:
    heartbeat: float = 15.0
    on_disconnect: OnDisconnect = "cancel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    connect: float = 5.0
    first_content: float = 300.0
    response: float = 600.0
    idle: float = 300.0
    total: float = 1800.0
    client_write: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    attempts: int = 3
    queue_timeout: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cooldown:
    base: float = 5.0
    max_burst: float = 300.0
    max_quota: float = 900.0
    probe_interval: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    concurrency: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    strict: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    keys: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysPolicy:
    prefix: str = "sk-splice-"


# Prices, in USD per million tokens (searches and requests: per thousand).


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """None: not stated. Whoever prices falls back from a cache or audio rate to the plain one."""

    input: Decimal | None = None
    output: Decimal | None = None
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_1h: Decimal | None = None
    audio_input: Decimal | None = None
    audio_output: Decimal | None = None
    searches_kcount: Decimal | None = None
    requests_kcount: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """The rates of a whole request whose input, cache included, is over ``above`` tokens."""

    above: int
    rates: Rates


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceEntry:
    rates: Rates
    tiers: tuple[Tier, ...] = ()
    """Ascending by ``above``."""
    since: datetime | None = None
    """The first moment (UTC) at which it holds; None: always has."""
    hours: tuple[int, int] | None = None
    """Two minutes of the UTC day, between which it holds; None: all day."""
    service_tiers: Mapping[str, PriceEntry] = field(default_factory=dict)
    """What holds instead for calls that the upstream bills under such a tier; without dates and hours of their own."""


Prices = tuple[PriceEntry, ...]
"""Ascending by ``since``, never empty: the last entry that has begun, and whose hours these are, is the one that holds."""


# Who is called, and under which names.


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    name: str
    provider: str
    """A key of ``Config.providers``; aliases are already resolved."""
    api_key: Secret | None = None
    base_url: str | None = None
    """None: the provider's own."""
    models: tuple[str, ...] = ("*",)
    """Globs of upstream model ids."""
    weight: int = 1
    priority: int = 0
    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None
    budget_usd: Decimal | None = None
    budget_period: Period | None = None
    cost_multiplier: Decimal = Decimal(1)
    proxy: str | None = None
    on_disconnect: OnDisconnect | None = None
    """None: as ``Streaming`` says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    provider: str
    """A key of ``Config.providers``; aliases are already resolved."""
    model: str
    """The upstream's own id; may contain slashes."""
    order: int
    """Lower first; equal ones share by weight. Unnumbered targets count from 1 as they are listed."""
    weight: int = 1
    account: str | None = None
    """The only account that may be asked, whatever its globs: it has what the call refers to. No configuration sets this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    name: str
    aliases: tuple[str, ...] = ()
    targets: tuple[Target, ...] = ()
    """Ascending by ``order``. Empty: the name is resolved as if this table did not exist."""
    fallbacks: tuple[str, ...] = ()
    """Names (not aliases) of other ``Config.models``."""
    defaults: Mapping[str, Json] = field(default_factory=dict)
    override: Mapping[str, Json] = field(default_factory=dict)
    cost: Prices | None = None
    price: Prices | None = None
    rpm: int | None = None
    tpm: int | None = None
    timeouts: Timeouts | None = None
    """Complete: what the table does not name comes from ``[timeouts]``."""
    unpriced: Unpriced = "record"


Native = Literal["calls", "all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    name: str
    hash: str
    """Hex SHA-256 of the whole token."""
    team: str | None = None
    models: tuple[str, ...] = ("*",)
    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None
    """None: ``Limits.concurrency``."""
    budget_usd: Decimal | None = None
    budget_period: Period | None = None
    prepaid: bool = False
    credit_usd: Decimal | None = None
    allowance_usd: Decimal | None = None
    price_multiplier: Decimal = Decimal(1)
    expires: datetime | None = None
    """In UTC."""
    allow_ip: tuple[Network, ...] = ()
    """Empty: from anywhere."""
    enabled: bool = True
    native: Native = "calls"
    """What of a provider's own paths it may use: those that call models, or any, which is for an operator's own tools."""


# The whole.


@dataclass(frozen=True, slots=True)
class Setting:
    """One value in effect, and where it came from; secrets are masked."""

    key: str
    value: object
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    path: Path | None
    """The file that it was read from."""
    server: Server
    admin: Admin
    state: State
    logging: Logging
    streaming: Streaming
    timeouts: Timeouts
    retry: Retry
    cooldown: Cooldown
    limits: Limits
    translation: Translation
    metrics: Metrics
    keys_policy: KeysPolicy
    providers: Mapping[str, Provider]
    """The built-in rows with the file's tables merged over them, and the file's own."""
    accounts: tuple[Account, ...]
    models: tuple[Model, ...]
    keys: tuple[Key, ...]
    warnings: tuple[str, ...] = ()
    """What is allowed but should be looked at, one sentence each."""
    settings: tuple[Setting, ...] = field(default=(), compare=False, repr=False)
    """All of it again, as text with its origins, in the order of the sections."""
