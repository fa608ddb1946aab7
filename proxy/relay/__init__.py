"""The path of a call: pick an account, send the request, bring the answer to the client."""
