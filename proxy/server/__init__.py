"""The edge: what a client's connection meets first."""
