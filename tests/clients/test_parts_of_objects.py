"""Reads of a part, and queries that need a part: right and warm, also of what was read whole before."""

from __future__ import annotations

import pytest
from tests.clients.reader import RangeReader
from tests.clients.readers import OTHERS
from tests.clients.sites import Site
from tests.clients.table_readers import ROW, TABLE_READERS, TableReader

MIB = 1024 * 1024
RANGE_READERS = {name: make for name, make in OTHERS.items() if issubclass(make, RangeReader)}


@pytest.mark.parametrize("make", RANGE_READERS.values(), ids=RANGE_READERS)
def test_parts_cold_warm_and_of_what_was_read_whole(counted_site: Site, make: type[RangeReader]) -> None:
    site = counted_site
    direct, through = make(site, direct=True), make(site)
    bucket, body = site.new_bucket(), make.body("parts", MIB)
    for key in ("parts", "whole"):
        site.direct.put_object(Bucket=bucket, Key=key, Body=body)
    assert through.whole(bucket, "whole") == body
    for start, end in ((0, 1000), (MIB // 3, MIB // 2), (MIB - 5, MIB)):
        expected = body[start:end]
        assert direct.part(bucket, "parts", start, end) == expected
        assert through.part(bucket, "parts", start, end) == expected
        before = site.moved(bucket)
        assert through.part(bucket, "parts", start, end) == expected
        assert through.part(bucket, "whole", start, end) == expected
        assert site.moved(bucket) == before, "a warm read moved body bytes"


@pytest.mark.parametrize("make", TABLE_READERS.values(), ids=TABLE_READERS)
def test_queries_of_a_part_cold_warm_and_of_what_was_read_whole(counted_site: Site, make: type[TableReader]) -> None:
    site = counted_site
    direct, through = make(site, direct=True), make(site)
    bucket, body = site.new_bucket(), make.body("query", MIB)
    least = 7 * MIB // ROW // 8
    for key in ("some", "whole"):
        site.direct.put_object(Bucket=bucket, Key=key, Body=body)
    expected = make.some_result(body, least)
    assert direct.some(bucket, "some", least) == expected
    before = site.moved(bucket)
    assert through.some(bucket, "some", least) == expected
    assert 0 < site.moved(bucket) - before < len(body) * 3 // 4, "more was read than the query needs"
    assert through.whole(bucket, "whole") == make.result(body)
    before = site.moved(bucket)
    assert through.some(bucket, "some", least) == expected
    assert through.some(bucket, "whole", least) == expected
    assert site.moved(bucket) == before, "a warm read moved body bytes"
