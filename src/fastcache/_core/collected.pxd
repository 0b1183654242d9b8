"""What httptools calls back with: no C face."""
