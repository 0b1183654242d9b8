"""The short form of fuzzing: every seed, and a few thousand inputs near them, the same in every run."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from tests.fuzz import files, hits, messages, values
from tests.fuzz.mutation import mutated
from tests.fuzz.targets import TARGETS
from tests.hits import signatures
from tests.hits import test_recogniser as recognisers

from fastcache._core.leases import Leases

SHORT = {"stored_file": 400, "request_head": 1500, "response_head": 2000, "chunked": 1500, "leases": 400}
"""Inputs of the slower targets: each takes about a second."""


@pytest.mark.parametrize("name", TARGETS)
def test_a_stranger_s_bytes_are_handled_as_the_oracle_says(name: str) -> None:
    target = TARGETS[name]
    for data in (b"", *target.seeds, *mutated(target, SHORT.get(name, 4000), seed=1)):
        try:
            target.run(data)
        except BaseException as error:
            error.add_note(f"input: {data!r}")
            raise


@pytest.mark.parametrize("name", TARGETS)
def test_the_inputs_are_the_same_in_every_run_and_differ_from_the_seeds(name: str) -> None:
    target = TARGETS[name]
    inputs = list(mutated(target, 200, seed=7))
    assert inputs == list(mutated(target, 200, seed=7))
    assert len(set(inputs) - set(target.seeds)) > 100


class Forgetful(Leases):
    def revoke(self, lease_id: int) -> None:
        pass


MISTAKES = [
    (messages, "request_head", "forward_headers", lambda head: head.headers),
    (messages, "response_head", "render_response_head", lambda *_: b"HTTP/1.1 201 OK\r\n\r\n"),
    (messages, "chunked", "chunked_by_h11", lambda wire: b"another body"),
    (messages, "aws_chunked", "ChunkHead", tuple),
    (values, "range", "parse", lambda value: None),
    (values, "content_range", "parse_content_range", lambda value: None),
    (values, "date", "parse_http_date", lambda value: 784111778),
    (values, "conditions", "evaluate", lambda *_: 0),
    (files, "file_header", "pack", lambda header: b""),
    (files, "head_blob", "encode_head", lambda record: b""),
    (recognisers, "recogniser", "plain_fields", lambda *_, **__: None),
    (signatures, "signature", "signer", lambda *_: None),
    (hits, "leases", "Leases", Forgetful),
    (hits, "hit_records", "records", lambda taken: iter(())),
]


@pytest.mark.parametrize(("module", "name", "part", "mistake"), MISTAKES, ids=[name for _, name, _, _ in MISTAKES])
def test_a_target_notices_a_mistake(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, part: str, mistake: Any
) -> None:
    monkeypatch.setattr(module, part, mistake)
    failed = 0
    for data in TARGETS[name].seeds:
        try:
            TARGETS[name].run(data)
        except AssertionError:
            failed += 1
    assert failed


def test_the_target_of_files_notices_bytes_that_were_not_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.Files, "verify", lambda *_: None)
    (extent, *_) = (seed for seed in TARGETS["stored_file"].seeds if len(seed) > 3000)
    with pytest.raises(AssertionError):
        TARGETS["stored_file"].run(extent[:-1] + bytes([extent[-1] ^ 1]))
