"""Grant tokens: what CreateGrant gives beside the grant's id.

In AWS a token makes a grant work before all of KMS has learned of it. Here a grant works when CreateGrant answers, so
that a token only has to be a true one. It is the key's and the grant's id, sealed: nothing of it is kept.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from freehold.records.keys import KeyGrant
from freehold.records.secrets import Sealer, SealError
from freehold.services.kms.errors import InvalidGrantToken
from freehold.services.operation import Call

_PURPOSE = "grant-token"


def new_token(sealer: Sealer, grant: KeyGrant) -> str:
    sealed = sealer.seal(_PURPOSE, "", f"{grant.key_id} {grant.id}".encode())
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()


def grant_of(call: Call, token: str) -> KeyGrant:
    """The grant that a token is of, anyone's. Raises InvalidGrantTokenException."""
    try:
        sealed = base64.b64decode(token.encode() + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
        key_id, grant_id = call.sealer.open(_PURPOSE, "", sealed).decode().split()
    except (UnicodeError, binascii.Error, ValueError, SealError):
        raise InvalidGrantToken() from None
    grant = call.tx.get(KeyGrant, key_id, grant_id)
    if grant is None:
        raise InvalidGrantToken()
    return grant


def check_tokens(call: Call, request: Mapping[str, Any]) -> None:
    """That the GrantTokens of a request are true. Raises InvalidGrantTokenException."""
    for token in request.get("GrantTokens", ()):
        grant_of(call, token)
