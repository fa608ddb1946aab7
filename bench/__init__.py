"""What Splice costs: the gateway beside nginx (``bench.gateway``), the dialects by themselves (``bench.translate``), and the metrics
(``bench.metrics``)."""
