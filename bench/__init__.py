"""What Splice costs: the gateway beside nginx (``bench.gateway``), and the dialects by themselves (``bench.translate``)."""
