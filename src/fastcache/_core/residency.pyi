BY_CACHESTAT: int
BY_READ: int

def resident(fd: int, offset: int, length: int, ways: int = 3) -> bool: ...
