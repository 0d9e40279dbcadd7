"""Virtual MFA devices: programs that show codes (records/mfa), for users and for the account's root.

https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_mfa_enable_virtual.html. Where an operation wants a user
name, the root gives the one that GetUser shows it, or the account's number; in AWS a root does this in the console.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import pyotp
import segno

from freehold.records import mfa
from freehold.records.accounts import User
from freehold.records.feed import take_turn
from freehold.records.identities import MfaDevice, mfa_devices
from freehold.records.secrets import MFA_DEVICE
from freehold.records.tags import delete_tags_of, tags_of
from freehold.services.iam import tags
from freehold.services.iam.errors import (
    DeleteConflict,
    EntityAlreadyExists,
    InvalidAuthenticationCode,
    LimitExceeded,
    NoSuchEntity,
    ValidationError,
)
from freehold.services.iam.paging import page
from freehold.services.iam.resources import all_under, arn_of, find_user, load_user, of_tagged, user_named
from freehold.services.iam.users import MAX_USERS, own_user, root, root_name, summary
from freehold.services.operation import Call, Needed, Response, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_iam.type_defs import (
        CreateVirtualMFADeviceRequestTypeDef,
        DeactivateMFADeviceRequestTypeDef,
        DeleteVirtualMFADeviceRequestTypeDef,
        EnableMFADeviceRequestTypeDef,
        GetMFADeviceRequestTypeDef,
        ListMFADevicesRequestTypeDef,
        ListMFADeviceTagsRequestTypeDef,
        ListVirtualMFADevicesRequestTypeDef,
        ResyncMFADeviceRequestTypeDef,
        TagMFADeviceRequestTypeDef,
        UntagMFADeviceRequestTypeDef,
    )

MAX_DEVICES_PER_USER = 8
_SEED_CHARACTERS = 64
_SERIAL_CHARACTERS_MAX = 220
"""AWS has 256; no longer than a marker can hold."""
_PIXELS_PER_MODULE = 5


class _Drawn(NamedTuple):
    seed: str
    qr_code_png: bytes


def _drawn(call: Call, request: CreateVirtualMFADeviceRequestTypeDef) -> _Drawn:
    """A new seed, and the image that a phone takes it from: drawing takes some hundredths of a second."""
    (arn,) = _created(call, request)
    if len(arn) > _SERIAL_CHARACTERS_MAX:
        raise ValidationError(f"The serial number {arn[:_SERIAL_CHARACTERS_MAX]}… is longer than 220 characters.")
    seed = pyotp.random_base32(_SEED_CHARACTERS)
    label = quote(f"{request['VirtualMFADeviceName']}@{call.account_id}", safe="@")
    image = io.BytesIO()
    segno.make_qr(f"otpauth://totp/{label}?secret={seed}").save(image, kind="png", scale=_PIXELS_PER_MODULE)
    return _Drawn(seed, image.getvalue())


def _created(call: Call, request: CreateVirtualMFADeviceRequestTypeDef) -> list[str]:
    return [arn_of(call.account_id, "mfa", request.get("Path", "/"), request["VirtualMFADeviceName"])]


@operation(resources=_created, prepare=_drawn)
def create_virtual_mfa_device(call: Call, request: CreateVirtualMFADeviceRequestTypeDef) -> Response:
    """A device of nobody yet. Its seed is in this answer and nowhere else. Raises EntityAlreadyExists."""
    refuse_others(request, {"VirtualMFADeviceName", "Path", "Tags"})
    pairs = tags.checked(request.get("Tags"), "mfa")
    (arn,) = _created(call, request)
    take_turn(call.tx)
    if call.tx.get(MfaDevice, arn) is not None:
        raise EntityAlreadyExists("MFADevice entity at the same path and name")
    if call.tx.count(MfaDevice, account_id=call.account_id) >= MAX_USERS:
        raise LimitExceeded("VirtualMfaDevicesPerAccount", MAX_USERS)
    drawn: _Drawn = call.prepared
    sealed = call.sealer.seal(MFA_DEVICE, arn, drawn.seed.encode())
    call.tx.insert(MfaDevice(arn, call.account_id, None, sealed, call.now, None, step_latest=0, skew_steps=0))
    tags.put(call, "mfa", arn, pairs)
    return {
        "VirtualMFADevice": {
            "SerialNumber": arn,
            "Base32StringSeed": drawn.seed.encode(),
            "QRCodePNG": drawn.qr_code_png,
            **({"Tags": tags.tag_list(tags_of(call.tx, [arn])[arn])} if pairs else {}),
        }
    }


@operation(resources=user_named)
def enable_mfa_device(call: Call, request: EnableMFADeviceRequestTypeDef) -> Response:
    """Give a device to a user who has shown two codes of it in a row. Raises InvalidAuthenticationCode,
    EntityAlreadyExists when it is somebody's already, LimitExceeded at the ninth."""
    refuse_others(request, {"UserName", "SerialNumber", "AuthenticationCode1", "AuthenticationCode2"})
    take_turn(call.tx)
    owner_id, _ = _owner(call, request)
    device = _load(call, request["SerialNumber"])
    if device.user_id is not None:
        raise EntityAlreadyExists(f"An assignment of the MFA Device with serial number {device.arn}")
    if call.tx.count(MfaDevice, account_id=call.account_id, user_id=owner_id) >= MAX_DEVICES_PER_USER:
        raise LimitExceeded("MfaDevicesPerUser", MAX_DEVICES_PER_USER)
    device = _synchronised(call, device, request)
    call.tx.update(device, user_id=owner_id, enabled_at=call.now)
    return {}


