"""Who the caller is."""

from __future__ import annotations

from freehold.services.operation import Call, Request, Response, operation


@operation()
def get_caller_identity(call: Call, _request: Request) -> Response:
    """https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html"""
    principal = call.principal
    return {"UserId": principal.unique_id, "Account": principal.account_id, "Arn": principal.arn}
