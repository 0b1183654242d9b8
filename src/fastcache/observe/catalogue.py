"""Every metric there is: name, labels, help. docs/metrics.md says the same, and a test compares them."""

from __future__ import annotations

import enum
from dataclasses import dataclass

PREFIX = "fastcache_"


class Merge(enum.StrEnum):
    """How a gauge of several worker processes becomes one number."""

    SUM = "sum"
    MAX = "max"
    MIN = "min"


@dataclass(frozen=True, slots=True)
class Counter:
    """A counter family; ``name`` ends in ``_total``."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HistogramFamily:
    """A histogram family in seconds."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Gauge:
    """A gauge that the owner of its value registers with ``Metrics.gauge``."""

    name: str
    help: str
    merge: Merge = Merge.SUM


REQUESTS = Counter(
    "fastcache_requests_total", "Client requests answered or given up.", labels=("method", "status", "result")
)
SENT_BYTES = Counter("fastcache_sent_bytes_total", "Body bytes sent to clients.")
REFUSED = Counter("fastcache_refused_total", "Requests and connections refused without asking the origin.", ("reason",))
CLIENT_OPENED = Counter("fastcache_client_connections_opened_total", "Client connections accepted.")
CLIENT_CLOSED = Counter("fastcache_client_connections_closed_total", "Client connections closed.")
ORIGIN_REQUESTS = Counter("fastcache_origin_requests_total", "Requests sent to origins.", ("method",))
ORIGIN_RESPONSES = Counter("fastcache_origin_responses_total", "Response heads received from origins.", ("status",))
ORIGIN_BYTES = Counter("fastcache_origin_received_bytes_total", "Body bytes received from origins.")
ORIGIN_OPENED = Counter("fastcache_origin_connections_opened_total", "Connections opened to origins.")
ORIGIN_ERRORS = Counter("fastcache_origin_errors_total", "Origin requests that failed, by kind of failure.", ("kind",))
CREDENTIALS = Counter(
    "fastcache_credentials_refreshes_total",
    "Attempts to renew the credentials requests to the origin are signed with: renewed, the same again, or failed.",
    ("outcome",),
)
FILLS_STARTED = Counter("fastcache_fills_started_total", "Fills started.")
FILLS = Counter("fastcache_fills_total", "Fills ended, by outcome.", ("outcome",))
FOLLOWERS = Counter("fastcache_followers_total", "Requests that joined a fill started by another request.")
FILLS_DETACHED = Counter(
    "fastcache_fills_detached_total", "Fills that stopped storing and went on from memory because writing was too slow."
)
STORE_COMMITS = Counter("fastcache_store_commits_total", "Extents and small objects committed.")
STORE_COMMIT_BYTES = Counter("fastcache_store_commit_bytes_total", "Object bytes committed.")
AHEAD_USED = Counter("fastcache_read_ahead_used_bytes_total", "Bytes fetched ahead of a reader that then came.")
AHEAD_WASTED = Counter(
    "fastcache_read_ahead_wasted_bytes_total", "Bytes fetched ahead that nobody came for, or that were evicted before."
)
STORE_EVICTED = Counter("fastcache_store_evicted_extents_total", "Extents evicted to make room.")
STORE_EVICTED_BYTES = Counter("fastcache_store_evicted_bytes_total", "Bytes on disk freed by eviction.")
STORE_CORRUPT = Counter("fastcache_store_corrupt_files_total", "Cache files found wrong in any field and discarded.")
STORE_IO_ERRORS = Counter("fastcache_store_io_errors_total", "System calls on the cache directory that failed.")
STORE_DROPPED = Counter(
    "fastcache_store_dropped_writes_total", "Small fills not stored because the write-behind buffer was full."
)
CLAIMS_REFUSED = Counter(
    "fastcache_fill_claims_refused_total", "Transfers that other workers could not be told of: no room for one more."
)
LOG_LINES = Counter("fastcache_access_log_lines_total", "Access log lines written.")
LOG_DROPPED = Counter(
    "fastcache_access_log_dropped_total", "Access log records lost: the buffer was full or the file failed."
)
LOG_ERRORS = Counter("fastcache_access_log_errors_total", "Failed writes and failed reopenings of the access log.")
GAUGE_ERRORS = Counter("fastcache_gauge_errors_total", "Gauges left out of an exposition: their value failed to read.")