@operation(resources=user_named)
def resync_mfa_device(call: Call, request: ResyncMFADeviceRequestTypeDef) -> Response:
    """A device whose clock has drifted works again. Raises InvalidAuthenticationCode."""
    refuse_others(request, {"UserName", "SerialNumber", "AuthenticationCode1", "AuthenticationCode2"})
    take_turn(call.tx)
    _synchronised(call, _load_of(call, _owner(call, request)[0], request["SerialNumber"]), request)
    return {}


@operation(resources=user_named)
def deactivate_mfa_device(call: Call, request: DeactivateMFADeviceRequestTypeDef) -> Response:
    """Take a device from its user; it stays, and may be given to another."""
    refuse_others(request, {"UserName", "SerialNumber"})
    take_turn(call.tx)
    device = _load_of(call, _owner(call, request)[0], request["SerialNumber"])
    call.tx.update(device, user_id=None, enabled_at=None)
    return {}


def _serial(call: Call, request: Any) -> list[Needed]:
    return [of_tagged(call, request["SerialNumber"])]


@operation(resources=_serial)
def delete_virtual_mfa_device(call: Call, request: DeleteVirtualMFADeviceRequestTypeDef) -> Response:
    """A device of nobody. Raises DeleteConflict."""
    refuse_others(request, {"SerialNumber"})
    take_turn(call.tx)
    device = _load(call, request["SerialNumber"])
    if device.user_id is not None:
        raise DeleteConflict("deactivate MFA device")
    delete_tags_of(call.tx, device.arn)
    call.tx.delete(device)
    return {}


@operation(resources=user_named)
def get_mfa_device(call: Call, request: GetMFADeviceRequestTypeDef) -> Response:
    """A device and whose it is; with UserName, only if it is this user's."""
    refuse_others(request, {"UserName", "SerialNumber"})
    if "UserName" in request:
        device = _load_of(call, _owner(call, request)[0], request["SerialNumber"])
    else:
        device = _load(call, request["SerialNumber"])
    return {"SerialNumber": device.arn, **_assignment(call, device)}


@operation(resources=user_named)
def list_mfa_devices(call: Call, request: ListMFADevicesRequestTypeDef) -> Response:
    """The devices of a user or, without UserName, of the caller; by serial number."""
    refuse_others(request, {"UserName", "Marker", "MaxItems"})
    owner_id, name = _owner(call, request)
    found = page(call, MfaDevice, request, key=("arn",), account_id=call.account_id, user_id=owner_id)
    devices = [{"UserName": name, "SerialNumber": device.arn, "EnableDate": device.enabled_at} for device in found.rows]
    return {"MFADevices": devices, **found.end}


