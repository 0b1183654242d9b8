"""Mounted buckets: where a request goes, what it is called there, and what its answer says here."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest
from tests.policy.heads import ADDRESSING, HOST

from fastcache.errors import RequestError
from fastcache.model import OriginId
from fastcache.policy.mounted_answers import (
    bucket_list_here,
    fields_there,
    headers_here,
    location_of,
    names_the_bucket,
    replacements,
)
from fastcache.policy.mounts import Mounts, Place, Translation
from fastcache.protocol.requests import parse_request_head
from fastcache.protocol.targets import parse_target
from fastcache.protocol.xml_rewriting import TextRewriter

DEFAULT = OriginId("http", "default.example.org", 80)
OTHER = OriginId("https", "other.example.org", 443)
MOUNTS = Mounts(
    DEFAULT,
    [
        (b"data", Place(OTHER, b"company-data-2026", "other")),
        (b"copy", Place(OTHER, b"company-copies", "other")),
        (b"private", Place(OTHER, b"private", "theirs")),
        (b"foreign", Place(DEFAULT, b"foreign", "theirs")),
        (b"short", Place(DEFAULT, b"a-very-long-name")),
        (b"taken", Place(DEFAULT, b"something-else")),
    ],
)


def translated(line: bytes, *fields: bytes, host: bytes = HOST) -> Translation:
    head = parse_request_head(b"\r\n".join((line + b" HTTP/1.1", b"Host: " + host, *fields, b"", b"")))
    return MOUNTS.translate(head, parse_target(head, ADDRESSING))


def refused(line: bytes, *fields: bytes) -> int:
    with pytest.raises(RequestError) as caught:
        translated(line, *fields)
    assert not caught.value.closes
    return caught.value.response_status


def test_a_bucket_is_where_it_is_mounted_or_at_the_default_endpoint() -> None:
    assert MOUNTS.place(b"data") == Place(OTHER, b"company-data-2026", "other")
    assert MOUNTS.place(b"plain") == Place(DEFAULT, b"plain")
    assert MOUNTS.place(b"company-data-2026") == Place(DEFAULT, b"company-data-2026")
    assert MOUNTS.place(None) == Place(DEFAULT, None)
    assert Mounts(DEFAULT).place(b"data") == Place(DEFAULT, b"data")


def test_wrong_mounts_are_refused() -> None:
    with pytest.raises(ValueError, match="mounted twice"):
        Mounts(DEFAULT, [(b"a", Place(OTHER, b"b")), (b"a", Place(OTHER, b"c"))])
    with pytest.raises(ValueError, match="on no bucket"):
        Mounts(DEFAULT, [(b"a", Place(OTHER, None))])


@pytest.mark.parametrize(
    ("line", "bucket", "raw_path"),
    [
        (b"GET /data/a%2Fb?versionId=1", b"company-data-2026", b"/company-data-2026/a%2Fb"),
        (b"GET /data", b"company-data-2026", b"/company-data-2026"),
        (b"GET /data/", b"company-data-2026", b"/company-data-2026/"),
        (b"GET /data//k", b"company-data-2026", b"/company-data-2026//k"),
        (b"GET /private/k", b"private", b"/private/k"),
        (b"GET /plain/k", b"plain", b"/plain/k"),
        (b"GET /", None, b"/"),
    ],
)
def test_the_target_there_differs_in_its_bucket_alone(line: bytes, bucket: bytes | None, raw_path: bytes) -> None:
    translation = translated(line)
    target = translation.target
    assert (target.bucket, target.raw_path) == (bucket, raw_path)
    assert replace(target, bucket=translation.asked.bucket, raw_path=translation.asked.raw_path) == translation.asked
    assert translation.renamed == (bucket == b"company-data-2026")


def test_a_virtual_hosted_bucket_is_renamed_in_the_host_alone() -> None:
    target = translated(b"GET /data/k", host=b"data.s3.example.com").target
    assert (target.bucket, target.key, target.raw_path) == (b"company-data-2026", b"data/k", b"/data/k")


@pytest.mark.parametrize(
    ("source", "there"),
    [
        (b"copy/k", b"/company-copies/k"),
        (b"/copy/a%20b?versionId=1", b"/company-copies/a%20b?versionId=1"),
        (b"%2Fcopy%2Fk", b"/company-copies%2Fk"),
        (b"copy%2fa+b", b"/company-copies%2fa+b"),
        (b"/data//k", b"/company-data-2026//k"),
    ],
)
def test_a_copy_source_of_the_same_endpoint_is_renamed(source: bytes, there: bytes) -> None:
    translation = translated(b"PUT /data/k", b"X-Amz-Copy-Source: " + source, b"x-amz-meta-source: copy/k")
    assert translation.headers[1:] == ((b"X-Amz-Copy-Source", there), (b"x-amz-meta-source", b"copy/k"))


def test_a_copy_source_that_has_its_own_name_there_stays_as_it_is() -> None:
    translation = translated(b"PUT /plain/k", b"x-amz-copy-source: other%2Fk")
    assert translation.headers[1:] == ((b"x-amz-copy-source", b"other%2Fk"),)
    assert translated(b"PUT /plain/k", b"x-amz-copy-source: short/k").headers[1][1] == b"/a-very-long-name/k"


@pytest.mark.parametrize(
    ("target", "source"), [(b"data", b"plain"), (b"plain", b"data"), (b"data", b"private"), (b"data", b"short")]
)
def test_a_copy_between_endpoints_or_credentials_is_not_implemented(target: bytes, source: bytes) -> None:
    assert refused(b"PUT /" + target + b"/k", b"x-amz-copy-source: /" + source + b"/k") == 501


@pytest.mark.parametrize("source", [b"", b"k", b"/", b"//data/k", b"d%61ta/k", b"arn:aws:s3:::data/k", b"data"])
def test_a_copy_source_that_names_no_bucket_and_key_is_refused(source: bytes) -> None:
    assert refused(b"PUT /data/k", b"x-amz-copy-source: " + source) == 400


@pytest.mark.parametrize(
    "line",
    [
        b"POST /data",
        b"POST /data/",
        b"POST /data/k?restore",
        b"PUT /data?policy",
        b"GET /data?policy",
        b"PUT /data?logging",
        b"PUT /data?replication",
        b"PUT /data?inventory&id=x",
        b"PUT /data/k?renameObject",
    ],
)
def test_what_names_buckets_elsewhere_is_not_implemented_for_a_renamed_one(line: bytes) -> None:
    assert refused(line) == 501
    assert not translated(line.replace(b"data", b"private")).renamed
    assert not translated(line.replace(b"data", b"plain")).renamed


ANSWERS = [
    (b"GET /data?list-type=2", b"<ListBucketResult><Name>THERE</Name><Contents><Key>THERE</Key></Contents>%s"),
    (b"GET /data?versions", b"<ListVersionsResult><Name>THERE</Name>%s"),
    (b"GET /data?uploads", b"<ListMultipartUploadsResult><Bucket>THERE</Bucket>%s"),
    (b"GET /data/k?uploadId=u", b"<ListPartsResult><Bucket>THERE</Bucket><Key>k</Key>%s"),
    (b"POST /data/k?uploads", b"<InitiateMultipartUploadResult><Bucket>THERE</Bucket><Key>k</Key>%s"),
]


@pytest.mark.parametrize(("line", "document"), ANSWERS)
def test_an_answer_names_the_bucket_as_the_client_does(line: bytes, document: bytes) -> None:
    document = document % (b"</" + document[1:].partition(b">")[0] + b">")
    translation = translated(line)
    assert names_the_bucket(translation, line.split()[0], 200)
    rewriter = TextRewriter(replacements(translation, b"http", HOST))
    result = rewriter.feed(document.replace(b"THERE", b"company-data-2026")) + rewriter.finish()
    assert result == document.replace(b"THERE", b"data", 1).replace(b"THERE", b"company-data-2026")


def test_a_completed_upload_is_where_the_client_finds_it() -> None:
    translation = translated(b"POST /data/a%20b/%25?uploadId=u")
    assert names_the_bucket(translation, b"POST", 200)
    rewriter = TextRewriter(replacements(translation, b"http", HOST))
    document = (
        b"<CompleteMultipartUploadResult><Location>https://company-data-2026.other.example.org/a%20b/%25</Location>"
        b"<Bucket>company-data-2026</Bucket><Key>a b/%</Key></CompleteMultipartUploadResult>"
    )
    assert rewriter.feed(document) + rewriter.finish() == (
        b"<CompleteMultipartUploadResult><Location>http://" + HOST + b"/data/a%20b/%25</Location>"
        b"<Bucket>data</Bucket><Key>a b/%</Key></CompleteMultipartUploadResult>"
    )
    virtual = translated(b"POST /k?uploadId=u", host=b"data.s3.example.com")
    assert location_of(virtual, b"https", b"data.s3.example.com") == b"https://data.s3.example.com/k"


@pytest.mark.parametrize(
    ("there", "here"),
    [
        (b"/company-data-2026/a/k", b"/data/a/k"),
        (b"/company-data-2026", b"/data"),
        (b"/company-data-2026/", b"/data/"),
        (b"/company-data-2026-x/k", b"/company-data-2026-x/k"),
        (b"/a/k", b"/a/k"),
        (b"company-data-2026", b"company-data-2026"),
    ],
)
def test_an_error_names_the_resource_that_was_asked_for(there: bytes, here: bytes) -> None:
    document = b"<Error><Code>X</Code><BucketName>%s</BucketName><Resource>%s</Resource></Error>"
    translation = translated(b"GET /data/a/k")
    assert names_the_bucket(translation, b"GET", 404)
    rewriter = TextRewriter(replacements(translation, b"http", HOST))
    result = rewriter.feed(document % (b"company-data-2026", there)) + rewriter.finish()
    assert result == document % (b"data", here)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET /data/k", 200),
        (b"GET /data/k", 206),
        (b"PUT /data/k", 200),
        (b"PUT /data/k?partNumber=1&uploadId=u", 200),
        (b"HEAD /data/k", 404),
        (b"GET /data/k", 304),
        (b"GET /data?location", 200),
        (b"POST /data?delete", 200),
        (b"GET /private?list-type=2", 200),
        (b"GET /plain/k", 404),
    ],
)
def test_other_answers_are_not_looked_into(line: bytes, status: int) -> None:
    assert not names_the_bucket(translated(line), line.split()[0], status)


def test_the_location_of_a_bucket_that_was_made_is_its_name_here() -> None:
    fields = ((b"Location", b"/company-data-2026"), (b"ETag", b"/company-data-2026"))
    assert headers_here(translated(b"PUT /data"), fields) == ((b"Location", b"/data"), fields[1])
    assert headers_here(translated(b"PUT /plain"), fields) == fields
    other = ((b"Location", b"/company-data-2026/elsewhere"),)
    assert headers_here(translated(b"PUT /data"), other) == other


BUCKETS = (
    b'<?xml version="1.0" encoding="UTF-8"?><ListAllMyBucketsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    b"<Owner><ID>me</ID></Owner><Buckets>%s</Buckets>%s</ListAllMyBucketsResult>"
)


def listed(*names: bytes, more: bytes = b"", query: bytes = b"") -> dict[str, str | None]:
    """Names and dates in the list that a client gets of these buckets of the default endpoint."""
    entries = b"".join(
        b"<Bucket><Name>%s</Name><CreationDate>of-%s</CreationDate><BucketArn>arn:aws:s3:::%s</BucketArn></Bucket>"
        % (name, name, name)
        for name in names
    )
    result = bucket_list_here(translated(b"GET /" + query), BUCKETS % (entries, more))
    assert b"arn:" not in result
    root = ElementTree.fromstring(result)
    space = "{http://s3.amazonaws.com/doc/2006-03-01/}"
    assert root.findtext(f"{space}Owner/{space}ID") == "me"
    found = {b.findtext(f"{space}Name") or "": b.findtext(f"{space}CreationDate") for b in root.iter(f"{space}Bucket")}
    assert list(found) == sorted(found)
    return found


def test_buckets_are_listed_under_every_name_that_reaches_them() -> None:
    assert listed(b"plain", b"a-very-long-name", b"taken", b"something-else", b"data", b"foreign") == {
        "plain": "of-plain",
        "a-very-long-name": "of-a-very-long-name",
        "short": "of-a-very-long-name",
        "something-else": "of-something-else",
        "taken": "of-something-else",
        "data": None,
        "copy": None,
        "private": None,
        "foreign": None,
    }


def test_a_mount_is_listed_even_if_its_endpoints_list_does_not_show_its_bucket() -> None:
    assert listed() == dict.fromkeys(("copy", "data", "foreign", "private", "short", "taken"))


def test_what_no_list_holds_stands_on_its_last_page() -> None:
    token = b"<ContinuationToken>t</ContinuationToken>"
    assert listed(b"plain", more=token) == {"plain": "of-plain"}
    last = listed(b"plain", query=b"?continuation-token=t")
    assert last == {"plain": "of-plain", "copy": None, "data": None, "foreign": None, "private": None}


def test_a_list_of_names_with_a_prefix_holds_those_that_have_it_here() -> None:
    assert listed(b"plain", b"a-very-long-name", query=b"?prefix=s") == {"short": "of-a-very-long-name"}
    assert listed(query=b"?prefix=d%61") == {"data": None}


@pytest.mark.parametrize("body", [b"", b"<x/>", b"<ListAllMyBucketsResult/>", b"<!DOCTYPE a><ListAllMyBucketsResult/>"])
def test_what_is_no_list_of_buckets_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"the body is not|the root element is not"):
        bucket_list_here(translated(b"GET /"), body)


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        (b"GET /data?list-type=2", False),
        (b"GET /", False),
        (b"POST /data/k?uploadId=u", False),
        (b"GET /data/k", True),
        (b"PUT /data/k", True),
        (b"GET /plain?list-type=2", True),
    ],
)
def test_what_has_to_be_read_here_must_not_come_compressed(line: bytes, kept: bool) -> None:
    translation = translated(line, b"Accept-Encoding: gzip", b"x-amz-meta-a: b")
    names = [name for name, _ in fields_there(translation, line.split()[0])]
    assert names == [b"Host", *([b"Accept-Encoding"] if kept else []), b"x-amz-meta-a"]
