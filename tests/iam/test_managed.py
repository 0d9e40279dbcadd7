"""The managed policies that everyone has: they are policies, name what there is, and allow what their names promise."""

from __future__ import annotations

import re
import tomllib
from importlib.resources import files

import pytest

from freehold.iam import data, managed
from freehold.iam.data import Level
from freehold.iam.document import parse
from freehold.iam.evaluate import Policies, Policy, evaluate
from freehold.iam.managed.levels import patterns_of
from freehold.iam.principals import Who

ALICE = Who("arn:aws:iam::111122223333:user/alice", "111122223333")
READ: tuple[Level, ...] = ("Read", "List")


def allows(name: str, action: str, resource: str = "*", **context: str) -> bool:
    policy = Policy.of(managed.policies()[f"arn:aws:iam::aws:policy/{name}"].document)
    return evaluate(ALICE, action, resource, context.get, Policies(identity=[policy])).allowed


def matching(pattern: str) -> set[str]:
    """The actions of the data that a pattern of actions matches."""
    service, _, name = pattern.partition(":")
    matches = re.compile(name.replace("*", ".*"), re.IGNORECASE).fullmatch
    return {f"{service}:{action}" for action in data.levels(service) if matches(action)}


def test_each_is_a_policy_with_a_name_of_its_own() -> None:
    assert len(managed.policies()) >= 60
    assert len({policy.id for policy in managed.policies().values()}) == len(managed.policies())
    for arn, policy in managed.policies().items():
        assert re.fullmatch(r"arn:aws:iam::aws:policy/([a-z-]+/)?[\w+=,.@-]+", arn)
        assert re.fullmatch(r"ANPA[A-Z2-7]{16}", policy.id)
        assert parse(policy.document, "identity").statements


def test_what_they_name_is_in_the_data() -> None:
    given = tomllib.loads(files(managed).joinpath("policies.toml").read_text())
    for rules in (rules for named in given.values() for rules in named.values()):
        assert rules.keys() <= {"about", "full", "read", "list", "not", "actions", "pass_to", "link", "statements"}
        services = {*rules.get("full", ()), *rules.get("read", ()), *rules.get("list", ())} - {"*"}
        assert services <= data.services().keys()
        for action in rules.get("actions", ()):
            assert action == "*" or matching(action), action


@pytest.mark.parametrize("levels", [READ, ("List",)])
def test_patterns_match_the_actions_of_their_levels_and_no_others(levels: tuple[Level, ...]) -> None:
    for service in data.services():
        wanted = {f"{service}:{name}" for name, level in data.levels(service).items() if level in levels}
        assert set().union(*map(matching, patterns_of(service, levels))) == wanted


def test_an_excepted_action_is_not_matched() -> None:
    found = set().union(*map(matching, patterns_of("sts", READ, ["sts:GetFederationToken"])))
    assert "sts:GetFederationToken" not in found
    assert "sts:GetCallerIdentity" in found


def test_read_only_reads_everything_but_secrets_and_changes_nothing() -> None:
    for service in data.services():
        for name, level in data.levels(service).items():
            action = f"{service}:{name}"
            if level not in READ and not action.startswith("iam:Generate"):
                assert not allows("ReadOnlyAccess", action), action
    for action in ("ec2:DescribeInstances", "s3:GetObject", "kms:DescribeKey", "logs:GetLogEvents", "iam:ListRoles"):
        assert allows("ReadOnlyAccess", action), action
    assert not allows("ReadOnlyAccess", "secretsmanager:GetSecretValue")


def test_what_is_called_read_only_changes_nothing() -> None:
    reading = {
        f"{service}:{name}"
        for service in data.services()
        for name, level in data.levels(service).items()
        if level in READ or name.startswith("Generate")  # reports
    }
    for policy in managed.policies().values():
        if "ReadOnly" in policy.name:
            for statement in parse(policy.document, "identity").statements:
                assert not statement.not_actions
                assert set().union(*map(matching, statement.actions)) <= reading, policy.name


@pytest.mark.parametrize(
    ("name", "yes", "no"),
    [
        ("AdministratorAccess", "iam:CreateUser", None),
        ("PowerUserAccess", "ec2:RunInstances", "iam:CreateUser"),
        ("PowerUserAccess", "iam:CreateServiceLinkedRole", "organizations:LeaveOrganization"),
        ("job-function/ViewOnlyAccess", "ec2:DescribeInstances", "s3:GetObject"),
        ("SecurityAudit", "iam:GetPolicyVersion", "s3:GetObject"),
        ("IAMReadOnlyAccess", "iam:SimulatePrincipalPolicy", "iam:CreateUser"),
        ("AmazonEC2FullAccess", "ec2:TerminateInstances", "iam:PassRole"),
        ("AmazonEC2ReadOnlyAccess", "ec2:DescribeVolumes", "ec2:RunInstances"),
        ("AmazonS3ReadOnlyAccess", "s3:GetObject", "s3:PutObject"),
        ("AmazonVPCFullAccess", "ec2:CreateSubnet", "ec2:RunInstances"),
        ("AWSKeyManagementServicePowerUser", "kms:CreateKey", "kms:Decrypt"),
        ("AWSCloudTrail_ReadOnlyAccess", "cloudtrail:LookupEvents", "cloudtrail:StopLogging"),
    ],
)
def test_what_the_best_known_allow(name: str, yes: str, no: str | None) -> None:
    assert allows(name, yes)
    assert no is None or not allows(name, no)


def test_roles_are_passed_only_to_the_services_that_are_meant() -> None:
    role = "arn:aws:iam::111122223333:role/worker"
    name = "job-function/SystemAdministrator"
    assert allows(name, "iam:PassRole", role, **{"iam:passedtoservice": "ec2.amazonaws.com"})
    assert not allows(name, "iam:PassRole", role, **{"iam:passedtoservice": "ecs.amazonaws.com"})
    assert not allows(name, "iam:PassRole", role)


def test_a_user_changes_no_password_but_their_own() -> None:
    own = {"aws:username": "alice"}
    assert allows("IAMUserChangePassword", "iam:ChangePassword", ALICE.arn, **own)
    assert not allows("IAMUserChangePassword", "iam:ChangePassword", ALICE.arn.replace("alice", "bob"), **own)