PLAIN_COUNTERS = (
    SENT_BYTES,
    CLIENT_OPENED,
    CLIENT_CLOSED,
    ORIGIN_BYTES,
    ORIGIN_OPENED,
    FILLS_STARTED,
    FOLLOWERS,
    FILLS_DETACHED,
    AHEAD_USED,
    AHEAD_WASTED,
    STORE_COMMITS,
    STORE_COMMIT_BYTES,
    STORE_EVICTED,
    STORE_EVICTED_BYTES,
    STORE_CORRUPT,
    STORE_IO_ERRORS,
    STORE_DROPPED,
    CLAIMS_REFUSED,
    LOG_LINES,
    LOG_DROPPED,
    LOG_ERRORS,
    GAUGE_ERRORS,
)
PROCESS_DEATHS = Counter(
    "fastcache_process_deaths_total", "Processes that ended without being told to; each is replaced.", ("role",)
)
RELOADS = Counter(
    "fastcache_reloads_total", "Reloads of the settings, by outcome: done, refused, failed.", ("outcome",)
)
HIT_BRANCH = Counter(
    "fastcache_hit_branch_total",
    "Requests by what the compiled hit branch made of them: answered; left to the engine because not recognised, not "
    "leased, their signature not verified, their bytes not ready, or no connection to ask the origin on (not_asked); "
    "passed on with the origin's answer; or taken over by it in the middle.",
    ("outcome",),
)
KEYS_RELOADS = Counter("fastcache_keys_reloads_total", "Readings of the keys file after the first.", ("outcome",))
UPLOADS_KEPT = Counter(
    "fastcache_uploads_kept_total",
    "Uploads that could be kept on their way to the origin, by what became of that: stored, or why not.",
    ("outcome",),
)
LABELLED_COUNTERS = (
    *(REQUESTS, REFUSED, HIT_BRANCH, ORIGIN_REQUESTS, ORIGIN_RESPONSES, ORIGIN_ERRORS, FILLS),
    *(CREDENTIALS, KEYS_RELOADS),
    *(PROCESS_DEATHS, RELOADS),
    UPLOADS_KEPT,
)
COUNTERS = {counter.name: counter for counter in PLAIN_COUNTERS + LABELLED_COUNTERS}

REQUEST_SECONDS = HistogramFamily(
    "fastcache_request_seconds", "From a request's head to the last byte of its answer.", ("result",)
)
FIRST_BYTE_SECONDS = HistogramFamily(
    "fastcache_first_byte_seconds", "From a request's head to the first byte of its answer.", ("result",)
)
LOOP_LAG_SECONDS = HistogramFamily("fastcache_loop_lag_seconds", "How late the event loop ran a timer of 100 ms.")
HISTOGRAMS = {family.name: family for family in (REQUEST_SECONDS, FIRST_BYTE_SECONDS, LOOP_LAG_SECONDS)}

GAUGES = {
    gauge.name: gauge
    for gauge in (
        Gauge("fastcache_open_connections", "Client connections open now."),
        Gauge("fastcache_cache_bytes", "Bytes the cache occupies on disk.", Merge.MAX),
        Gauge("fastcache_cache_capacity_bytes", "Bytes the cache may occupy.", Merge.MAX),
        Gauge("fastcache_memory_objects", "Objects whose head and extents are known in memory."),
        Gauge("fastcache_memory_extents", "Extents that are known in memory."),
        Gauge("fastcache_leases", "Objects, by the names they are asked for, that the hit branch may answer."),
        Gauge("fastcache_lease_memory_bytes", "Bodies of small objects kept in memory for the hit branch."),
        Gauge("fastcache_leased_files", "Cache files kept open for the hit branch."),
        Gauge("fastcache_fills_active", "Fills running now."),
        Gauge("fastcache_window_bytes", "Memory held by the windows of running fills."),
        Gauge("fastcache_origin_pool_connections", "Origin connections open now, idle ones included."),
        Gauge(
            "fastcache_credentials_expiry_seconds",
            "Until the credentials requests to the origin are signed with expire: 0 when there are none, +Inf when "
            "they never do.",
            Merge.MIN,
        ),
        Gauge("fastcache_keys", "Access keys in effect, disabled ones not counted.", Merge.MAX),
        Gauge("fastcache_workers", "Workers that accept connections."),
        Gauge("fastcache_workers_held_back", "Workers that died at once, repeatedly, and wait for their next start."),
        Gauge("fastcache_loop_lag_last_seconds", "The newest sample of the event loop's lag.", Merge.MAX),
    )
}

BUILD_INFO = "fastcache_build_info"
BUILD_INFO_HELP = "Always 1; the labels name the version of fastcache and of Python."
