"""A request that the demo provider refuses, before a dialect has put it into its own words."""

from __future__ import annotations


class Refused(Exception):
    """``status`` is HTTP's; ``param`` is the JSON path at fault, ``code`` the word OpenAI has for it."""

    def __init__(
        self, status: int, message: str, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code


UNKNOWN_FIELD = "unknown_parameter"
MISSING_FIELD = "missing_required_parameter"

# Told to a client that is asked to wait; short, so that a person trying it sees the recovery.
RETRY_AFTER_SECONDS = 2
