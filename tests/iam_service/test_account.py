"""The account's alias, summary and credential report, OpenID Connect providers, and credentials that are not built."""

from __future__ import annotations

import csv
import datetime as dt
from typing import Any

import pytest

from freehold.control.accounts import close_account
from freehold.records.accounts import Account
from freehold.records.audit import AuditEvent
from freehold.records.identities import CredentialReport
from freehold.records.schema import TABLES
from tests.cloudapi import ApiServer
from tests.iam_service.documents import EC2, allowing
from tests.iam_service.refusals import refused
from tests.iam_service.test_mfa_devices import Phone

THUMBPRINT = "990f4193972f2becf12ddeda5237f9c952f20d9e"


def test_an_account_has_one_alias(iam: Any, api: ApiServer) -> None:
    assert iam.list_account_aliases()["AccountAliases"] == []
    name = f"first-{iam.get_user()['User']['UserId']}"
    iam.create_account_alias(AccountAlias=name)
    iam.create_account_alias(AccountAlias=f"{name}x")
    assert iam.list_account_aliases()["AccountAliases"] == [f"{name}x"]
    assert iam.get_user()["User"]["UserName"] == f"{name}x"
    with refused("EntityAlreadyExists", 409):
        api.client("iam").create_account_alias(AccountAlias=f"{name}x")
    with refused("ValidationError"):
        iam.create_account_alias(AccountAlias="123456789012")
    with refused("ValidationError"):
        iam.create_account_alias(AccountAlias="two--hyphens")
    with refused("NoSuchEntity", 404):
        iam.delete_account_alias(AccountAlias=name)
    iam.delete_account_alias(AccountAlias=f"{name}x")
    assert iam.list_account_aliases()["AccountAliases"] == []


def test_the_summary_counts(iam: Any) -> None:
    before = iam.get_account_summary()["SummaryMap"]
    assert (before["Users"], before["AccountAccessKeysPresent"], before["AccountMFAEnabled"]) == (0, 1, 0)
    iam.create_user(UserName="alice")
    iam.create_group(GroupName="staff")
    iam.create_open_id_connect_provider(Url="https://id.example.com")
    phone = Phone(iam.create_virtual_mfa_device(VirtualMFADeviceName="phone")["VirtualMFADevice"])
    root = iam.get_user()["User"]["UserName"]
    iam.enable_mfa_device(UserName=root, SerialNumber=phone.serial, **phone.codes())
    after = iam.get_account_summary()["SummaryMap"]
    assert {name: value for name, value in after.items() if before[name] != value} == {
        "Users": 1,
        "Groups": 1,
        "Providers": 1,
        "MFADevices": 1,
        "MFADevicesInUse": 1,
        "AccountMFAEnabled": 1,
    }
    assert (after["UsersQuota"], after["GroupsPerUserQuota"], after["AccessKeysPerUserQuota"]) == (5000, 10, 2)


def test_the_credential_report_says_what_there_is(iam: Any, api: ApiServer) -> None:
    with refused("ReportNotPresent", 410):
        iam.get_credential_report()
    iam.update_account_password_policy(MaxPasswordAge=30)
    iam.create_user(UserName="a,b", Path="/staff/")
    iam.create_user(UserName="carol")
    iam.create_login_profile(UserName="carol", Password="Correct-horse-1")
    key = iam.create_access_key(UserName="carol")["AccessKey"]["AccessKeyId"]
    iam.create_access_key(UserName="carol")
    iam.update_access_key(UserName="carol", AccessKeyId=key, Status="Inactive")
    phone = Phone(iam.create_virtual_mfa_device(VirtualMFADeviceName="phone")["VirtualMFADevice"])
    iam.enable_mfa_device(UserName="carol", SerialNumber=phone.serial, **phone.codes())
    assert iam.generate_credential_report()["State"] == "STARTED"
    assert iam.generate_credential_report()["State"] == "COMPLETE"
    report = iam.get_credential_report()
    assert report["ReportFormat"] == "text/csv"
    root, *users = csv.DictReader(report["Content"].decode().splitlines())
    named = {user["user"]: user for user in users}
    assert (root["user"], root["password_enabled"], root["mfa_active"]) == ("<root_account>", "not_supported", "false")
    assert root["access_key_1_active"] == "true"
    assert named["a,b"]["arn"].endswith(":user/staff/a,b")
    assert {value for name, value in named["a,b"].items() if name not in ("user", "arn", "user_creation_time")} == {
        "false",
        "N/A",
    }
    carol = named["carol"]
    assert (carol["password_enabled"], carol["password_last_used"], carol["mfa_active"]) == (
        "true",
        "no_information",
        "true",
    )
    lasts = dt.datetime.fromisoformat(carol["password_next_rotation"]) - dt.datetime.fromisoformat(
        carol["password_last_changed"]
    )
    assert lasts == dt.timedelta(days=30)
    assert (carol["access_key_1_active"], carol["access_key_2_active"]) == ("false", "true")
    assert (carol["access_key_1_last_used_service"], carol["cert_1_active"]) == ("N/A", "false")

    with api.store.write() as tx:
        held = tx.get(CredentialReport, iam.get_user()["User"]["UserId"])
        assert held is not None
        tx.update(held, generated_at=held.generated_at - dt.timedelta(hours=4))
    with refused("ReportExpired", 410):
        iam.get_credential_report()
    iam.create_user(UserName="dave")
    assert iam.generate_credential_report()["State"] == "STARTED"
    assert b"dave" in iam.get_credential_report()["Content"]


