"""What a configuration chooses of the parts of a gateway: read when it starts, and again when it is reloaded."""

from __future__ import annotations

import ssl
from typing import Any

from proxy import __version__
from proxy.billing import pricelist
from proxy.billing.directory import Directory
from proxy.billing.tariff import Tariff
from proxy.config import Config, ConfigError, ReadOn
from proxy.counts import Metrics
from proxy.metrics import MAX_MODELS
from proxy.relay.tally import Tally
from proxy.relay.way import Ways
from proxy.routing.catalog import Catalog
from proxy.server import routes
from proxy.server.certificate import expiry
from proxy.server.listeners import CannotListen, tls_context


def chosen(config: Config) -> dict[str, Any]:
    """Return what the configuration chooses of the means of a call."""
    providers = {account.provider for account in config.accounts}
    return {
        "tariff": Tariff(config, pricelist.read(config.state.directory, providers)),
        "streaming": config.streaming,
        "retry": config.retry,
        "expose": config.server.expose,
        "ways": Ways(f"splice/{__version__}".encode()),
    }


def reads_on(config: Config) -> bool:
    """Tell whether any answer is read on when its client has left."""
    wishes = [config.streaming.on_disconnect, *(one.on_disconnect for one in config.accounts)]
    return any(isinstance(one, ReadOn) for one in wishes)


def counts_tokens(config: Config) -> bool:
    """Tell whether anybody has a limit by tokens."""
    return (
        any(account.tpm for account in config.accounts)
        or any(model.tpm for model in config.models)
        or any(key.tpm for key in config.keys)
    )


def tally(config: Config, catalog: Catalog, metrics: Metrics) -> Tally:
    """Return what counts requests by the names that ``config`` spells out."""
    names = catalog.named()[:MAX_MODELS]
    return Tally(metrics, names, routes.template, keys=config.metrics.keys)


def check_keys(config: Config, directory: Directory) -> None:
    """Raise ConfigError for keys that the database has as well."""
    conflicts = directory.roster.conflicts(config.keys)
    if conflicts:
        raise ConfigError(*conflicts)


def adopt_keys(config: Config, directory: Directory) -> None:
    """Tell the keys of the database which names ``config`` has taken, and how a new key begins."""
    directory.roster.adopt({key.name: key.hash for key in config.keys}, config.keys_policy.prefix)


def renew_certificate(config: Config, context: ssl.SSLContext | None) -> float | None:
    """Read the certificate that ``config`` names into ``context``, for the connections to come; return when it ends.

    Raises ConfigError for files that are no certificate, and where TLS would begin or end: a listener cannot change that.
    """
    if (config.server.tls is None) != (context is None):
        raise ConfigError("server.tls: found a change from or to plain HTTP, which needs a restart")
    if config.server.tls is None or context is None:
        return None
    try:
        # Tried on a context of its own first: half of a pair would break the one that serves.
        tls_context(config.server.tls)
        ends = expiry(config.server.tls.cert_file)
        context.load_cert_chain(config.server.tls.cert_file, config.server.tls.key_file)
    except (CannotListen, OSError, ValueError) as error:
        raise ConfigError(f"server.tls: {error}") from error
    return ends
