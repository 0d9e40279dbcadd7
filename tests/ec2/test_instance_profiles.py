"""Instance profiles on instances: from the launch on, given, exchanged and taken away."""

from __future__ import annotations

from typing import Any

from freehold.records.compute import ProfileAssociation
from freehold.records.identities import InstanceProfile
from freehold.records.ids import AccountId, new_iam_id
from tests.ec2.calls import Caller, refused
from tests.ec2.launching import launch, launch_one, record, run_one, shown, terminate


def profile(caller: Caller, name: str, *, role: str | None = "AROAROLE", account: str | None = None) -> InstanceProfile:
    with caller.store.write() as tx:
        made = InstanceProfile(
            new_iam_id("AIPA"), AccountId(account or caller.account), name, name.lower(), "/web/", role, tx.now
        )
        tx.insert(made)
    return made


def arn(of: InstanceProfile) -> str:
    return f"arn:aws:iam::{of.account_id}:instance-profile/web/{of.name}"


def associations(caller: Caller, **request: Any) -> list[Any]:
    found: list[Any] = caller.describe_iam_instance_profile_associations(**request)["IamInstanceProfileAssociations"]
    return found


def test_a_server_is_launched_with_a_profile(ready: Caller) -> None:
    web = profile(ready, "Web")
    for specification in ({"Name": "web"}, {"Arn": arn(web)}):
        instance = launch_one(ready, IamInstanceProfile=specification)
        assert instance["IamInstanceProfile"] == {"Arn": arn(web), "Id": web.id}
        assert shown(ready, instance["InstanceId"])["IamInstanceProfile"]["Id"] == web.id
        (found,) = associations(ready, Filters=[{"Name": "instance-id", "Values": [instance["InstanceId"]]}])
        assert found["State"] == "associated"
        assert found["AssociationId"].startswith("iip-assoc-")
    assert "IamInstanceProfile" not in launch_one(ready)
    for name, value in (("arn", arn(web)), ("id", web.id), ("name", "Web")):
        filters = [{"Name": f"iam-instance-profile.{name}", "Values": [value]}]
        assert len(ready.describe_instances(Filters=filters)["Reservations"]) == 2


def test_profiles_that_can_not_be(ready: Caller, stranger: Caller) -> None:
    web, empty = profile(ready, "web"), profile(ready, "empty", role=None)
    theirs = profile(ready, "theirs", account=stranger.account)
    instance_id = run_one(ready)
    for specification, code in (
        ({"Name": "absent"}, "InvalidParameterValue"),
        ({"Name": "we\0b"}, "InvalidParameterValue"),
        ({"Name": "theirs"}, "InvalidParameterValue"),
        ({"Arn": arn(theirs)}, "InvalidParameterValue"),
        ({"Arn": "arn:aws:iam::111122223333:instance-profile/web"}, "InvalidParameterValue"),
        ({"Arn": "web"}, "InvalidParameterValue"),
        ({"Name": empty.name}, "InvalidParameterValue"),
        ({"Name": "web", "Arn": arn(web)}, "InvalidParameterCombination"),
    ):
        with refused(code):
            launch(ready, IamInstanceProfile=specification)
        with refused(code):
            ready.associate_iam_instance_profile(InstanceId=instance_id, IamInstanceProfile=specification)
    with refused("MissingParameter"):
        ready.associate_iam_instance_profile(InstanceId=instance_id, IamInstanceProfile={})
    assert associations(ready) == []


def test_a_profile_is_given_exchanged_and_taken_away(ready: Caller, stranger: Caller) -> None:
    web, other = profile(ready, "web"), profile(ready, "other")
    instance_id = run_one(ready)
    before = record(ready.store, instance_id).generation
    given = ready.associate_iam_instance_profile(InstanceId=instance_id, IamInstanceProfile={"Name": "web"})
    given = given["IamInstanceProfileAssociation"]
    assert (given["InstanceId"], given["State"]) == (instance_id, "associating")
    assert given["IamInstanceProfile"] == {"Arn": arn(web), "Id": web.id}
    with refused("IncorrectState"):
        ready.associate_iam_instance_profile(InstanceId=instance_id, IamInstanceProfile={"Name": "other"})
    exchanged = ready.replace_iam_instance_profile_association(
        AssociationId=given["AssociationId"], IamInstanceProfile={"Name": "other"}
    )["IamInstanceProfileAssociation"]
    assert exchanged["AssociationId"] != given["AssociationId"]
    assert shown(ready, instance_id)["IamInstanceProfile"] == {"Arn": arn(other), "Id": other.id}
    for association_id in (given["AssociationId"], "iip-assoc-0123456789abcdef0", "web", "iip-assoc-\0"):
        with refused("InvalidAssociationID.NotFound"):
            ready.disassociate_iam_instance_profile(AssociationId=association_id)
    with refused("InvalidAssociationID.NotFound"):
        stranger.disassociate_iam_instance_profile(AssociationId=exchanged["AssociationId"])
    ended = ready.disassociate_iam_instance_profile(AssociationId=exchanged["AssociationId"])
    assert ended["IamInstanceProfileAssociation"]["State"] == "disassociating"
    assert associations(ready) == []
    assert "IamInstanceProfile" not in shown(ready, instance_id)
    assert record(ready.store, instance_id).generation == before  # the guest itself need not change


def test_an_association_ends_with_its_instance(ready: Caller) -> None:
    profile(ready, "web")
    instance_id = run_one(ready, IamInstanceProfile={"Name": "web"})
    (found,) = associations(ready)
    ready.terminate_instances(InstanceIds=[instance_id])
    with refused("IncorrectInstanceState"):
        ready.replace_iam_instance_profile_association(
            AssociationId=found["AssociationId"], IamInstanceProfile={"Name": "web"}
        )
    terminate(ready, instance_id)
    assert associations(ready) == []
    with ready.store.read() as tx:
        assert tx.select(ProfileAssociation) == []


def test_pages(ready: Caller) -> None:
    count = 7
    profile(ready, "web")
    launch(ready, MinCount=count, MaxCount=count, IamInstanceProfile={"Name": "web"})
    first = ready.describe_iam_instance_profile_associations(MaxResults=5)
    rest = ready.describe_iam_instance_profile_associations(MaxResults=5, NextToken=first["NextToken"])
    found = [*first["IamInstanceProfileAssociations"], *rest["IamInstanceProfileAssociations"]]
    assert len({each["AssociationId"] for each in found}) == count
    assert "NextToken" not in rest