def test_an_identity_provider_from_create_to_delete(iam: Any, api: ApiServer) -> None:
    created = iam.create_open_id_connect_provider(
        Url="https://id.example.com/realms/one",
        ClientIDList=["app", "sts.amazonaws.com"],
        ThumbprintList=[THUMBPRINT],
        Tags=[{"Key": "team", "Value": "web"}],
    )
    arn = created["OpenIDConnectProviderArn"]
    assert arn.endswith(":oidc-provider/id.example.com/realms/one")
    assert created["Tags"] == [{"Key": "team", "Value": "web"}]
    shown = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    assert (shown["Url"], shown["ClientIDList"], shown["ThumbprintList"], shown["Tags"]) == (
        "id.example.com/realms/one",
        ["app", "sts.amazonaws.com"],
        [THUMBPRINT],
        created["Tags"],
    )
    with refused("EntityAlreadyExists", 409):
        iam.create_open_id_connect_provider(Url="https://id.example.com/realms/one/")
    for _ in range(2):
        iam.add_client_id_to_open_id_connect_provider(OpenIDConnectProviderArn=arn, ClientID="other")
        iam.remove_client_id_from_open_id_connect_provider(OpenIDConnectProviderArn=arn, ClientID="app")
    iam.update_open_id_connect_provider_thumbprint(OpenIDConnectProviderArn=arn, ThumbprintList=["A" * 40])
    shown = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    assert (shown["ClientIDList"], shown["ThumbprintList"]) == (["sts.amazonaws.com", "other"], ["A" * 40])
    iam.tag_open_id_connect_provider(OpenIDConnectProviderArn=arn, Tags=[{"Key": "team", "Value": "db"}])
    iam.untag_open_id_connect_provider(OpenIDConnectProviderArn=arn, TagKeys=["none"])
    assert iam.list_open_id_connect_provider_tags(OpenIDConnectProviderArn=arn)["Tags"] == [
        {"Key": "team", "Value": "db"}
    ]
    assert iam.list_open_id_connect_providers()["OpenIDConnectProviderList"] == [{"Arn": arn}]
    stranger = api.client("iam")
    stranger.delete_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    with refused("NoSuchEntity", 404):
        stranger.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    with refused("NoSuchEntity", 404):
        iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)


@pytest.mark.parametrize(
    "request_",
    [
        {"Url": "http://id.example.com"},
        {"Url": "https://"},
        {"Url": "https://id.example.com/?a=b"},
        {"Url": "https://user@id.example.com"},
        {"Url": "https://id.example.com/\n"},
        {"Url": "https://id.example.com", "ThumbprintList": ["z" * 40]},
        {"Url": "https://id.example.com", "ThumbprintList": [THUMBPRINT] * 6},
        {"Url": "https://id.example.com", "ClientIDList": ["a\tb"]},
    ],
)
def test_what_is_no_identity_provider(iam: Any, request_: dict[str, Any]) -> None:
    with refused("InvalidInput"):
        iam.create_open_id_connect_provider(**request_)


def test_credentials_that_are_not_built(iam: Any) -> None:
    iam.create_user(UserName="alice")
    assert iam.list_ssh_public_keys(UserName="alice")["SSHPublicKeys"] == []
    assert iam.list_signing_certificates(UserName="alice")["Certificates"] == []
    assert iam.list_service_specific_credentials(UserName="alice")["ServiceSpecificCredentials"] == []
    assert iam.list_service_specific_credentials(AllUsers=True)["ServiceSpecificCredentials"] == []
    assert iam.list_server_certificates()["ServerCertificateMetadataList"] == []
    assert iam.list_saml_providers()["SAMLProviderList"] == []
    with refused("NoSuchEntity", 404):
        iam.list_ssh_public_keys(UserName="nobody")
    with refused("UnsupportedOperation"):
        iam.upload_ssh_public_key(UserName="alice", SSHPublicKeyBody="ssh-rsa AAAA")
    with refused("UnsupportedOperation"):
        iam.upload_server_certificate(ServerCertificateName="c", CertificateBody="c", PrivateKey="k")


def test_a_deleted_account_leaves_nothing_behind(iam: Any, api: ApiServer) -> None:
    account_id = iam.get_user()["User"]["UserId"]
    iam.create_user(UserName="alice", Tags=[{"Key": "team", "Value": "web"}])
    iam.create_group(GroupName="staff")
    iam.add_user_to_group(GroupName="staff", UserName="alice")
    iam.create_access_key(UserName="alice")
    iam.create_login_profile(UserName="alice", Password="Correct-horse-1")
    iam.create_virtual_mfa_device(VirtualMFADeviceName="phone", Tags=[{"Key": "team", "Value": "web"}])
    iam.create_open_id_connect_provider(Url="https://id.example.com", Tags=[{"Key": "team", "Value": "web"}])
    iam.update_account_password_policy(RequireNumbers=True)
    iam.create_account_alias(AccountAlias=f"lab-{account_id}")
    iam.generate_credential_report()
    iam.create_role(RoleName="worker", AssumeRolePolicyDocument=EC2)
    iam.create_instance_profile(InstanceProfileName="worker")
    policy = iam.create_policy(PolicyName="own", PolicyDocument=allowing("ec2:*"))["Policy"]["Arn"]
    iam.create_policy_version(PolicyArn=policy, PolicyDocument=allowing("s3:*"))
    iam.attach_user_policy(UserName="alice", PolicyArn=policy)
    iam.put_group_policy(GroupName="staff", PolicyName="own", PolicyDocument=allowing("ec2:*"))
    with api.store.write() as tx:
        account = tx.get(Account, account_id)
        assert account is not None
        assert close_account(tx, account)
    with api.store.read() as tx:
        left = {
            kind.__name__
            for kind in TABLES
            if kind is not AuditEvent and any(account_id in repr(record) for record in tx.select(kind))
        }
    assert left == set()
