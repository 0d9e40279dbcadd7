"""Which services policies could give access to, and ListPoliciesGrantingServiceAccess.

Only what policies of users, groups and roles allow counts: no boundaries, conditions, denials or policies of resources.
https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_last-accessed.html
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from freehold.iam import data
from freehold.iam.document import parse
from freehold.records.accounts import User
from freehold.records.identities import Group, ManagedPolicy, Membership, PolicyAttachment, Role
from freehold.services.iam.managed_policies import document_of, load_policy
from freehold.services.iam.paging import page_of
from freehold.services.iam.policy_owners import Owner, word
from freehold.services.iam.policy_sources import Source, load_owner, sources, with_groups
from freehold.services.operation import Call, Response, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_iam.type_defs import ListPoliciesGrantingServiceAccessRequestTypeDef


def subject_named(_call: Call, request: Any) -> list[str]:
    """For `operation(resources=…)`: whose access is asked for."""
    return [request["Arn"]]


def services_allowed(text: str) -> set[str]:
    """The prefixes of the services of which a policy allows an action at least."""
    found: set[str] = set()
    for statement in parse(text, "identity").statements:
        if statement.allow:
            named = {action.partition(":")[0].lower() for action in statement.actions if action != "*"}
            if statement.not_actions:
                whole = {action.partition(":")[0].lower() for action in statement.actions if action.endswith(":*")}
                found |= set() if "*" in statement.actions else data.services().keys() - whole
            else:
                found |= set(data.services()) if "*" in statement.actions else named
    return found


def load_subject(call: Call, arn: str) -> Owner | ManagedPolicy:
    """The user, group, role or managed policy that has this ARN. Raises InvalidInput or NoSuchEntity."""
    return load_policy(call, arn) if ":policy/" in arn else load_owner(call, arn)


def documents(call: Call, subject: Owner | ManagedPolicy) -> list[str]:
    """The policies by which a subject has access; a policy is its own."""
    if isinstance(subject, ManagedPolicy):
        return [document_of(call, subject)]
    return [source.text for owner in with_groups(call, subject) for source in sources(call, owner)]


def actors(call: Call, subject: Owner | ManagedPolicy) -> Sequence[User | Role]:
    """The users and roles that could have used the access: of a group its members, of a policy all who have it."""
    match subject:
        case User() | Role():
            return [subject]
        case Group():
            return _members(call, [subject.id])
        case ManagedPolicy():
            attached = call.tx.select(PolicyAttachment, account_id=call.account_id, policy_arn=subject.arn)
            ids = [one.owner_id for one in attached]
            direct: list[User | Role] = [*call.tx.select(User, id=ids), *call.tx.select(Role, id=ids)]
            members = [user for user in _members(call, ids) if user.id not in ids]
            return [*direct, *members]


def _members(call: Call, group_ids: Collection[str]) -> list[User]:
    memberships = call.tx.select(Membership, group_id=list(group_ids))
    return call.tx.select(User, id=[one.user_id for one in memberships])


@operation(resources=subject_named)
def list_policies_granting_service_access(
    call: Call, request: ListPoliciesGrantingServiceAccessRequestTypeDef
) -> Response:
    """For each service the policies of a user, with groups, a group or a role that allow an action of it at least.
    Raises NoSuchEntity or InvalidInput."""
    refuse_others(request, {"Arn", "ServiceNamespaces", "Marker"})
    subject = load_owner(call, request["Arn"])
    held = [source for owner in with_groups(call, subject) for source in sources(call, owner)]
    allowed = [(source, services_allowed(source.text)) for source in held]
    namespaces = list(dict.fromkeys(request["ServiceNamespaces"]))
    found = page_of(call, request, enumerate(namespaces), lambda item: f"{item[0]:03}")
    return {
        "PoliciesGrantingServiceAccess": [
            {
                "ServiceNamespace": namespace,
                "Policies": [_described(source) for source, services in allowed if namespace.lower() in services],
            }
            for _, namespace in found.rows
        ],
        **found.end,
    }


def _described(source: Source) -> dict[str, str]:
    if source.arn is not None:
        return {"PolicyName": source.name, "PolicyType": "MANAGED", "PolicyArn": source.arn}
    return {
        "PolicyName": source.name,
        "PolicyType": "INLINE",
        "EntityType": word(source.owner).upper(),
        "EntityName": source.owner.name,
    }
