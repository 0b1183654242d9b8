"""Requests that are made twice, straight and through the proxy, to compare the answers (P-33)."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from tests.clients.sites import Site
from tests.harness.raw import RawResponse, exchange

BODY = bytes(range(256)) * 400
FUTURE = "Wed, 01 Jan 2070 00:00:00 GMT"
PAST = "Sat, 01 Jan 2000 00:00:00 GMT"


@dataclass(frozen=True)
class Read:
    """One read. ``{etag}`` in a header value stands for the object's; ``wrong_key`` is a wrong secret;
    ``after_plain_get``: a client that wants no checksums has read the object before."""

    name: str
    method: str = "GET"
    query: str = ""
    signed: dict[str, str] = field(default_factory=dict)
    unsigned: dict[str, str] = field(default_factory=dict)
    size: int = len(BODY)
    missing: bool = False
    wrong_key: bool = False
    anonymous: bool = False
    after_plain_get: bool = False


READS = (
    Read("get"),
    Read("head", "HEAD"),
    Read("get of nothing", size=0),
    Read("head of nothing", "HEAD", size=0),
    Read("range", signed={"Range": "bytes=100-4999"}),
    Read("unsigned range", unsigned={"Range": "bytes=100-4999"}),
    Read("suffix", signed={"Range": "bytes=-700"}),
    Read("open range", signed={"Range": "bytes=50000-"}),
    Read("range past the end", signed={"Range": "bytes=102000-9999999"}),
    Read("unsatisfiable range", signed={"Range": "bytes=9999999-"}),
    Read("range of nothing", signed={"Range": "bytes=0-"}, size=0),
    Read("malformed range", signed={"Range": "bytes=9-5"}),
    Read("two ranges", signed={"Range": "bytes=0-9,20-29"}),
    Read("head with range", "HEAD", signed={"Range": "bytes=0-9"}),
    Read("if-none-match, equal", signed={"If-None-Match": "{etag}"}),
    Read("if-none-match, other", signed={"If-None-Match": '"other"'}),
    Read("if-match, equal", signed={"If-Match": "{etag}"}),
    Read("if-match, other", signed={"If-Match": '"other"'}),
    Read("if-match on a range", signed={"If-Match": "{etag}", "Range": "bytes=0-8191"}),
    Read("if-modified-since, future", signed={"If-Modified-Since": FUTURE}),
    Read("if-modified-since, past", signed={"If-Modified-Since": PAST}),
    Read("if-unmodified-since, past", signed={"If-Unmodified-Since": PAST}),
    Read("head, if-none-match", "HEAD", signed={"If-None-Match": "{etag}"}),
    Read("head, if-match, other", "HEAD", signed={"If-Match": '"other"'}),
    Read("checksum mode", signed={"x-amz-checksum-mode": "ENABLED"}),
    Read("head, checksum mode", "HEAD", signed={"x-amz-checksum-mode": "ENABLED"}),
    Read("checksum mode on a range", signed={"x-amz-checksum-mode": "ENABLED", "Range": "bytes=0-9"}),
    Read("checksum mode, plain before", signed={"x-amz-checksum-mode": "ENABLED"}, after_plain_get=True),
    Read("x-id", query="?x-id=GetObject"),
    Read("response override", query="?response-content-type=text%2Fx-other"),
    Read("first part", query="?partNumber=1"),
    Read("no-cache", unsigned={"Cache-Control": "no-cache"}),
    Read("cross-origin", unsigned={"Origin": "http://example.com"}),
    Read("missing", missing=True),
    Read("head, missing", "HEAD", missing=True),
    Read("range of what is missing", signed={"Range": "bytes=0-9"}, missing=True),
    Read("wrong key", wrong_key=True),
    Read("head, wrong key", "HEAD", wrong_key=True),
    Read("anonymous", anonymous=True),
    Read("acl", query="?acl"),
)


@dataclass(frozen=True)
class Answers:
    """One request's two answers. ``state`` is what the proxy had seen of the object."""

    name: str
    state: str
    direct: RawResponse
    proxied: RawResponse


