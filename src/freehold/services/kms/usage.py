"""What every cryptographic operation checks of its key before it uses it."""

from __future__ import annotations

from freehold.records.keys import Key
from freehold.services.kms.errors import WrongAlgorithm, WrongUsage
from freehold.services.kms.key_ids import check_usable, key_arn
from freehold.services.kms.materials import spec_of
from freehold.services.operation import Call


def check_use(call: Call, key: Key, usage: str, algorithm: str | None = None) -> None:
    """That the key is usable, and meant for this usage and algorithm.

    Raises DisabledException, KMSInvalidStateException, InvalidKeyUsageException.
    """
    check_usable(key)
    if key.usage != usage:
        raise WrongUsage(key_arn(key), key.usage, call.operation)
    if algorithm is not None and algorithm not in spec_of(key).algorithms[usage]:
        raise WrongAlgorithm(algorithm, key.spec)
