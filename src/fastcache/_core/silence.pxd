"""Looking at a socket that should be silent: no C face."""
