"""A small S3 origin that verifies signatures: the demo's, the tests' and the benchmarks'. Not part of the proxy."""
