"""For C callers only; what Python sees is ``fastcache._core.intervals``."""
