"""The ``fastcache`` command."""
