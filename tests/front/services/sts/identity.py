"""What needs no permission, and what does."""

from __future__ import annotations

from freehold.services.operation import Call, Request, Response, operation


@operation()
def get_caller_identity(call: Call, _request: Request) -> Response:
    return {"Arn": call.principal.arn}


@operation()
def get_access_key_info(_call: Call, request: Request) -> Response:
    return {"Account": request["AccessKeyId"]}
