"""SendSSHPublicKey, SendSerialConsoleSSHPublicKey.

A key goes to the instance by its metadata service, where the instance's sshd asks for it while somebody logs in:
``managed-ssh-keys/active-keys/USER`` (host/metadata/documents.py, images/guest/helper/connect.c).
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-connect-methods.html
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from freehold.records.compute import Host, Instance
from freehold.records.connect import ConnectKey, SerialConsoleAccess, connect_keys
from freehold.records.feed import publish
from freehold.records.ids import is_ec2_id
from freehold.records.tags import Tag
from freehold.services.ec2.compute_errors import InvalidKeyFormat
from freehold.services.ec2.key_pairs import parse_public_key
from freehold.services.ec2_instance_connect.errors import (
    InstanceNotFound,
    InstanceStateInvalid,
    InstanceUnavailable,
    InvalidArgs,
    SerialConsoleAccessDisabled,
    SerialConsoleSessionUnsupported,
)
from freehold.services.operation import Call, Needed, Request, Response, Value, operation
from freehold.services.parameters import refuse_others

VALID = dt.timedelta(seconds=60)
KEYS_MAX = 20
"""Of an instance at a time: more than anybody needs in a minute, and few enough to be told to the host each time."""


def _on_instance(call: Call, request: Request) -> Iterator[Needed]:
    instance_id = request["InstanceId"]

    def keys() -> Mapping[str, Value]:
        return {"ec2:osuser": request.get("InstanceOSUser")}

    def tags() -> Mapping[str, str]:
        if not is_ec2_id("i", instance_id):
            return {}
        return {tag.key: tag.value for tag in call.tx.select(Tag, resource_id=instance_id, account_id=call.account_id)}

    yield Needed(f"arn:aws:ec2:{call.region}:{call.account_id}:instance/{instance_id}", keys=keys, tags=tags)


@operation(resources=_on_instance)
def send_ssh_public_key(call: Call, request: Request) -> Response:
    """The key lets in the user of the guest for a minute.

    Raises EC2InstanceNotFoundException, EC2InstanceStateInvalidException for an instance that does not run,
    EC2InstanceUnavailableException when its host is not linked, InvalidArgsException for what is no RSA or ED25519 key.
    """
    refuse_others(request, {"InstanceId", "InstanceOSUser", "SSHPublicKey", "AvailabilityZone"})
    try:
        key = parse_public_key(request["SSHPublicKey"].encode())
    except InvalidKeyFormat as error:
        raise InvalidArgs(f"SSHPublicKey: {error.message}") from error
    instance = _running(call, request["InstanceId"])
    if request.get("AvailabilityZone", instance.zone) != instance.zone:
        raise InstanceNotFound(instance.id)
    host = call.tx.get(Host, instance.host_id) if instance.host_id else None
    if host is None or not host.connected:
        raise InstanceUnavailable(instance.id)
    call.tx.delete_where(ConnectKey, connect_keys.c.expires_at <= call.now, instance_id=instance.id)
    if call.tx.count(ConnectKey, connect_keys.c.instance_id == instance.id) >= KEYS_MAX:
        raise InvalidArgs(f"At most {KEYS_MAX} keys may be sent to an instance in a minute.")
    call.tx.insert(
        ConnectKey(
            id=call.request_id,
            account_id=instance.account_id,
            region=instance.region,
            instance_id=instance.id,
            os_user=request["InstanceOSUser"],
            public_key=key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode(),
            caller_arn=call.principal.arn,
            expires_at=call.now + VALID,
        )
    )
    publish(call.tx, "guest", instance.id)
    return {"RequestId": call.request_id, "Success": True}


@operation(resources=_on_instance)
def send_serial_console_ssh_public_key(call: Call, request: Request) -> Response:
    """Sessions by SSH are not built: refused as AWS refuses what can have none.

    Raises SerialConsoleAccessDisabledException first, then what SendSSHPublicKey does.
    """
    refuse_others(request, {"InstanceId", "SSHPublicKey"}, {"SerialPort": 0})
    if call.tx.get(SerialConsoleAccess, call.account_id, call.region) is None:
        raise SerialConsoleAccessDisabled
    _running(call, request["InstanceId"])
    raise SerialConsoleSessionUnsupported


def _running(call: Call, instance_id: str) -> Instance:
    instance = None
    if is_ec2_id("i", instance_id):
        instance = call.tx.find(Instance, id=instance_id, account_id=call.account_id, region=call.region)
    if instance is None:
        raise InstanceNotFound(instance_id)
    if instance.state != "running":
        raise InstanceStateInvalid(instance.id, instance.state)
    return instance
