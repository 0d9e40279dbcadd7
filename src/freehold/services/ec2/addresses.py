"""Public addresses: those that an interface is given at launch, and Elastic IPs.

An interface has at most one. Operations that change that take their turn in the change feed first, so that on
PostgreSQL too none of them decides on what another is changing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

from freehold.quotas import ELASTIC_IPS
from freehold.records.addressing import release
from freehold.records.compute import Instance
from freehold.records.feed import publish, take_turn
from freehold.records.ids import new_id
from freehold.records.network import (
    Address,
    InternetGateway,
    NetworkInterface,
    addresses,
    internet_gateways,
    network_interfaces,
)
from freehold.records.tags import Tag, delete_tags_of, put_tags, tags_of
from freehold.records.usage import open_usage
from freehold.services.ec2.errors import (
    AddressLimitExceeded,
    GatewayNotAttached,
    InsufficientAddressCapacity,
    InvalidAddressNotFound,
    InvalidAssociationIDNotFound,
    InvalidInstanceID,
    InvalidIPAddressInUse,
    InvalidParameterCombination,
    InvalidParameterValue,
    MissingParameter,
    ResourceAlreadyAssociated,
)
from freehold.services.ec2.filters import Condition, any_row, constant, text
from freehold.services.ec2.free_address import free_address
from freehold.services.ec2.paging import described
from freehold.services.ec2.parameters import refuse_others
from freehold.services.ec2.resources import ADDRESS, INSTANCE, MAX_IDS, NETWORK_INTERFACE, created
from freehold.services.ec2.tags import specified, tag_list
from freehold.services.errors import UnsupportedOperation
from freehold.services.operation import Call, Needed, Response, operation
from freehold.services.quotas import limit

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        AddressTypeDef,
        AllocateAddressRequestTypeDef,
        AssociateAddressRequestTypeDef,
        DescribeAddressesAttributeRequestTypeDef,
        DescribeAddressesRequestTypeDef,
        DisassociateAddressRequestTypeDef,
        ReleaseAddressRequestTypeDef,
    )

_FIRST = 3
"""The first address of the pool that is given out: the network's own, its gateway and the machine come before."""

_POOL = "amazon"
_A = addresses.c
_ELASTIC = _A.kind == "elastic"


def allocate_auto(call: Call, interface: NetworkInterface) -> Address:
    """Give the interface a public address until its instance stops.

    If it has one already, an Elastic IP that outlived the stop, that is the answer. Raises
    InsufficientAddressCapacity. https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-instance-addressing.html
    """
    take_turn(call.tx)
    held = call.tx.find(Address, _A.interface_id == interface.id)
    if held is not None:
        return held
    address = _allocate(call, "auto", interface)
    _changed(call, interface)
    return address


def set_auto(call: Call, interface: NetworkInterface, wanted: bool) -> None:
    """Whether the interface has a public address of its own when its instance runs: from now on. Raises
    InsufficientAddressCapacity. https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/working-with-ip-addresses.html
    """
    take_turn(call.tx)
    interface = call.tx.update(interface, auto_public_ip=wanted)
    if wanted:
        if _has_a_running_instance(call, interface):
            allocate_auto(call, interface)
        return
    own = call.tx.find(Address, _A.interface_id == interface.id, _A.kind == "auto")
    if own is not None:
        release(call.tx, own)
        _changed(call, interface)


def _has_a_running_instance(call: Call, interface: NetworkInterface) -> bool:
    instance = call.tx.get(Instance, interface.instance_id or "")
    return instance is not None and instance.state in ("pending", "running")


def _allocate(
    call: Call,
    kind: Literal["elastic", "auto"],
    interface: NetworkInterface | None = None,
    allocation_id: str | None = None,
) -> Address:
    pool = IPv4Network(call.config.network.public_pool)
    public_ip = free_address(call.tx, pool, _FIRST, _A.public_ip)
    if public_ip is None:
        raise InsufficientAddressCapacity
    address = Address(
        public_ip=public_ip,
        account_id=call.account_id,
        region=call.region,
        kind=kind,
        allocation_id=allocation_id,
        association_id=None,
        interface_id=interface.id if interface else None,
        private_ip=interface.private_ip if interface else None,
        allocated_at=call.now,
    )
    call.tx.insert(address)
    open_usage(call.tx, call.account_id, call.region, public_ip, "address")
    return address


