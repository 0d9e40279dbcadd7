"""Virtual MFA devices, as a person with a phone and the CLI uses them."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyotp
import pytest

from freehold.records.mfa import code_at, step_of
from tests.cloudapi import ApiServer
from tests.iam_service.refusals import refused

NAMES = ("SerialNumber", "User", "EnableDate")


def this_step() -> int:
    """The time step of now."""
    return step_of(dt.datetime.now(dt.UTC))


class Phone:
    """An authenticator app whose clock is off by some half minutes."""

    def __init__(self, device: dict[str, Any], off: int = 0) -> None:
        self.serial = device["SerialNumber"]
        self.seed = device["Base32StringSeed"].decode()
        self.off = off

    def codes(self, later: int = 0) -> dict[str, str]:
        """The code of now and the one after it."""
        step = this_step() + self.off + later
        return {"AuthenticationCode1": code_at(self.seed, step), "AuthenticationCode2": code_at(self.seed, step + 1)}


@pytest.fixture
def alice(iam: Any) -> Any:
    iam.create_user(UserName="alice", Path="/staff/")
    return iam


def test_a_device_from_create_to_delete(alice: Any) -> None:
    device = alice.create_virtual_mfa_device(
        VirtualMFADeviceName="phone", Path="/x/", Tags=[{"Key": "Team", "Value": "web"}]
    )["VirtualMFADevice"]
    serial = device["SerialNumber"]
    assert serial.endswith(":mfa/x/phone")
    assert pyotp.TOTP(device["Base32StringSeed"].decode()).now()
    assert len(device["Base32StringSeed"]) == 64
    assert device["QRCodePNG"].startswith(b"\x89PNG\r\n")
    with refused("EntityAlreadyExists", 409):
        alice.create_virtual_mfa_device(VirtualMFADeviceName="phone", Path="/x/")
    assert alice.list_virtual_mfa_devices(AssignmentStatus="Unassigned")["VirtualMFADevices"] == [
        {"SerialNumber": serial}
    ]
    phone = Phone(device)
    alice.enable_mfa_device(UserName="alice", SerialNumber=serial, **phone.codes())
    (assigned,) = alice.list_virtual_mfa_devices(AssignmentStatus="Assigned")["VirtualMFADevices"]
    assert assigned["User"]["Arn"].endswith(":user/staff/alice")
    assert alice.list_virtual_mfa_devices(AssignmentStatus="Unassigned")["VirtualMFADevices"] == []
    (listed,) = alice.list_mfa_devices(UserName="alice")["MFADevices"]
    assert listed == {"UserName": "alice", "SerialNumber": serial, "EnableDate": assigned["EnableDate"]}
    shown = alice.get_mfa_device(SerialNumber=serial, UserName="alice")
    assert (shown["UserName"], shown["EnableDate"]) == ("alice", assigned["EnableDate"])
    for call, first in (
        (lambda: alice.delete_user(UserName="alice"), "delete MFA device"),
        (lambda: alice.delete_virtual_mfa_device(SerialNumber=serial), "deactivate MFA device"),
    ):
        with refused("DeleteConflict", 409) as caught:
            call()
        assert caught.value.response["Error"]["Message"] == f"Cannot delete entity, must {first} first."
    alice.deactivate_mfa_device(UserName="alice", SerialNumber=serial)
    assert alice.list_mfa_devices(UserName="alice")["MFADevices"] == []
    assert "UserName" not in alice.get_mfa_device(SerialNumber=serial)
    alice.delete_virtual_mfa_device(SerialNumber=serial)
    alice.delete_user(UserName="alice")
    with refused("NoSuchEntity", 404):
        alice.get_mfa_device(SerialNumber=serial)


def test_codes_have_to_be_two_in_a_row_and_new(alice: Any) -> None:
    phone = Phone(alice.create_virtual_mfa_device(VirtualMFADeviceName="phone")["VirtualMFADevice"], off=10)
    enable = {"UserName": "alice", "SerialNumber": phone.serial}
    codes = phone.codes()
    swapped = {
        "AuthenticationCode1": codes["AuthenticationCode2"],
        "AuthenticationCode2": codes["AuthenticationCode1"],
    }
    for wrong in (swapped, codes | {"AuthenticationCode1": "000000"}, phone.codes(later=1000)):
        with refused("InvalidAuthenticationCode", 403):
            alice.enable_mfa_device(**enable, **wrong)
    with refused("NoSuchEntity", 404):
        alice.resync_mfa_device(**enable, **codes)
    alice.enable_mfa_device(**enable, **codes)
    with refused("EntityAlreadyExists", 409):
        alice.enable_mfa_device(**enable, **phone.codes(later=2))
    with refused("InvalidAuthenticationCode", 403):
        alice.resync_mfa_device(**enable, **codes)  # used before
    alice.resync_mfa_device(**enable, **phone.codes(later=2))


def test_whose_a_device_is(alice: Any, api: ApiServer) -> None:
    alice.create_user(UserName="bob")
    phone = Phone(alice.create_virtual_mfa_device(VirtualMFADeviceName="phone")["VirtualMFADevice"])
    alice.enable_mfa_device(UserName="alice", SerialNumber=phone.serial, **phone.codes())
    stranger = api.client("iam")
    for call in (
        lambda: alice.deactivate_mfa_device(UserName="bob", SerialNumber=phone.serial),
        lambda: alice.get_mfa_device(UserName="bob", SerialNumber=phone.serial),
        lambda: stranger.get_mfa_device(SerialNumber=phone.serial),
        lambda: stranger.tag_mfa_device(SerialNumber=phone.serial, Tags=[{"Key": "k", "Value": "v"}]),
        lambda: alice.list_mfa_devices(UserName="nobody"),
    ):
        with refused("NoSuchEntity", 404):
            call()
    for number in range(8):
        another = Phone(alice.create_virtual_mfa_device(VirtualMFADeviceName=f"n{number}")["VirtualMFADevice"])
        request = {"UserName": "alice", "SerialNumber": another.serial}
        if number < 7:
            alice.enable_mfa_device(**request, **another.codes())
        else:
            with refused("LimitExceeded", 409):
                alice.enable_mfa_device(**request, **another.codes())
    pages = alice.get_paginator("list_mfa_devices").paginate(UserName="alice", PaginationConfig={"PageSize": 3})
    assert sum(len(page["MFADevices"]) for page in pages) == 8
    pages = alice.get_paginator("list_virtual_mfa_devices").paginate(PaginationConfig={"PageSize": 4})
    assert sum(len(page["VirtualMFADevices"]) for page in pages) == 9


def test_a_root_has_devices_too(iam: Any) -> None:
    phone = Phone(iam.create_virtual_mfa_device(VirtualMFADeviceName="root-account-mfa-device")["VirtualMFADevice"])
    root = iam.get_user()["User"]
    iam.enable_mfa_device(UserName=root["UserName"], SerialNumber=phone.serial, **phone.codes())
    (assigned,) = iam.list_virtual_mfa_devices()["VirtualMFADevices"]
    assert assigned["User"] == root
    assert [device["SerialNumber"] for device in iam.list_mfa_devices()["MFADevices"]] == [phone.serial]
    assert iam.list_mfa_devices(UserName=root["UserName"])["MFADevices"] != []
    iam.create_user(UserName=root["UserName"])  # a user who has the root's name
    assert iam.list_mfa_devices(UserName=root["UserName"])["MFADevices"] == []
    iam.deactivate_mfa_device(SerialNumber=phone.serial)
    assert iam.list_mfa_devices(UserName=root["UserId"])["MFADevices"] == []


def test_tags_of_a_device(iam: Any) -> None:
    serial = iam.create_virtual_mfa_device(VirtualMFADeviceName="phone")["VirtualMFADevice"]["SerialNumber"]
    iam.tag_mfa_device(SerialNumber=serial, Tags=[{"Key": "a", "Value": "1"}, {"Key": "A", "Value": "2"}])
    assert iam.list_mfa_device_tags(SerialNumber=serial)["Tags"] == [
        {"Key": "A", "Value": "2"},
        {"Key": "a", "Value": "1"},
    ]
    iam.untag_mfa_device(SerialNumber=serial, TagKeys=["a"])
    assert [tag["Key"] for tag in iam.list_mfa_device_tags(SerialNumber=serial)["Tags"]] == ["A"]


def test_the_longest_serial_number_has_its_page(iam: Any) -> None:
    for too_long in (
        {"VirtualMFADeviceName": "n", "Path": "/" + "a" * 200 + "/"},
        {"VirtualMFADeviceName": "n" * 9999},
    ):
        with refused("ValidationError"):
            iam.create_virtual_mfa_device(**too_long)
    for name in ("m", "n"):
        iam.create_virtual_mfa_device(VirtualMFADeviceName=name, Path="/" + "a" * 188 + "/")
    pages = iam.get_paginator("list_virtual_mfa_devices").paginate(PaginationConfig={"PageSize": 1})
    assert [len(device["SerialNumber"]) for page in pages for device in page["VirtualMFADevices"]] == [220, 220]
