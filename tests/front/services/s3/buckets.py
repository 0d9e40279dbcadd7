"""A read without any input, and a write of an XML body."""

from __future__ import annotations

from freehold.services.operation import Call, Request, Response, operation


@operation()
def list_buckets(call: Call, _request: Request) -> Response:
    return {"Buckets": [{"Name": "bucket", "CreationDate": call.now}]}


@operation()
def put_bucket_tagging(_call: Call, _request: Request) -> Response:
    return {}
