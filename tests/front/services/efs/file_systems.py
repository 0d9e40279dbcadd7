"""A read by path and query string, and a write by body."""

from __future__ import annotations

from freehold.services.operation import Call, Request, Response, operation


@operation()
def list_tags_for_resource(_call: Call, request: Request) -> Response:
    return {"Tags": [{"Key": "resource", "Value": request["ResourceId"]}]}


@operation()
def put_account_preferences(_call: Call, request: Request) -> Response:
    return {"ResourceIdPreference": {"ResourceIdType": request["ResourceIdType"]}}