def _changed(call: Call, interface: NetworkInterface) -> None:
    """Tell the fabric, and the host of the instance, whose metadata shows the address."""
    publish(call.tx, "vpc", interface.vpc_id)
    if interface.instance_id is not None:
        publish(call.tx, "guest", interface.instance_id)


@operation(resources=created(ADDRESS))
def allocate_address(call: Call, request: AllocateAddressRequestTypeDef) -> Response:
    """An address of the cloud's pool, on the bill until it is released. Raises AddressLimitExceeded or
    InsufficientAddressCapacity."""
    refuse_others(request, {"Domain", "NetworkBorderGroup", "TagSpecifications"}, {"PublicIpv4Pool": _POOL})
    if request.get("Domain", "vpc") != "vpc":
        raise UnsupportedOperation(f"The domain '{request['Domain']}' (EC2-Classic)")
    border_group = request.get("NetworkBorderGroup") or call.region
    if border_group != call.region:
        raise InvalidParameterValue(f"Invalid network border group; this region has one, '{call.region}'.")
    tags = specified(request.get("TagSpecifications"), ADDRESS.resource_type)[ADDRESS.resource_type]
    take_turn(call.tx)
    if call.tx.count(Address, *ADDRESS.visible(call), _ELASTIC) >= limit(call, ELASTIC_IPS):
        raise AddressLimitExceeded
    allocation_id = new_id(ADDRESS.prefix)
    address = _allocate(call, "elastic", allocation_id=allocation_id)
    put_tags(call.tx, call.account_id, call.region, ADDRESS.resource_type, allocation_id, tags)
    return {
        "AllocationId": allocation_id,
        "PublicIp": address.public_ip,
        "PublicIpv4Pool": _POOL,
        "NetworkBorderGroup": border_group,
        "Domain": "vpc",
    }


def _needed(call: Call, request: Mapping[str, Any]) -> Needed:
    """The Elastic IP that a request names by itself or by its association, or what it would be."""
    allocation_id = request.get("AllocationId")
    for member, column in (("PublicIp", "public_ip"), ("AssociationId", "association_id")):
        value = request.get(member)
        if value and "\0" not in value:
            found = call.tx.find(Address, **ADDRESS.owner(call) | {column: value})
            allocation_id = allocation_id or (found.allocation_id if found is not None else None)
    return ADDRESS.needed(call, allocation_id or "*")


def _address(call: Call, request: Mapping[str, Any]) -> list[Needed]:
    return [_needed(call, request)]


def _associated(call: Call, request: AssociateAddressRequestTypeDef) -> list[Needed]:
    named = (
        (INSTANCE, request.get("InstanceId")),
        (NETWORK_INTERFACE, request.get("NetworkInterfaceId")),
    )
    others = [kind.needed(call, resource_id) for kind, resource_id in named if resource_id]
    return [_needed(call, request), *others]


@operation(resources=_associated)
def associate_address(call: Call, request: AssociateAddressRequestTypeDef) -> Response:
    """The interface's other address gives way: an automatic one is released, an Elastic IP stays allocated. Either
    that or moving this address from another interface needs AllowReassociation, which AWS says is the default."""
    take_turn(call.tx)
    address, interface = _named(call, request), _target(call, request)
    if request.get("PrivateIpAddress") not in (None, "", interface.private_ip):
        raise InvalidParameterValue(
            f"The private address given is not of network interface {interface.id}, which has {interface.private_ip}."
        )
    if call.tx.find(InternetGateway, internet_gateways.c.vpc_id == interface.vpc_id) is None:
        raise GatewayNotAttached(interface.vpc_id)
    if address.interface_id == interface.id:
        return {"AssociationId": address.association_id}
    present = call.tx.find(Address, _A.interface_id == interface.id)
    if not request.get("AllowReassociation", True):
        if address.association_id:
            raise ResourceAlreadyAssociated(address.allocation_id or address.public_ip, address.association_id)
        if present and present.association_id:
            raise ResourceAlreadyAssociated(interface.id, present.association_id)
    if present and present.kind == "auto":
        release(call.tx, present)
    elif present:
        call.tx.update(present, interface_id=None, association_id=None, private_ip=None)
    if address.interface_id:
        _take_off(call, address)
    association_id = new_id("eipassoc")
    call.tx.update(address, interface_id=interface.id, association_id=association_id, private_ip=interface.private_ip)
    _changed(call, interface)
    return {"AssociationId": association_id}


