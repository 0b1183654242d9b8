from fastcache._core.streams import OUT_DEAD as OUT_DEAD
from fastcache._core.streams import OUT_DONE as OUT_DONE
from fastcache._core.streams import OUT_FILE as OUT_FILE
from fastcache._core.streams import OUT_PENDING as OUT_PENDING
from fastcache._core.streams import ConnectionStreams

class Reactor(ConnectionStreams):
    def drain(self) -> None: ...
    def sweep(self) -> None: ...
