"""Header fields: no C face."""
