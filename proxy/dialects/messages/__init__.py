"""Anthropic's Messages API: the client dialect "messages" and the upstream dialect "anthropic"."""
