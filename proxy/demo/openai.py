"""What OpenAI's two dialects have in common: error bodies, strict schemas, tool names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import orjson

from proxy.demo.refusal import Refused

TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
EFFORTS = frozenset({"none", "minimal", "low", "medium", "high", "xhigh"})

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


def check_strict(schema: Mapping[str, object], where: str, name: str) -> None:
    """A strict schema closes every object and requires all of its properties."""
    for path, part in objects(schema):
        context = f"Invalid schema for {where} '{name}': In context=({path})"
        if part.get("additionalProperties") is not False:
            raise Refused(
                400,
                f"{context}, 'additionalProperties' is required to be supplied and to be false.",
                where,
                "invalid_json_schema",
            )
        properties, required = part.get("properties") or {}, part.get("required") or []
        if not isinstance(properties, Mapping) or not isinstance(required, list):
            continue
        if left_out := sorted(set(properties) - set(required)):
            raise Refused(
                400,
                f"{context}, 'required' is required to be supplied and to be an array including "
                f"every key in properties. Missing '{left_out[0]}'.",
                where,
                "invalid_json_schema",
            )


def objects(schema: object, path: str = "") -> Iterator[tuple[str, Mapping[str, object]]]:
    """Every part of a schema that describes an object, with its path."""
    if isinstance(schema, list):
        for index, item in enumerate(schema):
            yield from objects(item, f"{path}/{index}")
    if not isinstance(schema, Mapping):
        return
    if schema.get("type") == "object":
        yield path, schema
    for key in ("properties", "$defs", "definitions"):
        if isinstance(named := schema.get(key), Mapping):
            for name, part in named.items():
                yield from objects(part, f"{path}/{key}/{name}")
    for key in ("items", "anyOf", "oneOf", "allOf"):
        yield from objects(schema.get(key), f"{path}/{key}")


def check_tool_name(name: str, path: str) -> None:
    if TOOL_NAME.fullmatch(name) is None:
        raise Refused(
            400,
            f"Invalid '{path}': string does not match pattern. "
            "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.",
            path,
            "invalid_value",
        )
