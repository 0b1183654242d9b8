"""Fuzz targets: what a stranger's bytes reach, each with an oracle that knows what the answer has to be."""
