"""Digests of what trails have delivered: which files, with what hash, signed, each naming the one before.

https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-log-file-validation-digest-file-structure.html:
the form, and what is signed, so that ``aws cloudtrail validate-logs`` accepts them.
"""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from freehold.records.audit import event_time
from freehold.records.objects import Objects
from freehold.records.secrets import Sealer
from freehold.records.store import Store, Transaction
from freehold.records.trails import DIGEST_KEY, Digest, DigestKey, LogFile, Trail, digest_keys

HOUR = dt.timedelta(hours=1)
_KEY_BITS = 2048
_KEY_VALID = dt.timedelta(days=365)
_ALGORITHM = "SHA256withRSA"


class Signer:
    """The key that signs digests, which is made anew every year."""

    def __init__(self, store: Store, sealer: Sealer) -> None:
        self._store = store
        self._sealer = sealer

    def key(self) -> tuple[str, rsa.RSAPrivateKey]:
        """Its fingerprint, and the key. Raises SealError."""
        with self._store.read() as tx:
            found = tx.find(DigestKey, digest_keys.c.valid_until > tx.now)
        if found is None:
            found = self._new()
        opened = self._sealer.open(DIGEST_KEY, found.id, found.sealed_key)
        private = serialization.load_der_private_key(opened, password=None)
        assert isinstance(private, rsa.RSAPrivateKey)
        return found.id, private

    def _new(self) -> DigestKey:
        private = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
        public = private.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
        fingerprint = hashlib.sha256(public).hexdigest()[:32]
        secret = private.private_bytes(Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        with self._store.write() as tx:
            sealed = self._sealer.seal(DIGEST_KEY, fingerprint, secret)
            made = DigestKey(fingerprint, public, sealed, tx.now - HOUR, tx.now + _KEY_VALID)
            tx.insert(made)
        return made


def due(trail: Trail, now: dt.datetime) -> dt.datetime | None:
    """The end of the whole hours that a digest is missing of; None while the hour is not over."""
    if not trail.validation or trail.digest_end is None or now < trail.digest_end + HOUR:
        return None
    return trail.digest_end + (now - trail.digest_end) // HOUR * HOUR


def write_digests(store: Store, objects: Objects, signer: Signer, trail: Trail, end: dt.datetime) -> None:
    """Write the digest of each region up to `end`. It may be cut anywhere: a region that has its digest keeps it.

    Raises OSError, SealError.
    """
    with store.read() as tx:
        regions = _regions(tx, trail)
    for region in regions:
        with store.read() as tx:
            last = tx.get(Digest, trail.arn, region)
            files = tx.select(LogFile, trail_arn=trail.arn, region=region)
        if last is not None and last.ended_at >= end:
            continue
        fingerprint, private = signer.key()
        digest = _write(objects, trail, region, end, last, files, fingerprint, private)
        with store.write() as tx:
            tx.put(digest)
            for file in files:
                tx.delete(file)
    with store.write() as tx:
        if (found := tx.get(Trail, trail.arn)) is not None:
            tx.update(found, digest_end=end, digest_at=tx.now, digest_error=None)


def _regions(tx: Transaction, trail: Trail) -> Sequence[str]:
    files = tx.select(LogFile, trail_arn=trail.arn)
    last = tx.select(Digest, trail_arn=trail.arn)
    return sorted({trail.home_region, *(file.region for file in files), *(digest.region for digest in last)})


def _write(
    objects: Objects,
    trail: Trail,
    region: str,
    end: dt.datetime,
    last: Digest | None,
    files: Sequence[LogFile],
    fingerprint: str,
    private: rsa.RSAPrivateKey,
) -> Digest:
    start = last.ended_at if last else trail.digest_end
    assert start is not None
    account_id, ended = trail.account_id, event_time(end)
    key = (
        f"{trail.prefix + '/' if trail.prefix else ''}AWSLogs/{account_id}/CloudTrail-Digest/{region}/{end:%Y/%m/%d}/"
        f"{account_id}_CloudTrail-Digest_{region}_{trail.name}_{trail.home_region}_{end:%Y%m%dT%H%M%SZ}.json.gz"
    )
    content: dict[str, Any] = {
        "awsAccountId": account_id,
        "digestStartTime": event_time(start),
        "digestEndTime": ended,
        "digestS3Bucket": trail.bucket,
        "digestS3Object": key,
        "digestPublicKeyFingerprint": fingerprint,
        "digestSignatureAlgorithm": _ALGORITHM,
        "newestEventTime": max((file.newest for file in files), default=None),
        "oldestEventTime": min((file.oldest for file in files), default=None),
        "previousDigestS3Bucket": last.bucket if last else None,
        "previousDigestS3Object": last.key if last else None,
        "previousDigestHashValue": last.sha256 if last else None,
        "previousDigestHashAlgorithm": "SHA-256" if last else None,
        "previousDigestSignature": last.signature if last else None,
        "logFiles": [
            {
                "s3Bucket": file.bucket,
                "s3Object": file.key,
                "hashValue": file.sha256,
                "hashAlgorithm": "SHA-256",
                "newestEventTime": file.newest,
                "oldestEventTime": file.oldest,
            }
            for file in files
        ],
    }
    body = msgspec.json.encode(content)
    sha256 = hashlib.sha256(body).hexdigest()
    signed = f"{ended}\n{trail.bucket}/{key}\n{sha256}\n{last.signature if last else 'null'}"
    signature = private.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()).hex()
    metadata = {"signature": signature, "signature-algorithm": _ALGORITHM}
    objects.put(trail.bucket, key, gzip.compress(body, mtime=0), metadata)
    return Digest(trail.arn, region, account_id, trail.bucket, key, sha256, signature, end)