def _named(call: Call, request: Mapping[str, Any]) -> Address:
    """The Elastic IP of the members AllocationId or PublicIp."""
    allocation_id, public_ip = request.get("AllocationId"), request.get("PublicIp")
    if allocation_id and public_ip:
        raise InvalidParameterCombination("You may specify public IP or allocation id, but not both in the same call")
    if allocation_id:
        return ADDRESS.load(call, allocation_id)
    if not public_ip:
        raise MissingParameter("AllocationId or PublicIp")
    return _with_public_ips(call, [public_ip])[0]


def _with_public_ips(call: Call, public_ips: Sequence[str]) -> list[Address]:
    if len(public_ips) > MAX_IDS:
        raise InvalidParameterValue(f"At most {MAX_IDS} addresses may be given in a request.")
    for public_ip in public_ips:
        try:
            IPv4Address(public_ip)
        except ValueError as error:
            raise InvalidParameterValue(
                f"Value ({public_ip}) for parameter publicIp is invalid. Invalid IPv4 address."
            ) from error
    found = call.tx.select(Address, *ADDRESS.visible(call), _ELASTIC, _A.public_ip.in_(public_ips))
    if missing := set(public_ips) - {address.public_ip for address in found}:
        raise InvalidAddressNotFound(*sorted(missing))
    return found


def _target(call: Call, request: AssociateAddressRequestTypeDef) -> NetworkInterface:
    instance_id, interface_id = request.get("InstanceId"), request.get("NetworkInterfaceId")
    if instance_id and interface_id:
        raise InvalidParameterCombination("You may specify an instance or a network interface, but not both")
    if interface_id:
        return NETWORK_INTERFACE.load(call, interface_id)
    if not instance_id:
        raise MissingParameter("InstanceId or NetworkInterfaceId")
    instance = INSTANCE.load(call, instance_id)
    primary = call.tx.find(
        NetworkInterface, network_interfaces.c.instance_id == instance.id, network_interfaces.c.device_index == 0
    )
    if primary is None or instance.state in ("pending", "shutting-down", "terminated"):
        raise InvalidInstanceID(instance.id, instance.state)
    return primary


def _take_off(call: Call, address: Address) -> None:
    """Take an Elastic IP off its interface, which gets an address of its own again if that is how it was launched
    (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-instance-addressing.html, "Public IPv4 addresses")."""
    call.tx.update(address, interface_id=None, association_id=None, private_ip=None)
    interface = call.tx.get(NetworkInterface, address.interface_id or "")
    if interface is None:
        return
    _changed(call, interface)
    if interface.auto_public_ip and _has_a_running_instance(call, interface):
        # An exhausted pool is no reason to keep the caller from moving the address: the next start tries again.
        with contextlib.suppress(InsufficientAddressCapacity):
            allocate_auto(call, interface)


@operation(resources=_address)
def disassociate_address(call: Call, request: DisassociateAddressRequestTypeDef) -> Response:
    """Named by its association or itself; an address that is not associated stays as it is."""
    association_id, public_ip = request.get("AssociationId"), request.get("PublicIp")
    if association_id and public_ip:
        raise InvalidParameterCombination("You may specify public IP or association id, but not both in the same call")
    if not association_id and not public_ip:
        raise MissingParameter("AssociationId or PublicIp")
    take_turn(call.tx)
    if public_ip:
        (address,) = _with_public_ips(call, [public_ip])
    else:
        address = _with_association(call, association_id or "")
    if address.interface_id:
        _take_off(call, address)
    return {}


