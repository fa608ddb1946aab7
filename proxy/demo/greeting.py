"""What `splice demo` prints: lines that work as they are pasted."""

from __future__ import annotations

from proxy.demo.models import MODELS


def greeting(base: str, admin: str, key: str, splice: str) -> str:
    """Return the text for a gateway at ``base`` (``http://host:port``) and its admin listener, with a ``key`` that works.

    ``splice`` is how a shell calls the command with the gateway's configuration.
    """
    chat = MODELS[0].id
    models = ", ".join(model.id for model in MODELS)
    return f"""
Splice is running with a demo provider that costs nothing. Ctrl-C ends it, and with it everything below.

A first call:

  curl -sN {base}/v1/chat/completions -H "Authorization: Bearer {key}" \\
    -d '{{"model": "{chat}", "stream": true, "messages": [{{"role": "user", "content": "Hello!"}}]}}'

The OpenAI SDK:

from openai import OpenAI
client = OpenAI(base_url="{base}/v1", api_key="{key}")
for chunk in client.chat.completions.create(model="demo-claude", stream=True,
                                            messages=[{{"role": "user", "content": "Hello!"}}]):
    print(chunk.choices[0].delta.content or "", end="", flush=True)

Claude Code:

  ANTHROPIC_BASE_URL={base} ANTHROPIC_AUTH_TOKEN={key} ANTHROPIC_MODEL=demo-claude claude

Codex:

  SPLICE_KEY={key} codex -m demo-gpt -c model_provider=splice \\
    -c 'model_providers.splice={{name="Splice", base_url="{base}/v1", env_key="SPLICE_KEY", wire_api="responses"}}'

Models    {models}
Try       "fail:429", "fail:cut", "fail:error", "slow:5s" or "long:200" inside a prompt
Admin     {admin}/healthz
Operate   {splice} accounts
"""
