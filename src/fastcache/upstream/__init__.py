"""Our own HTTP/1.1 client to the origin: raw paths and headers kept, TLS verified, connections pooled."""
