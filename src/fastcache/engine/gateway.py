"""The gateway: who is let in, and in whose name the origin is asked (SEMANTICS 7, 8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from fastcache._core.access_keys import AccessKeys
from fastcache._core.fields import values_by_name
from fastcache.clock import Clock
from fastcache.engine.exchange import Exchange
from fastcache.engine.payload import ClientPayload
from fastcache.engine.signing import Signer
from fastcache.errors import RequestError
from fastcache.model import OriginId
from fastcache.observe.metrics import Metrics
from fastcache.policy.access import KeySet
from fastcache.policy.admission import Admission, Rules, admit, admit_rest, check_deletes, denied
from fastcache.policy.mounted_answers import fields_there
from fastcache.policy.mounts import Mounts
from fastcache.protocol.framing import Framing
from fastcache.protocol.requests import RequestHead
from fastcache.protocol.s3xml import parse_delete_objects
from fastcache.protocol.sigv4 import SignatureError, SigningKeys
from fastcache.protocol.targets import S3Target

DELETE_BODY_LIMIT = 2 * 1024 * 1024
"""Bytes of a DeleteObjects: a thousand keys of 1,024 octets, escaped, are less."""


class Keys(Protocol):
    """Where the keys in force now come from."""

    @property
    def current(self) -> KeySet: ...


Sites = Mapping[tuple[OriginId, str], Signer]
"""Who signs for a place: by its endpoint and the name of its credentials."""


class Gateway:
    """One per worker."""

    def __init__(
        self,
        rules: Rules,
        keys: Keys | None,
        signer: Signer | None,
        clock: Clock,
        metrics: Metrics,
        *,
        hit_keys: AccessKeys | None = None,
        mounts: Mounts | None = None,
        sites: Sites | None = None,
    ) -> None:
        """``sites`` has a signer for every place of ``mounts``, ``signer`` for its default one."""
        self._rules = rules
        self._mounts = mounts
        self._sites = sites or {}
        self.hit_keys = hit_keys
        """The keys whose signatures the hit branch checks itself; None where it checks none."""
        self._keys = keys
        self.signer = signer
        """Makes requests of our own; None where clients' own go to the origin."""
        self._clock = clock
        self._metrics = metrics
        self._signing_keys = SigningKeys()

    async def admit(self, exchange: Exchange, target: S3Target) -> Admission:
        """Let a request pass, its keys in a DeleteObjects included, or raise RequestError with S3's code."""
        try:
            admission = admit(
                self._rules, self._key_set(), self._signing_keys, exchange.head, target, self._clock.wall()
            )
            exchange.admission, exchange.head = admission, admission.head
            if self.signer is not None and _may_have_body(admission.head):
                exchange.payload = ClientPayload(exchange, admission.verified)
            if admission.deletes_several:
                await self._check_deletes(exchange, admission)
        except RequestError as error:
            self._metrics.refused("signature" if isinstance(error, SignatureError) else "permission")
            raise
        exchange.admission = admission = self._placed(admission)
        if admission.session is not None and not self._signer_of(admission).has_sessions:
            self._metrics.refused("permission")
            raise denied()
        return admission

    def resumed(self, head: RequestHead, target: S3Target) -> Admission:
        """For the rest of an answer that was begun under a lease; raises RequestError."""
        return self._placed(admit_rest(self._rules, self._key_set(), head, target))

    def way(self, admission: Admission) -> tuple[Signer, Admission]:
        """Who signs a request, and the request in the names of the origin it goes to."""
        signer, translation = self._signer_of(admission), admission.translation
        if translation is None:
            return signer, admission
        head, fields = admission.head, fields_there(translation, admission.head.method)
        if fields is not head.headers:
            head = replace(head, headers=fields, by_name=values_by_name(fields))
        return signer, replace(admission, head=head, target=translation.target, translation=None)

    def _signer_of(self, admission: Admission) -> Signer:
        assert self.signer is not None, "asked in our name"
        if admission.translation is None:
            return self.signer
        place = admission.translation.place
        return self._sites[place.origin, place.credentials]

    def _placed(self, admission: Admission) -> Admission:
        if self._mounts is None or self.signer is None:
            return admission
        return replace(admission, translation=self._mounts.translate(admission.head, admission.target))

    def _key_set(self) -> KeySet | None:
        return None if self._keys is None else self._keys.current

    async def _check_deletes(self, exchange: Exchange, admission: Admission) -> None:
        if admission.verified is None and self.signer is None:
            return
        body = await self._whole_body(exchange, admission)
        exchange.collected = body
        try:
            named = parse_delete_objects(body)
        except ValueError as error:
            raise RequestError(
                "The XML you provided was not well-formed or did not validate against our published schema.",
                code="MalformedXML",
            ) from error
        check_deletes(self._key_set(), admission, [key for key, _ in named])

    async def _whole_body(self, exchange: Exchange, admission: Admission) -> bytes:
        payload = exchange.payload or ClientPayload(exchange, admission.verified)
        if self.signer is None and payload.kind.is_aws_chunked:
            raise RequestError("DeleteObjects in chunks is not implemented here.", status=501, code="NotImplemented")
        return await payload.whole(DELETE_BODY_LIMIT)


def _may_have_body(head: RequestHead) -> bool:
    return head.method not in (b"GET", b"HEAD") or head.framing.kind is Framing.CHUNKED or head.framing.length > 0
