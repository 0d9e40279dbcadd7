"""A read and a write with secrets in them."""

from __future__ import annotations

from freehold.services.operation import Call, Request, Response, operation


@operation()
def list_aliases(_call: Call, request: Request) -> Response:
    return {"Aliases": [{"AliasName": request.get("KeyId", "")}]}


@operation()
def encrypt(_call: Call, request: Request) -> Response:
    return {"KeyId": request["KeyId"], "CiphertextBlob": request["Plaintext"][::-1]}
