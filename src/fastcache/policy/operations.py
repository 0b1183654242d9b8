"""The operations of the S3 API reference: which method and query name makes which, and what each needs.

An operation that is not here, a query name it does not take and a request field nobody here knows are refused where
requests are signed with our own credentials (SEMANTICS 8): they might do anything.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from fastcache.policy.allow_rules import Action
from fastcache.protocol.query import RESPONSE_OVERRIDES

READ, WRITE, LIST, DELETE, ADMIN = Action


class Operation(NamedTuple):
    """An S3 API operation."""

    name: str
    """As in the API reference, and as SDKs write it into ``x-id``."""
    action: Action
    parameters: frozenset[bytes] = frozenset()
    """Query names it takes besides the one that selects it."""
    prefixed: bool = False
    """It lists keys: what it needs hangs on ``prefix``."""


def _names(text: str) -> frozenset[bytes]:
    return frozenset(text.encode("ascii").split())


_VERSION = _names("versionId")
_READ_PARAMETERS = _names("versionId partNumber") | RESPONSE_OVERRIDES
_PAGES = _names("prefix delimiter encoding-type key-marker")
_ID = _names("id")
_ID_OR_PAGE = _names("id continuation-token")

Selector = tuple[bytes, bytes]
"""(method, the query name that selects the operation or nothing)."""

SERVICE: Final[dict[Selector, Operation]] = {
    (b"GET", b""): Operation("ListBuckets", LIST, _names("bucket-region continuation-token max-buckets prefix")),
}

OBJECT: Final[dict[Selector, Operation]] = {
    (b"GET", b""): Operation("GetObject", READ, _READ_PARAMETERS),
    (b"HEAD", b""): Operation("HeadObject", READ, _READ_PARAMETERS),
    (b"GET", b"acl"): Operation("GetObjectAcl", READ, _VERSION),
    (b"GET", b"attributes"): Operation("GetObjectAttributes", READ, _VERSION),
    (b"GET", b"legal-hold"): Operation("GetObjectLegalHold", READ, _VERSION),
    (b"GET", b"retention"): Operation("GetObjectRetention", READ, _VERSION),
    (b"GET", b"tagging"): Operation("GetObjectTagging", READ, _VERSION),
    (b"GET", b"torrent"): Operation("GetObjectTorrent", READ),
    (b"POST", b"select"): Operation("SelectObjectContent", READ, _names("select-type")),
    (b"PUT", b""): Operation("PutObject", WRITE),
    (b"PUT", b"tagging"): Operation("PutObjectTagging", WRITE, _VERSION),
    (b"DELETE", b"tagging"): Operation("DeleteObjectTagging", WRITE, _VERSION),
    (b"PUT", b"renameObject"): Operation("RenameObject", WRITE),
    (b"POST", b"uploads"): Operation("CreateMultipartUpload", WRITE),
    (b"PUT", b"uploadId"): Operation("UploadPart", WRITE, _names("partNumber")),
    (b"POST", b"uploadId"): Operation("CompleteMultipartUpload", WRITE),
    (b"DELETE", b"uploadId"): Operation("AbortMultipartUpload", WRITE),
    # Parts of an upload are the business of who uploads; nobody reads an object with them.
    (b"GET", b"uploadId"): Operation("ListParts", WRITE, _names("max-parts part-number-marker")),
    (b"DELETE", b""): Operation("DeleteObject", DELETE, _VERSION),
    # Who else may read it, and whether it can be deleted at all.
    (b"PUT", b"acl"): Operation("PutObjectAcl", ADMIN, _VERSION),
    (b"PUT", b"legal-hold"): Operation("PutObjectLegalHold", ADMIN, _VERSION),
    (b"PUT", b"retention"): Operation("PutObjectRetention", ADMIN, _VERSION),
    # Costs money, and its body may name a bucket to write to (OutputLocation).
    (b"POST", b"restore"): Operation("RestoreObject", ADMIN, _VERSION),
}

_LISTS: Final[dict[Selector, Operation]] = {
    (b"GET", b""): Operation(
        "ListObjects", LIST, _names("prefix delimiter encoding-type marker max-keys"), prefixed=True
    ),
    (b"GET", b"list-type"): Operation(
        "ListObjectsV2",
        LIST,
        _names("prefix delimiter encoding-type continuation-token fetch-owner max-keys start-after"),
        prefixed=True,
    ),
    (b"GET", b"versions"): Operation(
        "ListObjectVersions", LIST, _PAGES | _names("max-keys version-id-marker"), prefixed=True
    ),
    (b"GET", b"uploads"): Operation(
        "ListMultipartUploads", LIST, _PAGES | _names("max-uploads upload-id-marker"), prefixed=True
    ),
    (b"HEAD", b""): Operation("HeadBucket", LIST),
    (b"GET", b"location"): Operation("GetBucketLocation", LIST),
}

_CONFIGURATION: Final = {
    b"accelerate": ("GetBucketAccelerateConfiguration", "PutBucketAccelerateConfiguration", None),
    b"acl": ("GetBucketAcl", "PutBucketAcl", None),
    b"cors": ("GetBucketCors", "PutBucketCors", "DeleteBucketCors"),
    b"encryption": ("GetBucketEncryption", "PutBucketEncryption", "DeleteBucketEncryption"),
    b"lifecycle": (
        "GetBucketLifecycleConfiguration",
        "PutBucketLifecycleConfiguration",
        "DeleteBucketLifecycle",
    ),
    b"logging": ("GetBucketLogging", "PutBucketLogging", None),
    b"notification": ("GetBucketNotificationConfiguration", "PutBucketNotificationConfiguration", None),
    b"object-lock": ("GetObjectLockConfiguration", "PutObjectLockConfiguration", None),
    b"ownershipControls": (
        "GetBucketOwnershipControls",
        "PutBucketOwnershipControls",
        "DeleteBucketOwnershipControls",
    ),
    b"policy": ("GetBucketPolicy", "PutBucketPolicy", "DeleteBucketPolicy"),
    b"policyStatus": ("GetBucketPolicyStatus", None, None),
    b"publicAccessBlock": ("GetPublicAccessBlock", "PutPublicAccessBlock", "DeletePublicAccessBlock"),
    b"replication": ("GetBucketReplication", "PutBucketReplication", "DeleteBucketReplication"),
    b"requestPayment": ("GetBucketRequestPayment", "PutBucketRequestPayment", None),
    b"tagging": ("GetBucketTagging", "PutBucketTagging", "DeleteBucketTagging"),
    b"versioning": ("GetBucketVersioning", "PutBucketVersioning", None),
    b"website": ("GetBucketWebsite", "PutBucketWebsite", "DeleteBucketWebsite"),
}
"""Sub-resources of a bucket: the operations of GET, PUT and DELETE."""

_NAMED_CONFIGURATION: Final = {
    b"analytics": "AnalyticsConfiguration",
    b"intelligent-tiering": "IntelligentTieringConfiguration",
    b"inventory": "InventoryConfiguration",
    b"metrics": "MetricsConfiguration",
}
"""Those of which a bucket has many, told apart by ``id``."""


def _bucket_operations() -> dict[Selector, Operation]:
    operations = dict(_LISTS)
    operations[b"PUT", b""] = Operation("CreateBucket", ADMIN)
    operations[b"DELETE", b""] = Operation("DeleteBucket", ADMIN)
    operations[b"GET", b"session"] = Operation("CreateSession", ADMIN)
    operations[b"POST", b"delete"] = Operation("DeleteObjects", DELETE)
    for sub_resource, names in _CONFIGURATION.items():
        for method, name in zip((b"GET", b"PUT", b"DELETE"), names, strict=True):
            if name is not None:
                operations[method, sub_resource] = Operation(name, ADMIN)
    for sub_resource, name in _NAMED_CONFIGURATION.items():
        operations[b"GET", sub_resource] = Operation(f"GetBucket{name}", ADMIN, _ID_OR_PAGE)
        operations[b"PUT", sub_resource] = Operation(f"PutBucket{name}", ADMIN, _ID)
        operations[b"DELETE", sub_resource] = Operation(f"DeleteBucket{name}", ADMIN, _ID)
    return operations


BUCKET: Final[dict[Selector, Operation]] = _bucket_operations()

ALSO_CALLED: Final = {
    "PutObject": "CopyObject",
    "UploadPart": "UploadPartCopy",
    **{f"GetBucket{name}": f"ListBucket{name}s" for name in _NAMED_CONFIGURATION.values()},
}
"""Operations that a field (``x-amz-copy-source``) or a missing parameter (``id``) makes of another."""

SELECTING: Final = frozenset(name for table in (SERVICE, BUCKET, OBJECT) for _, name in table) - {b""}
"""Query names that choose the operation."""

KNOWN_FIELDS: Final = _names(
    """
    x-amz-acl x-amz-api-version x-amz-bucket-namespace x-amz-bucket-object-lock-enabled x-amz-bucket-object-lock-token
    x-amz-bypass-governance-retention x-amz-checksum-algorithm x-amz-checksum-mode x-amz-checksum-type
    x-amz-client-token x-amz-confirm-remove-self-bucket-access x-amz-content-sha256 x-amz-copy-source
    x-amz-copy-source-if-match x-amz-copy-source-if-modified-since x-amz-copy-source-if-none-match
    x-amz-copy-source-if-unmodified-since x-amz-copy-source-range x-amz-create-session-mode x-amz-date
    x-amz-decoded-content-length x-amz-expected-bucket-owner x-amz-if-match-initiated-time
    x-amz-if-match-last-modified-time x-amz-if-match-size x-amz-max-parts x-amz-metadata-directive x-amz-mfa
    x-amz-mp-object-size x-amz-object-annotation-directive x-amz-object-attributes x-amz-object-ownership
    x-amz-optional-object-attributes x-amz-part-number-marker x-amz-rename-source x-amz-rename-source-if-match
    x-amz-rename-source-if-modified-since x-amz-rename-source-if-none-match x-amz-rename-source-if-unmodified-since
    x-amz-request-payer x-amz-sdk-checksum-algorithm x-amz-security-token x-amz-skip-destination-validation
    x-amz-source-expected-bucket-owner x-amz-storage-class x-amz-tagging x-amz-tagging-directive x-amz-te
    x-amz-trailer x-amz-transition-default-minimum-object-size x-amz-user-agent x-amz-website-redirect-location
    x-amz-write-offset-bytes
    """
)
"""The ``x-amz-*`` request fields of the API reference, and those that SDKs add."""

KNOWN_FIELD_FAMILIES: Final = (
    b"x-amz-meta-",
    b"x-amz-checksum-",
    b"x-amz-server-side-encryption",
    b"x-amz-copy-source-server-side-encryption-customer-",
    b"x-amz-grant-",
    b"x-amz-object-lock-",
)

FOREIGN_FIELD_FAMILIES: Final = (
    *(
        b"x-account-",
        b"x-auth-token",
        b"x-container-",
        b"x-copy-",
        b"x-delete-",
        b"x-fresh-",
        b"x-object-",
        b"x-remove-",
    ),
    *(b"x-service-", b"x-static-", b"x-storage-", b"x-symlink-", b"x-timestamp", b"x-versions-"),
    *(b"x-bz-", b"x-cos-", b"x-emc-", b"x-goog-", b"x-ibm-", b"x-minio-", b"x-ms-", b"x-obs-", b"x-oss-", b"x-rgw-"),
    *(b"x-http-method", b"x-method-override", b"x-original-url", b"x-rewrite-url"),
)
"""Fields by which S3-compatible services take what S3 says otherwise (Swift's X-Copy-From, X-Symlink-Target and
X-Object-Manifest reach any object of the account, and so do the copy sources of other dialects), and those by which a
server takes another method or path than that of the request line."""
