"""Wire formats: bytes in, bytes out. Nothing here does I/O, reads a clock or writes a log."""
