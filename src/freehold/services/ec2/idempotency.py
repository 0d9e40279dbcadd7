"""ClientToken: a request that is sent twice makes its resources once.

https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from freehold.records.compute import IdempotencyToken
from freehold.services.ec2.compute_errors import IdempotentParameterMismatch
from freehold.services.ec2.errors import InvalidParameterValue
from freehold.services.operation import Call

_TOKEN = re.compile(r"[\x21-\x7e]+")


def claim(call: Call, request: Mapping[str, Any], result_id: str, *, longest: int = 64) -> str | None:
    """Bind the request's ClientToken, if it has one, to the id of what the caller will now make.

    None: go on and make it. An id: the same request already made that. Raises IdempotentParameterMismatch if another
    request used the token. On PostgreSQL a second request with the token waits here until the first has committed.
    """
    token = request.get("ClientToken")
    if not token:
        return None
    if len(token) > longest or not _TOKEN.fullmatch(token):
        raise InvalidParameterValue(f"The parameter ClientToken may have at most {longest} printable ASCII characters.")
    asked = {name: value for name, value in request.items() if name not in ("ClientToken", "DryRun")}
    mine = IdempotencyToken(
        account_id=call.account_id,
        region=call.region,
        operation=call.operation,
        token=token,
        request_hash=hashlib.sha256(msgspec.json.encode(asked, order="deterministic")).hexdigest(),
        result_id=result_id,
        created_at=call.now,
    )
    try:
        with call.tx.connection.begin_nested():
            call.tx.insert(mine)
    except sa.exc.IntegrityError:
        earlier = call.tx.get(IdempotencyToken, call.account_id, call.region, call.operation, token)
        if earlier is None or earlier.request_hash != mine.request_hash:
            raise IdempotentParameterMismatch(token) from None
        return earlier.result_id
    return None
