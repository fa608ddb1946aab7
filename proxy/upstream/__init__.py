"""The way to a provider: connections and the exchanges on them."""
