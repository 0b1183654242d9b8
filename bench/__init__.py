"""Benchmarks of fastcache: whole processes over loopback (``python -m bench``), and functions (``pytest bench``)."""
