"""OpenAI's chat completions, as OpenAI and everybody who is compatible with it speak them."""
