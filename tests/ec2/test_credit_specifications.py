"""CPU credits of burstable instances: kept from the launch on, changed, described."""

from __future__ import annotations

from tests.ec2.calls import Caller, refused
from tests.ec2.launching import launch_one, run_one, stop, terminate

NOWHERE = "i-00000000000000000"


def credits_of(caller: Caller, *instance_ids: str) -> dict[str, str]:
    answer = caller.describe_instance_credit_specifications(InstanceIds=list(instance_ids))
    return {each["InstanceId"]: each["CpuCredits"] for each in answer["InstanceCreditSpecifications"]}


def test_a_launch_says_or_leaves_it_to_the_type(ready: Caller) -> None:
    burstable = launch_one(ready, InstanceType="t3.nano")["InstanceId"]
    frugal = launch_one(ready, InstanceType="t3.nano", CreditSpecification={"CpuCredits": "standard"})["InstanceId"]
    other = launch_one(ready)["InstanceId"]
    expected = {burstable: "unlimited", frugal: "standard", other: "standard"}
    assert credits_of(ready, burstable, frugal, other) == expected
    assert credits_of(ready) == {burstable: "unlimited"}
    filtered = ready.describe_instance_credit_specifications(Filters=[{"Name": "instance-id", "Values": [frugal]}])
    assert filtered["InstanceCreditSpecifications"] == []
    with refused("InstanceCreditSpecification.NotSupported"):
        launch_one(ready, CreditSpecification={"CpuCredits": "unlimited"})
    with refused("InvalidCpuCredits.Malformed"):
        launch_one(ready, InstanceType="t3.nano", CreditSpecification={"CpuCredits": "endless"})
    with refused("InvalidInstanceID.NotFound"):
        credits_of(ready, NOWHERE)


def test_each_is_changed_that_can_be(ready: Caller) -> None:
    running, gone = run_one(ready, InstanceType="t3.nano"), run_one(ready, InstanceType="t3.nano")
    other = run_one(ready)
    terminate(ready, gone)
    ids = (running, other, gone, NOWHERE, "i-x")
    answer = ready.modify_instance_credit_specification(
        ClientToken="t",
        InstanceCreditSpecifications=[{"InstanceId": each, "CpuCredits": "standard"} for each in ids],
    )
    assert answer["SuccessfulInstanceCreditSpecifications"] == [{"InstanceId": running}]
    unsuccessful = answer["UnsuccessfulInstanceCreditSpecifications"]
    assert [(each["InstanceId"], each["Error"]["Code"]) for each in unsuccessful] == [
        (other, "InstanceCreditSpecification.NotSupported"),
        (gone, "IncorrectInstanceState"),
        (NOWHERE, "InvalidInstanceID.NotFound"),
        ("i-x", "InvalidInstanceID.Malformed"),
    ]
    assert credits_of(ready, running) == {running: "standard"}
    with refused("InvalidCpuCredits.Malformed"):
        ready.modify_instance_credit_specification(
            InstanceCreditSpecifications=[{"InstanceId": running, "CpuCredits": "x"}]
        )


def test_an_instance_that_becomes_burstable_gets_its_type_s(ready: Caller) -> None:
    instance_id = run_one(ready)
    stop(ready, instance_id)
    ready.modify_instance_attribute(InstanceId=instance_id, InstanceType={"Value": "t3.nano"})
    assert credits_of(ready, instance_id) == {instance_id: "unlimited"}
    (info,) = ready.describe_instance_types(InstanceTypes=["t3.nano"])["InstanceTypes"]
    assert info["BurstablePerformanceSupported"]


def test_an_account_prefers_an_option_for_a_family(ready: Caller, stranger: Caller) -> None:
    def preferred(caller: Caller, family: str) -> str:
        answer = caller.get_default_credit_specification(InstanceFamily=family)
        return str(answer["InstanceFamilyCreditSpecification"]["CpuCredits"])

    assert preferred(ready, "t3") == "unlimited"
    ready.modify_default_credit_specification(InstanceFamily="t3", CpuCredits="standard")
    assert (preferred(ready, "t3"), preferred(ready, "t3a"), preferred(stranger, "t3")) == (
        "standard",
        "unlimited",
        "unlimited",
    )
    frugal = launch_one(ready, InstanceType="t3.nano")["InstanceId"]
    other = launch_one(ready, InstanceType="t3a.nano")["InstanceId"]
    told = launch_one(ready, InstanceType="t3.nano", CreditSpecification={"CpuCredits": "unlimited"})["InstanceId"]
    expected = {frugal: "standard", other: "unlimited", told: "unlimited"}
    assert credits_of(ready, frugal, other, told) == expected
    with refused("InvalidCpuCredits.Malformed"):
        ready.modify_default_credit_specification(InstanceFamily="t3", CpuCredits="endless")
    with refused("InvalidParameterValue"):
        ready.get_default_credit_specification(InstanceFamily="t4g")
