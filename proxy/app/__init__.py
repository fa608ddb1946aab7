"""The composition root: a configuration becomes objects, listeners, and a process that ends in order."""