@operation(resources=all_under("mfa"))
def list_virtual_mfa_devices(call: Call, request: ListVirtualMFADevicesRequestTypeDef) -> Response:
    """All devices of the account, those that are somebody's, or the others; by serial number."""
    refuse_others(request, {"AssignmentStatus", "Marker", "MaxItems"})
    where = {
        "Any": [],
        "Assigned": [mfa_devices.c.user_id.is_not(None)],
        "Unassigned": [mfa_devices.c.user_id.is_(None)],
    }[request.get("AssignmentStatus", "Any")]
    found = page(call, MfaDevice, request, *where, key=("arn",), account_id=call.account_id)
    owner_ids = list({device.user_id for device in found.rows if device.user_id})
    owners = {user.id: summary(user) for user in call.tx.select(User, id=owner_ids)}
    if call.account_id in owner_ids:
        owners[call.account_id] = root(call)
    devices = [
        {
            "SerialNumber": device.arn,
            **({"User": owners[device.user_id], "EnableDate": device.enabled_at} if device.user_id else {}),
        }
        for device in found.rows
    ]
    return {"VirtualMFADevices": devices, **found.end}


@operation(resources=_serial)
def tag_mfa_device(call: Call, request: TagMFADeviceRequestTypeDef) -> Response:
    """Raises LimitExceeded at more than 50 tags."""
    refuse_others(request, {"SerialNumber", "Tags"})
    pairs = tags.checked(request["Tags"], "mfa")
    take_turn(call.tx)
    tags.put(call, "mfa", _load(call, request["SerialNumber"]).arn, pairs)
    return {}


@operation(resources=_serial)
def untag_mfa_device(call: Call, request: UntagMFADeviceRequestTypeDef) -> Response:
    """Keys that the device has no tag with make no difference."""
    refuse_others(request, {"SerialNumber", "TagKeys"})
    take_turn(call.tx)
    tags.remove(call, "mfa", _load(call, request["SerialNumber"]).arn, request["TagKeys"])
    return {}


@operation(resources=_serial)
def list_mfa_device_tags(call: Call, request: ListMFADeviceTagsRequestTypeDef) -> Response:
    """By key."""
    refuse_others(request, {"SerialNumber", "Marker", "MaxItems"})
    return tags.listed(call, request, _load(call, request["SerialNumber"]).arn)


def _owner(call: Call, request: Any) -> tuple[str, str]:
    """Whose device a request is about: the id that records of devices have, and the user name. See the module's
    docstring for the root's name. Raises NoSuchEntity, or ValidationError when a role names no user."""
    name = request.get("UserName")
    user = find_user(call, name) if name is not None else None
    if user is None and call.principal.kind == "root" and name in (None, call.account_id, root_name(call)):
        return call.account_id, root_name(call)
    if user is None:
        user = load_user(call, name) if name is not None else own_user(call)
    return user.id, user.name


def _load(call: Call, serial: str) -> MfaDevice:
    device = call.tx.find(MfaDevice, arn=serial, account_id=call.account_id)
    if device is None:
        raise NoSuchEntity(f"The MFA Device with serial number {serial}")
    return device


def _load_of(call: Call, owner_id: str, serial: str) -> MfaDevice:
    device = mfa.device_of(call.tx, call.account_id, owner_id, serial)
    if device is None:
        raise NoSuchEntity(f"The MFA Device with serial number {serial}")
    return device


def _synchronised(
    call: Call, device: MfaDevice, request: EnableMFADeviceRequestTypeDef | ResyncMFADeviceRequestTypeDef
) -> MfaDevice:
    code_1, code_2 = request["AuthenticationCode1"], request["AuthenticationCode2"]
    synchronised = mfa.synchronise(call.tx, call.sealer, device, code_1, code_2)
    if synchronised is None:
        raise InvalidAuthenticationCode
    return synchronised


def _assignment(call: Call, device: MfaDevice) -> dict[str, Any]:
    """Whose a device is and since when, as GetMFADevice shows it."""
    if device.user_id is None:
        return {}
    user = call.tx.get(User, device.user_id)
    return {"UserName": user.name if user else root_name(call), "EnableDate": device.enabled_at}
