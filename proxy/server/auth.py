"""Who is calling: the one key among the credentials that a request carries."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import parse_qsl

from multidict import CIMultiDictProxy, istr

from proxy.billing.keys import Keyring
from proxy.config.model import Key
from proxy.errors import GatewayError, Kind

MAX_CREDENTIAL = 1024
"""Characters; a key of ours has 60."""

_AUTHORIZATION = istr("authorization")
_HEADERS = (_AUTHORIZATION, istr("x-api-key"), istr("x-goog-api-key"))


def identify(headers: CIMultiDictProxy[str], query: str, keyring: Keyring) -> Key:
    """Return the key of a request, or raise the 401.

    A key may come as Bearer or Basic (as the user name), in ``x-api-key`` or ``x-goog-api-key``, or as ``?key=``. Some
    clients send two credentials, of which one is for somebody else: the one that is a key of ours counts. Two different
    keys of ours, or one header twice with different values, leave open who is meant.
    """
    tokens = _credentials(headers, query)
    if len(tokens) == 1:
        key = keyring.find(tokens[0][1])
        if key is not None:
            return key
    found: dict[str, tuple[str, Key]] = {}
    for source, token in tokens:
        key = keyring.find(token)
        if key is not None:
            found.setdefault(key.hash, (source, key))
    if len(found) == 1:
        return next(iter(found.values()))[1]
    if found:
        sources = " and ".join(source for source, _ in found.values())
        raise GatewayError(Kind.BAD_KEY, f"Two different keys came in {sources}: send one.")
    if tokens:
        raise GatewayError(
            Kind.BAD_KEY, "The API key is not valid. Check it for missing characters."
        )
    raise GatewayError(
        Kind.BAD_KEY,
        "No API key was given. Send it as `Authorization: Bearer KEY` or in `x-api-key`.",
    )


def _credentials(headers: CIMultiDictProxy[str], query: str) -> list[tuple[str, str]]:
    """Return the tokens of a request, each with where it stood."""
    tokens: list[tuple[str, str]] = []
    for name in _HEADERS:
        if name not in headers:
            continue
        values = headers.getall(name)
        if len(values) > 1 and len(set(values)) > 1:
            raise GatewayError(
                Kind.BAD_KEY, f"The header {name} came twice with different values: send it once."
            )
        value = values[0]
        token = _bearer_or_basic(value) if name is _AUTHORIZATION else value.strip()
        if token and len(token) <= MAX_CREDENTIAL:
            tokens.append((name, token))
    if "key=" in query:
        tokens += [("?key=", value) for name, value in parse_qsl(query) if name == "key" and value]
    return tokens


def _bearer_or_basic(value: str) -> str:
    if value.startswith("Bearer "):
        return value[7:].strip()
    scheme, _, rest = value.strip().partition(" ")
    rest = rest.strip()
    match scheme.lower():
        case "bearer":
            return rest
        case "basic":
            return _basic_user(rest)
        case _:
            # Some clients put the bare key here.
            return "" if rest else scheme


def _basic_user(encoded: str) -> str:
    """Return the user name of Basic credentials, which is where ``curl -u KEY:`` puts the key."""
    if len(encoded) > 2 * MAX_CREDENTIAL:
        return ""
    try:
        decoded = base64.b64decode(encoded.encode("ascii", "replace"), validate=True)
    except (binascii.Error, ValueError):
        return ""
    user, _, password = decoded.decode("utf-8", "surrogateescape").partition(":")
    return user or password
