"""What policies users, groups and roles have: inline ones, attached ones, boundaries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.iam_service.documents import EC2, allowing
from tests.iam_service.refusals import refused

READ_ONLY = "arn:aws:iam::aws:policy/ReadOnlyAccess"


@dataclass
class Owner:
    """A user, group or role, and the operations of its kind: ``owner("put_{}_policy", PolicyName=…)``."""

    iam: Any
    kind: str
    name: str = "one"

    def __call__(self, operation: str, **request: Any) -> Mapping[str, Any]:
        answer: Mapping[str, Any] = getattr(self.iam, operation.format(self.kind))(
            **{f"{self.kind.capitalize()}Name": self.name}, **request
        )
        return answer

    def create(self) -> None:
        self("create_{}", **({"AssumeRolePolicyDocument": EC2} if self.kind == "role" else {}))


@pytest.fixture(params=["user", "group", "role"])
def owner(iam: Any, request: pytest.FixtureRequest) -> Owner:
    made = Owner(iam, request.param)
    made.create()
    return made


def test_inline_policies(owner: Owner) -> None:
    document = allowing("s3:Get*")
    owner("put_{}_policy", PolicyName="read", PolicyDocument=allowing("s3:*"))
    owner("put_{}_policy", PolicyName="read", PolicyDocument=document)
    owner("put_{}_policy", PolicyName="look", PolicyDocument=document)
    assert owner("list_{}_policies")["PolicyNames"] == ["look", "read"]
    first = owner("list_{}_policies", MaxItems=1)
    assert (first["PolicyNames"], first["IsTruncated"]) == (["look"], True)
    assert owner("list_{}_policies", MaxItems=1, Marker=first["Marker"])["PolicyNames"] == ["read"]
    found = owner("get_{}_policy", PolicyName="read")
    assert (found["PolicyName"], found["PolicyDocument"]) == ("read", json.loads(document))
    owner("delete_{}_policy", PolicyName="read")
    for operation in ("get_{}_policy", "delete_{}_policy"):
        with refused("NoSuchEntity", 404) as caught:
            owner(operation, PolicyName="read")
        message = caught.value.response["Error"]["Message"]
        assert message == f"The {owner.kind} policy with name read cannot be found."
    with refused("MalformedPolicyDocument"):
        owner("put_{}_policy", PolicyName="bad", PolicyDocument="{}")
    with refused("DeleteConflict", 409):
        owner("delete_{}")
    owner("delete_{}_policy", PolicyName="look")
    owner("delete_{}")


def test_inline_policies_have_a_size_together(owner: Owner) -> None:
    limit = {"user": 2048, "group": 5120, "role": 10240}[owner.kind]
    empty = len(json.dumps(json.loads(allowing("s3:")), separators=(",", ":")))
    half = allowing("s3:" + "a" * (limit // 2 - empty))
    owner("put_{}_policy", PolicyName="one", PolicyDocument=half)
    owner("put_{}_policy", PolicyName="two", PolicyDocument=half)
    owner("put_{}_policy", PolicyName="two", PolicyDocument=half)  # in place of itself
    with refused("LimitExceeded", 409) as caught:
        owner("put_{}_policy", PolicyName="two", PolicyDocument=half.replace("aa", "aaa", 1))
    message = caught.value.response["Error"]["Message"]
    assert message == f"Maximum policy size of {limit} bytes exceeded for {owner.kind} one"


def test_attached_policies(owner: Owner) -> None:
    own = owner.iam.create_policy(PolicyName="own", Path="/apps/", PolicyDocument=allowing("s3:*"))["Policy"]["Arn"]
    for arn in (READ_ONLY, own, own):
        owner("attach_{}_policy", PolicyArn=arn)
    everything = {"ReadOnlyAccess": READ_ONLY, "own": own}
    listed = owner("list_attached_{}_policies")["AttachedPolicies"]
    assert {policy["PolicyName"]: policy["PolicyArn"] for policy in listed} == everything
    below = owner("list_attached_{}_policies", PathPrefix="/apps/")["AttachedPolicies"]
    assert below == [{"PolicyName": "own", "PolicyArn": own}]
    assert owner.iam.get_policy(PolicyArn=own)["Policy"]["AttachmentCount"] == 1
    entities = owner.iam.list_entities_for_policy(PolicyArn=own)
    word = owner.kind.capitalize()
    (held,) = entities[f"Policy{word}s"]
    assert held[f"{word}Name"] == "one"
    others = {"User", "Group", "Role"} - {word}
    assert all(entities[f"Policy{other}s"] == [] for other in others)
    for other in others:
        filtered = owner.iam.list_entities_for_policy(PolicyArn=own, EntityFilter=other)
        assert filtered[f"Policy{word}s"] == []
    with refused("DeleteConflict", 409) as caught:
        owner.iam.delete_policy(PolicyArn=own)
    assert caught.value.response["Error"]["Message"] == "Cannot delete a policy attached to entities."
    with refused("DeleteConflict", 409):
        owner("delete_{}")
    owner("detach_{}_policy", PolicyArn=own)
    with refused("NoSuchEntity", 404):
        owner("detach_{}_policy", PolicyArn=own)
    owner.iam.delete_policy(PolicyArn=own)
    with refused("NoSuchEntity", 404) as caught:
        owner("attach_{}_policy", PolicyArn=own)
    assert caught.value.response["Error"]["Message"] == f"Policy {own} does not exist or is not attachable."


def test_ten_at_most(owner: Owner) -> None:
    names = [policy["Arn"] for policy in owner.iam.list_policies(Scope="AWS", PathPrefix="/", MaxItems=11)["Policies"]]
    for arn in names[:10]:
        owner("attach_{}_policy", PolicyArn=arn)
    owner("attach_{}_policy", PolicyArn=names[0])
    with refused("LimitExceeded", 409) as caught:
        owner("attach_{}_policy", PolicyArn=names[10])
    quota = f"PoliciesPer{owner.kind.capitalize()}"
    assert caught.value.response["Error"]["Message"] == f"Cannot exceed quota for {quota}: 10"


def test_nobody_has_none(iam: Any) -> None:
    for kind in ("user", "group", "role"):
        nobody = Owner(iam, kind, "nobody")
        for operation, request in (
            ("put_{}_policy", {"PolicyName": "p", "PolicyDocument": allowing("s3:*")}),
            ("list_{}_policies", {}),
            ("attach_{}_policy", {"PolicyArn": READ_ONLY}),
            ("list_attached_{}_policies", {}),
        ):
            with refused("NoSuchEntity", 404) as caught:
                nobody(operation, **request)
            assert caught.value.response["Error"]["Message"] == f"The {kind} with name nobody cannot be found."


@pytest.mark.parametrize("kind", ["user", "role"])
def test_boundaries(iam: Any, kind: str) -> None:
    owner = Owner(iam, kind)
    own = iam.create_policy(PolicyName="own", PolicyDocument=allowing("s3:*"))["Policy"]["Arn"]
    given = {"AssumeRolePolicyDocument": EC2} if kind == "role" else {}
    created = owner("create_{}", PermissionsBoundary=READ_ONLY, **given)[kind.capitalize()]
    assert created["PermissionsBoundary"]["PermissionsBoundaryArn"] == READ_ONLY
    owner("put_{}_permissions_boundary", PermissionsBoundary=own)
    found = owner("get_{}")[kind.capitalize()]["PermissionsBoundary"]
    assert found == {"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": own}
    assert iam.get_policy(PolicyArn=own)["Policy"]["PermissionsBoundaryUsageCount"] == 1
    with refused("DeleteConflict", 409):
        iam.delete_policy(PolicyArn=own)
    held = iam.list_entities_for_policy(PolicyArn=own, PolicyUsageFilter="PermissionsBoundary")
    assert [entity[f"{kind.capitalize()}Name"] for entity in held[f"Policy{kind.capitalize()}s"]] == ["one"]
    held = iam.list_entities_for_policy(PolicyArn=own, PolicyUsageFilter="PermissionsPolicy")
    assert held[f"Policy{kind.capitalize()}s"] == []
    owner("delete_{}_permissions_boundary")
    assert "PermissionsBoundary" not in owner("get_{}")[kind.capitalize()]
    with refused("NoSuchEntity", 404):
        owner("delete_{}_permissions_boundary")
    with refused("NoSuchEntity", 404):
        owner("put_{}_permissions_boundary", PermissionsBoundary=own.replace("/own", "/none"))
