"""Sans-I/O HTTP/1.1 and S3: heads, framing, targets, query names, XML. No asyncio, os, socket or time here."""