def _with_association(call: Call, association_id: str) -> Address:
    usable = "\0" not in association_id
    found = usable and call.tx.find(Address, *ADDRESS.visible(call), _A.association_id == association_id)
    if not found:
        raise InvalidAssociationIDNotFound(association_id)
    return found


@operation(resources=_address)
def release_address(call: Call, request: ReleaseAddressRequestTypeDef) -> Response:
    """It ends on the bill. Raises InvalidIPAddress.InUse while it is associated."""
    take_turn(call.tx)
    address = _named(call, request)
    if (request.get("NetworkBorderGroup") or call.region) != call.region:
        raise InvalidAddressNotFound(address.public_ip)
    if address.association_id:
        raise InvalidIPAddressInUse(address.public_ip)
    release(call.tx, address)
    delete_tags_of(call.tx, address.allocation_id or "")
    return {}


def _interface(that: Condition) -> Condition:
    """A filter on the interface that the address is associated with."""
    return any_row(network_interfaces, network_interfaces.c.id == _A.interface_id, that=that)


_FILTERS: dict[str, Condition] = {
    "allocation-id": text(_A.allocation_id),
    "association-id": text(_A.association_id),
    "domain": constant("vpc"),
    "instance-id": _interface(text(network_interfaces.c.instance_id)),
    "network-border-group": text(_A.region),
    "network-interface-id": text(_A.interface_id),
    "network-interface-owner-id": _interface(text(network_interfaces.c.account_id)),
    "private-ip-address": text(_A.private_ip),
    "public-ip": text(_A.public_ip),
}


@operation()
def describe_addresses(call: Call, request: DescribeAddressesRequestTypeDef) -> Response:
    """Elastic IPs only: an address that was given at a launch shows with its instance and interface."""
    where: list[sa.ColumnElement[bool]] = [_ELASTIC]
    if public_ips := request.get("PublicIps"):
        where.append(_A.public_ip.in_([address.public_ip for address in _with_public_ips(call, public_ips)]))
    found = described(call, ADDRESS, request, "AllocationIds", _FILTERS, *where, whole=True).rows
    tags = tags_of(call.tx, [address.allocation_id or "" for address in found])
    on = [address.interface_id for address in found if address.interface_id]
    interfaces: dict[str, NetworkInterface] = {
        interface.id: interface for interface in call.tx.select(NetworkInterface, network_interfaces.c.id.in_(on))
    }
    return {
        "Addresses": [
            _description(address, interfaces.get(address.interface_id or ""), tags[address.allocation_id or ""])
            for address in found
        ]
    }


def _description(address: Address, interface: NetworkInterface | None, tags: Sequence[Tag]) -> AddressTypeDef:
    result: AddressTypeDef = {
        "AllocationId": address.allocation_id or "",
        "PublicIp": address.public_ip,
        "PublicIpv4Pool": _POOL,
        "NetworkBorderGroup": address.region,
        "Domain": "vpc",
        "Tags": tag_list(tags),
    }
    if interface is not None:
        result |= {
            "AssociationId": address.association_id or "",
            "NetworkInterfaceId": interface.id,
            "NetworkInterfaceOwnerId": interface.account_id,
            "PrivateIpAddress": interface.private_ip,
        }
        if interface.instance_id:
            result["InstanceId"] = interface.instance_id
    return result


@operation()
def describe_addresses_attribute(call: Call, request: DescribeAddressesAttributeRequestTypeDef) -> Response:
    """Attribute makes no difference: there is only the reverse DNS name, which no address has here."""
    found = described(call, ADDRESS, request, "AllocationIds", {}, _ELASTIC, smallest=1)
    return {
        "Addresses": [{"PublicIp": address.public_ip, "AllocationId": address.allocation_id} for address in found.rows],
        **found.token,
    }