def run_read(site: Site, bucket: str, read: Read) -> Iterator[Answers]:
    """The read straight, then through the proxy: cold, again, and when the whole object had been read."""
    key = re.sub(r"\W+", "-", read.name)
    etag = ""
    if not read.missing:
        made = site.direct.put_object(
            Bucket=bucket,
            Key=key,
            Body=BODY[: read.size],
            ContentType="text/x-test",
            CacheControl="max-age=77",
            ContentDisposition='attachment; filename="a b"',
            Metadata={"colour": "blue", "empty": "", "dash-ed": "a, b"},
            ChecksumAlgorithm="CRC32",
        )
        etag = made["ETag"]

    def ask(*, direct: bool) -> RawResponse:
        target = f"/{bucket}/{key}{read.query}"
        if read.anonymous:
            endpoint = site.origin_endpoint if direct else site.endpoint
            return exchange(endpoint, f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        return site.raw(
            read.method,
            target,
            direct=direct,
            secret="not the secret" if read.wrong_key else None,
            signed={name: value.format(etag=etag) for name, value in read.signed.items()},
            unsigned=read.unsigned,
        )

    direct = ask(direct=True)
    if read.after_plain_get:
        site.raw("GET", f"/{bucket}/{key}")
    for state in ("cold", "again"):
        yield Answers(read.name, state, direct, ask(direct=False))
    if site.mode == "none" and (read.wrong_key or read.anonymous):
        return  # in this mode whoever reaches the port reads what is cached
    if not read.missing:
        assert site.raw("GET", f"/{bucket}/{key}").body == BODY[: read.size]
        yield Answers(read.name, "warm", direct, ask(direct=False))


def run_others(site: Site, bucket: str) -> Iterator[Answers]:
    """Lists, buckets and writes: each straight on one key and through the proxy on another, ``...-d`` and ``...-p``."""

    def both(name: str, method: str, target: str, body: bytes = b"", **headers: str) -> tuple[RawResponse, RawResponse]:
        """``SIDE`` in the target and the body is the side's letter, ``UPLOAD`` its upload id."""
        fields = {field.replace("_", "-"): value for field, value in headers.items()}
        answers = []
        for side in "dp":
            at = target.replace("SIDE", side).replace("UPLOAD", upload[side])
            sent = body.replace(b"SIDE", side.encode())
            if "delete=" in target:
                fields["Content-MD5"] = b64encode(hashlib.md5(sent, usedforsecurity=False).digest()).decode()
            answers.append(site.raw(method, at, direct=side == "d", signed=fields, body=sent))
        found.append(Answers(name, "once", *(_anonymous(site, answer, upload) for answer in answers)))
        return answers[0], answers[1]

    upload = {"d": "", "p": ""}
    found: list[Answers] = []
    site.direct.put_object(Bucket=bucket, Key="list/ü b+c(1)", Body=b"x")
    site.direct.put_object(Bucket=bucket, Key="list/sub/d", Body=b"y")
    both("list objects v2", "GET", f"/{bucket}?list-type=2&prefix=list%2F")
    both("list objects v2, encoded", "GET", f"/{bucket}?encoding-type=url&list-type=2&prefix=list%2F")
    both("list objects v2, a page", "GET", f"/{bucket}?delimiter=%2F&list-type=2&max-keys=1&prefix=list%2F")
    both("list objects v1", "GET", f"/{bucket}?delimiter=%2F&prefix=list%2F")
    both("list buckets", "GET", "/")
    both("location", "GET", f"/{bucket}?location=")
    both("bucket acl", "GET", f"/{bucket}?acl=")
    both("head bucket", "HEAD", f"/{bucket}")
    both("head missing bucket", "HEAD", f"/{bucket}-not")
    both("list missing bucket", "GET", f"/{bucket}-not?list-type=2")
    both("create bucket again", "PUT", f"/{bucket}")
    both("delete bucket with objects", "DELETE", f"/{bucket}")
    both("put", "PUT", f"/{bucket}/put-SIDE", BODY, content_type="text/x-test")
    both("put of nothing", "PUT", f"/{bucket}/empty-SIDE")
    both("put with a wrong MD5", "PUT", f"/{bucket}/bad-SIDE", BODY, content_md5=b64encode(bytes(16)).decode())
    both("copy", "PUT", f"/{bucket}/copy-SIDE", x_amz_copy_source=f"/{bucket}/put-d")
    both("copy of what is missing", "PUT", f"/{bucket}/copy-SIDE", x_amz_copy_source=f"/{bucket}/none")
    both("delete", "DELETE", f"/{bucket}/put-SIDE")
    both("delete of what is missing", "DELETE", f"/{bucket}/put-SIDE")
    document = b"<Delete><Object><Key>copy-SIDE</Key></Object></Delete>"
    both("delete objects", "POST", f"/{bucket}?delete=", document)
    both("delete objects, malformed", "POST", f"/{bucket}?delete=", b"<Delete>")
    begun = both("create multipart upload", "POST", f"/{bucket}/multi-SIDE?uploads=")
    upload = dict(zip("dp", (_tag(answer.body, b"UploadId") for answer in begun), strict=True))
    at = f"/{bucket}/multi-"
    parts = both("upload part", "PUT", f"{at}SIDE?partNumber=1&uploadId=UPLOAD", BODY)
    both("list parts", "GET", f"{at}SIDE?uploadId=UPLOAD")
    etag = (parts[0].get(b"etag") or b"").decode()
    complete = (
        f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    ).encode()
    both("complete with a wrong part", "POST", f"{at}SIDE?uploadId=UPLOAD", complete.replace(b">1<", b">2<"))
    both("complete multipart upload", "POST", f"{at}SIDE?uploadId=UPLOAD", complete)
    both("abort of what is complete", "DELETE", f"{at}SIDE?uploadId=UPLOAD")
    both("unknown sub-resource", "GET", f"/{bucket}/multi-d?attributes=")
    both("post without a form", "POST", f"/{bucket}", b"x=1")
    yield from found


def _anonymous(site: Site, answer: RawResponse, upload: dict[str, str]) -> RawResponse:
    """The answer without what tells the two sides apart: the key's last letter, the upload's id, the endpoint,
    when it was."""
    body = re.sub(rb"(put|empty|bad|copy|multi)-[dp]\b", rb"\1-side", answer.body)
    for text in (*filter(None, upload.values()), site.endpoint, site.origin_endpoint):
        body = body.replace(text.encode(), b"one side's")
    # Two writes may happen in two seconds.
    headers = tuple((name, b"then" if name.lower() == b"last-modified" else value) for name, value in answer.headers)
    return replace(answer, headers=headers, body=body)


def _tag(document: bytes, name: bytes) -> str:
    match = re.search(rb"<%b>([^<]*)</%b>" % (name, name), document)
    assert match is not None, document
    return match[1].decode()
