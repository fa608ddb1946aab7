"""Who takes a call: names, accounts, and in later layers cooldowns and limits."""
