"""Tagging, ACLs (canned), versioning and CORS."""

from __future__ import annotations

from fnmatch import fnmatchcase

from fastcache.origin import documents
from fastcache.origin.documents import document, element, leaf
from fastcache.origin.message import Field, Response, S3Error, xml_response
from fastcache.origin.operations.buckets import owner
from fastcache.origin.operations.reading import find_version
from fastcache.origin.request import Request
from fastcache.origin.state import OriginState
from fastcache.origin.store import Bucket, Version
from fastcache.protocol.sigv4_canonical import query_items

_ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"
_XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'


def tags_from_header(fields: dict[bytes, bytes]) -> list[tuple[str, str]]:
    """The tags in ``x-amz-tagging``, which is written like a query."""
    items = query_items(fields.get(b"x-amz-tagging", b""))
    return [(name.decode("utf-8", "replace"), value.decode("utf-8", "replace")) for name, value in items]


def get_tagging(state: OriginState, request: Request) -> Response:
    target = _tagged(state, request)
    if not target.tags and isinstance(target, Bucket):
        raise S3Error(404, "NoSuchTagSet", "The TagSet does not exist")
    tags = [element("Tag", leaf("Key", name), leaf("Value", value)) for name, value in target.tags]
    return xml_response(document("Tagging", element("TagSet", *tags)))


def put_tagging(state: OriginState, request: Request) -> Response:
    target = _tagged(state, request)
    tags = [
        (tag.value("Key") or "", tag.value("Value") or "")
        for tag_set in documents.parse(_received(request)).all("TagSet")
        for tag in tag_set.all("Tag")
    ]
    if len(tags) > (50 if isinstance(target, Bucket) else 10):
        raise S3Error(400, "BadRequest", "Object tags cannot be greater than 10")
    target.tags = tags
    return Response(200)


def delete_tagging(state: OriginState, request: Request) -> Response:
    _tagged(state, request).tags = []
    return Response(204)


def get_acl(state: OriginState, request: Request) -> Response:
    bucket = state.store.bucket(request.bucket)
    if request.key:
        _version(state, request)
    grants = [_grant("CanonicalUser", owner(bucket.owner), "FULL_CONTROL")]
    if bucket.public_read:
        grants.append(_grant("Group", leaf("URI", _ALL_USERS), "READ"))
    acl = element("AccessControlList", *grants)
    return xml_response(document("AccessControlPolicy", element("Owner", owner(bucket.owner)), acl))


def put_bucket_acl(state: OriginState, request: Request) -> Response:
    canned = request.fields.get(b"x-amz-acl", b"private")
    if canned not in (b"private", b"public-read"):
        raise S3Error(501, "NotImplemented", "A header you provided implies functionality that is not implemented")
    state.store.bucket(request.bucket).public_read = canned == b"public-read"
    return Response(200)


def get_versioning(state: OriginState, request: Request) -> Response:
    versioning = state.store.bucket(request.bucket).versioning
    return xml_response(document("VersioningConfiguration", leaf("Status", versioning) if versioning else ""))


def put_versioning(state: OriginState, request: Request) -> Response:
    bucket = state.store.bucket(request.bucket)
    status = documents.parse(_received(request)).value("Status")
    if status not in ("Enabled", "Suspended"):
        raise S3Error(400, "IllegalVersioningConfigurationException", "The versioning status is not valid.")
    bucket.versioning = status
    return Response(200)


def get_cors(state: OriginState, request: Request) -> Response:
    cors = state.store.bucket(request.bucket).cors
    if not cors:
        raise S3Error(404, "NoSuchCORSConfiguration", "The CORS configuration does not exist")
    return xml_response(cors)


def put_cors(state: OriginState, request: Request) -> Response:
    bucket = state.store.bucket(request.bucket)
    text = _received(request)
    if documents.parse(text).name != "CORSConfiguration":
        raise S3Error(400, "MalformedXML", "The XML you provided was not well-formed.")
    bucket.cors = text
    return Response(200)


def delete_cors(state: OriginState, request: Request) -> Response:
    state.store.bucket(request.bucket).cors = b""
    return Response(204)


def preflight(state: OriginState, request: Request) -> Response:
    """A browser's question before a cross-origin request; answered without authentication."""
    method = request.fields.get(b"access-control-request-method", b"")
    if not request.fields.get(b"origin") or not method:
        raise S3Error(400, "BadRequest", "Insufficient information. Origin request header needed.")
    bucket = state.store.buckets.get(request.bucket)
    fields = [] if bucket is None else cors_fields(bucket, request, method)
    if not fields:
        raise S3Error(403, "AccessForbidden", "CORSResponse: This CORS request is not allowed.")
    return Response(200, fields)


def cors_fields(bucket: Bucket, request: Request, method: bytes) -> list[Field]:
    """The fields that the first matching rule of the bucket adds to an answer."""
    origin = request.fields.get(b"origin", b"").decode("latin-1")
    wanted = request.fields.get(b"access-control-request-headers", b"").decode("latin-1").lower()
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    for rule in documents.parse(bucket.cors).all("CORSRule") if bucket.cors else ():
        origins = [item.text for item in rule.all("AllowedOrigin")]
        methods = [item.text for item in rule.all("AllowedMethod")]
        headers = [item.text.lower() for item in rule.all("AllowedHeader")]
        if not any(fnmatchcase(origin, allowed) for allowed in origins) or method.decode("latin-1") not in methods:
            continue
        if not all(any(fnmatchcase(name, allowed) for allowed in headers) for name in names):
            continue
        return _allowed(rule, origin, origins, methods, names)
    return []


def _allowed(
    rule: documents.Node, origin: str, origins: list[str], methods: list[str], names: list[str]
) -> list[Field]:
    anyone = "*" in origins
    fields = [
        (b"Access-Control-Allow-Origin", b"*" if anyone else origin.encode("latin-1")),
        (b"Access-Control-Allow-Methods", ", ".join(methods).encode("latin-1")),
        (b"Vary", b"Origin, Access-Control-Request-Headers, Access-Control-Request-Method"),
    ]
    if not anyone:
        fields.append((b"Access-Control-Allow-Credentials", b"true"))
    if names:
        fields.append((b"Access-Control-Allow-Headers", ", ".join(names).encode("latin-1")))
    exposed = [item.text for item in rule.all("ExposeHeader")]
    if exposed:
        fields.append((b"Access-Control-Expose-Headers", ", ".join(exposed).encode("latin-1")))
    age = rule.value("MaxAgeSeconds")
    if age:
        fields.append((b"Access-Control-Max-Age", age.encode("latin-1")))
    return fields


def _tagged(state: OriginState, request: Request) -> Bucket | Version:
    return _version(state, request) if request.key else state.store.bucket(request.bucket)


def _version(state: OriginState, request: Request) -> Version:
    return find_version(state.store.bucket(request.bucket), request)


def _received(request: Request) -> bytes:
    if request.body is None:
        raise S3Error(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
    return bytes(request.body.finish())


def _grant(kind: str, who: str, permission: str) -> str:
    grantee = f'<Grantee {_XSI} xsi:type="{kind}">{who}</Grantee>'
    return element("Grant", grantee, leaf("Permission", permission))
