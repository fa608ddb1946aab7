"""What is told to whoever has no key yet: the front page, and the documents on how to call."""

from __future__ import annotations

from proxy.errors import GatewayError, Kind
from proxy.server.exchange import Exchange
from proxy.server.gateway import Gateway


async def front_page(gateway: Gateway, exchange: Exchange) -> None:
    """GET /: what this is, for whoever opens the base URL in a browser."""
    base = base_url(gateway, exchange)
    lines = (
        f"Splice {gateway.version}: one URL and one key for every model.",
        f"OpenAI SDKs      base_url = {base}/v1",
        f"Anthropic SDKs   base_url = {base}   (Google's SDKs too)",
        f"Claude Code      ANTHROPIC_BASE_URL={base}",
        f"Models           GET {base}/v1/models",
        f"How to call      {base}/docs/index.md  {base}/llms.txt  {base}/openapi.json",
        f"Health           {base}/healthz  {base}/readyz",
        "Your key goes into Authorization: Bearer, or x-api-key.",
    )
    exchange.text("\n".join(lines) + "\n")


async def document(gateway: Gateway, exchange: Exchange) -> None:
    """GET /openapi.json, /llms.txt, /llms-full.txt and /docs/{name}.md."""
    found = gateway.documents.find(exchange.path, base_url(gateway, exchange))
    if found is None:
        raise GatewayError(
            Kind.UNKNOWN_OBJECT, f"There is no page at {exchange.path[:128]}. /llms.txt lists them."
        )
    kind, body = found
    exchange.page(body, kind)


def base_url(gateway: Gateway, exchange: Exchange) -> str:
    """Return the URL that clients call: the one that the operator told, else the one that this client has called."""
    server = gateway.config.server
    scheme = "http" if server.tls is None else "https"
    return server.public_url or f"{scheme}://{exchange.request.headers.get('host') or 'localhost'}"
