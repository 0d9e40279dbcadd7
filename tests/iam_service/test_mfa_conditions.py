"""Policies that want a code: what AWS documents for people who manage their own device, from the first sign-in on.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_examples_aws_my-sec-creds-self-manage.html
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from freehold.records.mfa import code_at
from tests.cloudapi import ApiServer, Keys
from tests.iam_service.test_mfa_devices import Phone, this_step

ALL_WITH_A_CODE = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": ["ec2:*", "iam:*"], "Resource": "*"},
        {
            "Effect": "Deny",
            "NotAction": ["iam:CreateVirtualMFADevice", "iam:EnableMFADevice", "sts:GetSessionToken"],
            "Resource": "*",
            "Condition": {"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}},
        },
    ],
}


def denied(call: Any) -> None:
    with pytest.raises(ClientError, match=r"AccessDenied|UnauthorizedOperation"):
        call()


def test_calls_want_a_code_and_work_with_one(iam: Any, api: ApiServer) -> None:
    iam.create_user(UserName="alice")
    iam.put_user_policy(UserName="alice", PolicyName="mfa", PolicyDocument=json.dumps(ALL_WITH_A_CODE))
    held = iam.create_access_key(UserName="alice")["AccessKey"]
    keys = Keys(held["AccessKeyId"], held["SecretAccessKey"])
    alice, sts = api.client("iam", keys=keys), api.client("sts", keys=keys)
    denied(alice.list_users)
    denied(api.client("ec2", keys=keys).describe_vpcs)
    phone = Phone(alice.create_virtual_mfa_device(VirtualMFADeviceName="alice")["VirtualMFADevice"])
    alice.enable_mfa_device(UserName="alice", SerialNumber=phone.serial, **phone.codes(later=-1))
    denied(lambda: alice.list_mfa_devices(UserName="alice"))

    code = code_at(phone.seed, this_step() + 1)
    request = {"SerialNumber": phone.serial, "TokenCode": code}
    session = sts.get_session_token(**request)["Credentials"]
    denied(lambda: sts.get_session_token(**request))  # a code works once
    proven = Keys(session["AccessKeyId"], session["SecretAccessKey"], session["SessionToken"])
    assert api.client("ec2", keys=proven).describe_vpcs()["Vpcs"]
    with_code = api.client("iam", keys=proven)
    assert [user["UserName"] for user in with_code.list_users()["Users"]] == ["alice"]
    assert [device["SerialNumber"] for device in with_code.list_mfa_devices()["MFADevices"]] == [phone.serial]

    plain = sts.get_session_token()["Credentials"]  # temporary, but without a code
    unproven = Keys(plain["AccessKeyId"], plain["SecretAccessKey"], plain["SessionToken"])
    denied(api.client("ec2", keys=unproven).describe_vpcs)
