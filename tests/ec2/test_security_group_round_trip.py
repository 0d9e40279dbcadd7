"""Rules of security groups, there and back: what is authorised is described, and what is described can be revoked."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freehold.records.network import SecurityGroupRule
from freehold.services.ec2.errors import InvalidPermissionDuplicate
from tests.ec2.calls import Caller
from tests.ec2.test_security_group_rules import ipv4, new_group, permissions, rules

PORTS = st.integers(0, 65535)
ICMP = st.integers(0, 255)
TRAFFIC = st.one_of(
    st.tuples(st.sampled_from(["tcp", "udp"]), PORTS, PORTS).map(lambda t: (t[0], min(t[1:]), max(t[1:]))),
    st.tuples(st.sampled_from(["icmp", "icmpv6"]), ICMP, ICMP | st.just(-1)),
    st.sampled_from([("icmp", -1, -1), ("icmpv6", -1, -1), ("-1", -1, -1), ("0", -1, -1), ("47", -1, -1)]),
)
PEER = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.integers(0, 32)).map(lambda t: ("IpRanges", "CidrIp", f"{t[0]}/{t[1]}")),
    st.tuples(st.ip_addresses(v=6), st.integers(0, 128)).map(lambda t: ("Ipv6Ranges", "CidrIpv6", f"{t[0]}/{t[1]}")),
    st.just(("UserIdGroupPairs", "GroupName", "default")),
)
DESCRIPTION = st.text(alphabet="abcXYZ019. _-:/()#,@[]+=&;{}!$*", max_size=20)


def flat(shown: Any) -> set[tuple[Any, ...]]:
    return {
        (p["IpProtocol"], p.get("FromPort", -1), p.get("ToPort", -1), member, *sorted(peer.items()))
        for p in shown
        for member in ("IpRanges", "Ipv6Ranges", "UserIdGroupPairs")
        for peer in p[member]
    }


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(TRAFFIC, PEER, DESCRIPTION), min_size=1, max_size=8), st.sampled_from(["ingress", "egress"]))
def test_what_is_authorised_is_described_and_can_be_revoked(caller: Caller, given_rules: Any, way: str) -> None:
    group_id = new_group(caller)
    member = {"ingress": "IpPermissions", "egress": "IpPermissionsEgress"}[way]
    authorize, revoke = (getattr(caller, f"{verb}_security_group_{way}") for verb in ("authorize", "revoke"))
    if way == "egress":
        revoke(GroupId=group_id, IpPermissions=[ipv4("-1", -1, -1)])
    made = 0
    for (protocol, from_port, to_port), (kind, name, value), text in given_rules:
        permission = {"IpProtocol": protocol, "FromPort": from_port, "ToPort": to_port}
        permission |= {kind: [{name: value, "Description": text}]}
        try:
            authorize(GroupId=group_id, IpPermissions=[permission])
            made += 1
        except InvalidPermissionDuplicate:
            continue
    shown = permissions(caller, group_id, member)
    assert len(flat(shown)) == made > 0
    copy_id = new_group(caller, "copy")
    if way == "egress":
        revoke(GroupId=copy_id, IpPermissions=[ipv4("-1", -1, -1)])
    authorize(GroupId=copy_id, IpPermissions=shown)
    assert flat(permissions(caller, copy_id, member)) == flat(shown)
    for revoked_id in (group_id, copy_id):
        answer = revoke(GroupId=revoked_id, IpPermissions=shown)
        assert answer["UnknownIpPermissions"] == []
        assert permissions(caller, revoked_id, member) == []
        assert rules(caller, revoked_id, egress=way == "egress") == []
        caller.delete_security_group(GroupId=revoked_id)
    with caller.store.read() as tx:
        assert tx.count(SecurityGroupRule) == 2
