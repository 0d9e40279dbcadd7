"""Who the caller is: boto3 → HTTP → signature → STS, end to end."""

from __future__ import annotations

from pathlib import Path

from tests.cloudapi import api_server


def test_root_learns_who_it_is(tmp_path: Path) -> None:
    with api_server(tmp_path) as api:
        answer = api.client("sts").get_caller_identity()
        assert answer["Account"] == api.account_id
        assert answer["Arn"] == f"arn:aws:iam::{api.account_id}:root"
        assert answer["UserId"] == api.account_id
