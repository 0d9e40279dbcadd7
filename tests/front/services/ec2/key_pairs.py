"""A read and a write that may dry-run."""

from __future__ import annotations

from freehold.services.operation import Call, Request, Response, operation


@operation()
def describe_key_pairs(_call: Call, request: Request) -> Response:
    return {"KeyPairs": [{"KeyName": name} for name in request.get("KeyNames", [])]}


@operation(resources=lambda call, request: [call.arn(f"key-pair/{request['KeyName']}")])
def delete_key_pair(_call: Call, request: Request) -> Response:
    return {"Return": True, "KeyPairId": request["KeyName"]}
