"""What the tests share: real S3 servers, fastcache as a process, real clients and a raw HTTP client."""
