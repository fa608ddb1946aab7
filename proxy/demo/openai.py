"""OpenAI's errors, which its two dialects tell alike."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from proxy.demo.refusal import Refused

# status → type, code
_ERRORS: Mapping[int, tuple[str, str | None]] = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("request_forbidden", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
    500: ("server_error", None),
    503: ("server_error", "service_unavailable"),
    529: ("server_error", "overloaded"),
}


def error(refused: Refused) -> dict[str, object]:
    """The body of an error; all four keys are always there."""
    kind, code = _ERRORS.get(refused.status, ("invalid_request_error", None))
    return {
        "error": {
            "message": refused.message,
            "type": kind,
            "param": refused.param,
            "code": refused.code or code,
        }
    }


def error_body(refused: Refused) -> bytes:
    return orjson.dumps(error(refused))


def unknown_model(name: str) -> Refused:
    return Refused(404, f"The model `{name}` does not exist or you do not have access to it.")
