"""Who may call: keys by their digests, and what each may do."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from ipaddress import ip_address

from proxy.config.model import Key
from proxy.errors import GatewayError, Kind


def digest(token: str) -> str:
    """Return the hex SHA-256 of a whole token.

    A header may hold any bytes; aiohttp hands those that are no UTF-8 on as surrogates, which must hash and not raise.
    """
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


class Keyring:
    """The keys that are known, by digest: who looks one up with a wrong token learns nothing from the time it takes.

    Those of the configuration are replaced together, those of the database one by one.
    """

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._stored: dict[str, Key] = {}
        # A client sends the same token with every request. Only tokens that are somebody's are remembered, so strangers cannot
        # fill this, and looking one up tells them nothing either: the interpreter hashes with a secret of its own.
        self._by_token: dict[str, Key] = {}
        self.adopt(keys)

    def __len__(self) -> int:
        return len(self._configured) + len(self._stored)

    def adopt(self, keys: Iterable[Key]) -> None:
        """Go by these keys of a configuration from now on."""
        self._configured = {key.hash: key for key in keys}
        self._by_token.clear()

    def put(self, opens: str, key: Key) -> None:
        """Let the token with the digest ``opens`` open ``key``, a key of the database, from now on."""
        self._stored[opens] = key
        # What is remembered may be the key as it was. To hash each token once more costs less than to find out which.
        self._by_token.clear()

    def drop(self, opens: str) -> None:
        """Let the token with the digest ``opens`` open nothing from now on."""
        self._stored.pop(opens, None)
        self._by_token.clear()

    def find(self, token: str) -> Key | None:
        """Return the key that ``token`` opens."""
        key = self._by_token.get(token)
        if key is None:
            opens = digest(token)
            key = self._configured.get(opens) or self._stored.get(opens)
            if key is not None:
                self._by_token[token] = key
        return key


def check(key: Key, now: datetime, address: str | None) -> None:
    """Raise the 403 of a key that may not be used, now or from ``address`` (None: a unix socket)."""
    if not key.enabled:
        raise GatewayError(Kind.KEY_DISABLED, "This key is disabled.")
    if key.expires is not None and key.expires <= now:
        raise GatewayError(
            Kind.KEY_EXPIRED, f"This key expired on {key.expires:%Y-%m-%d %H:%M} UTC."
        )
    if key.allow_ip and (
        address is None or not any(ip_address(address) in net for net in key.allow_ip)
    ):
        raise GatewayError(Kind.ADDRESS_NOT_ALLOWED, "This key may not be used from your address.")
