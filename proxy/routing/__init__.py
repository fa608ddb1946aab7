"""Who takes a call: names, accounts, cooldowns, limits, and which account a conversation stays with."""
