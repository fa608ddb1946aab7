"""The provider of `splice demo`: a real server on loopback that speaks all four upstream dialects.

It costs nothing, calls nobody, and is as strict about requests as the real providers are, so that
a gateway in front of it is really tested:

    request body ── chat · responses · messages · gemini ──▶ Prompt        what was asked, in one shape
                                                     Prompt ── brain ──▶ Plan   what will be answered
    answer bytes ◀── the same dialect's Call.document / Call.frames ── Plan

Everything but ``provider`` is pure: no clock, no socket.
"""

from proxy.demo.configuration import config_text
from proxy.demo.models import MODELS, Model
from proxy.demo.provider import Running, start

__all__ = ["MODELS", "Model", "Running", "config_text", "start"]
