"""Gate model throughput, latency and energy per inference with pytest, on a real Triton server."""

__version__ = "0.2.0"
