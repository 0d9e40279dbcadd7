"""Text that was written to break something, in every parameter of every operation of KMS: an error of the caller, or
kept as it is; never one of the server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore import xform_name
from structlog.testing import capture_logs

from freehold.records.store import Store
from freehold.services.errors import AwsError
from freehold.services.operation import Catalog
from tests.cloudapi import ApiServer
from tests.ec2.calls import Caller
from tests.iam_service.test_hostile_text import HOSTILE, MARK, requests, status_of

OPERATIONS = [operation.model for operation in Catalog().operations.values() if operation.service == "kms"]


def test_hostile_text_is_the_callers_error(api: ApiServer, key_id: str) -> None:
    client = api.client("kms", parameter_validation=False)
    named: dict[str, Any] = {"KeyId": key_id, "TargetKeyId": key_id, "SourceKeyId": key_id, "DestinationKeyId": key_id}
    with capture_logs() as logged:
        broken = []
        for model in OPERATIONS:
            call = getattr(client, xform_name(model.name))
            members = model.input_shape.members if model.input_shape else {}
            for text in HOSTILE:
                for request in requests(model, text):
                    # As it is, and with the keys that it needs to get anywhere.
                    for asked in (request, request | {name: key for name, key in named.items() if name in members}):
                        if status_of(call, asked) >= 500:
                            broken.append((model.name, asked))
    assert broken == []
    assert MARK not in json.dumps(logged, default=repr)


@pytest.mark.parametrize(
    ("name", "request_"),
    [
        ("create_key", {"Description": "a\0b"}),
        ("update_key_description", {"Description": "\0"}),
        ("create_key", {"Tags": [{"TagKey": "a\0", "TagValue": ""}]}),
        ("create_key", {"Tags": [{"TagKey": "a", "TagValue": "\0"}]}),
        ("encrypt", {"KeyId": "alias/a\0", "Plaintext": b"x"}),
        ("describe_key", {"KeyId": "\0"}),
        ("list_aliases", {"Marker": "AA=="}),
        ("list_grants", {"GrantId": "\0"}),
    ],
)
def test_no_text_with_a_nul_reaches_the_database(store: Store, name: str, request_: dict[str, Any]) -> None:
    """PostgreSQL keeps none."""
    kms = Caller(store)
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    named = {"KeyId": key_id} if name in ("update_key_description", "list_grants") else {}
    with pytest.raises(AwsError):
        getattr(kms, name)(**(named | request_))
