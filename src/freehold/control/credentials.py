"""Credentials of the roles that servers have by their instance profiles, for the hosts to hand out.

They are made here and live in memory alone, here and on the host. They last six hours and are renewed when half of that
has passed, so that a guest always gets some that are good for hours though the control plane be away.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from freehold.control.acts import Acts
from freehold.host.wire import RoleCredentials
from freehold.iam.evaluate import Policies, Policy, evaluate
from freehold.iam.principals import Who
from freehold.records import audit, sessions
from freehold.records.compute import Instance, ProfileAssociation
from freehold.records.identities import InstanceProfile, Role
from freehold.records.secrets import Sealer
from freehold.records.sessions import Credentials, Delivery, Holder, Session
from freehold.records.store import Transaction

# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-security-credentials.html: AWS's own last about
# as long, "new credentials are available at least five minutes before the expiration of the old".
LIFETIME = dt.timedelta(hours=6)
_AT_A_TIME = 500
_EC2 = Who("ec2.amazonaws.com", kind="Service")


@dataclass(frozen=True, slots=True)
class _Usable:
    """The role of a profile, and whether it trusts EC2."""

    role: Role
    trusts: bool


@dataclass(frozen=True, slots=True)
class _Made:
    """Credentials, of which association they are, and of what role."""

    association_id: str
    of: tuple[str, bool] | None
    credentials: RoleCredentials


class ServerCredentials:
    """What was last made for each instance of the hosts that are linked. Making it is noted in `acts`, to be recorded
    before hosts are told."""

    def __init__(self, sealer: Sealer, acts: Acts) -> None:
        self._sealer = sealer
        self._lock = threading.Lock()
        self._made: dict[str, _Made] = {}
        self._acts = acts

    def of(self, tx: Transaction, instances: Sequence[Instance]) -> tuple[RoleCredentials, ...]:
        """The credentials of those that have a profile, new ones where need be."""
        ids = [instance.id for instance in instances if instance.state not in ("shutting-down", "terminated")]
        associations = _associations(tx, ids)
        roles = _roles(tx, associations.values())
        with self._lock:
            for instance in instances:
                associated = associations.get(instance.id)
                if associated is None:
                    self._made.pop(instance.id, None)
                    continue
                role = roles.get(associated.profile_id)
                made = self._made.get(instance.id)
                if made is None or _is_stale(made, associated, role, tx.now):
                    self._made[instance.id] = self._new(tx.now, instance, associated, role)
            return tuple(self._made[instance_id].credentials for instance_id in associations)

    def stale(self, tx: Transaction) -> list[str]:
        """The instances whose hosts must be told anew: half of their credentials' time has passed, or their profile
        has another role by now."""
        with self._lock:
            known = list(self._made.items())
        found = []
        for start in range(0, len(known), _AT_A_TIME):
            some = dict(known[start : start + _AT_A_TIME])
            self._forget(some.keys() - {instance.id for instance in tx.select(Instance, id=list(some))})
            associations = _associations(tx, list(some))
            roles = _roles(tx, associations.values())
            for instance_id, made in some.items():
                associated = associations.get(instance_id)
                if associated is None or _is_stale(made, associated, roles.get(associated.profile_id), tx.now):
                    found.append(instance_id)
        return found

    def _forget(self, gone: Iterable[str]) -> None:
        """Instances that are no more, and ended while their host was away."""
        with self._lock:
            for instance_id in gone:
                self._made.pop(instance_id, None)

    def _new(
        self, now: dt.datetime, instance: Instance, associated: ProfileAssociation, usable: _Usable | None
    ) -> _Made:
        told = RoleCredentials(instance.id, associated.profile_arn, associated.profile_id)
        if usable is not None:
            told = replace(told, role=usable.role.name, issued_at=now)
        if usable is not None and usable.trusts:
            # "The role session name is the instance ID":
            # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
            holder = Holder(instance.account_id, "role", usable.role.id, instance.id)
            arn = f"arn:aws:ec2:{instance.region}:{instance.account_id}:instance/{instance.id}"
            delivery = Delivery(arn, instance.vpc_id, instance.private_ip)
            issued = sessions.issue(self._sealer, holder, Session(now, now + LIFETIME, delivery=delivery))
            self._acts.add(_event(now, instance, usable.role, issued))
            told = replace(
                told,
                access_key_id=issued.access_key_id,
                secret_access_key=issued.secret_access_key,
                session_token=issued.session_token,
                expires_at=issued.expires_at,
            )
        return _Made(associated.id, _of(usable), told)


def _event(now: dt.datetime, instance: Instance, role: Role, issued: Credentials) -> str:
    """EC2's call of AssumeRole, as CloudTrail shows it to the role's account."""
    return audit.service_event(
        now,
        role.account_id,
        instance.region,
        "sts",
        "AssumeRole",
        parameters={"roleArn": _arn(role), "roleSessionName": instance.id},
        elements={"credentials": {"accessKeyId": issued.access_key_id}},
        resources=[{"accountId": role.account_id, "type": "AWS::IAM::Role", "ARN": _arn(role)}],
        invoked_by="ec2",
    )


def _arn(role: Role) -> str:
    return f"arn:aws:iam::{role.account_id}:role{role.path}{role.name}"


def _of(usable: _Usable | None) -> tuple[str, bool] | None:
    return None if usable is None else (usable.role.id, usable.trusts)


def _is_stale(made: _Made, associated: ProfileAssociation, usable: _Usable | None, now: dt.datetime) -> bool:
    if (made.association_id, made.of) != (associated.id, _of(usable)):
        return True
    expires_at = made.credentials.expires_at
    return expires_at is not None and expires_at - now < LIFETIME / 2


def _associations(tx: Transaction, ids: Sequence[str]) -> dict[str, ProfileAssociation]:
    """By instance."""
    return {found.instance_id: found for found in tx.select(ProfileAssociation, instance_id=list(ids))}


def _roles(tx: Transaction, associations: Iterable[ProfileAssociation]) -> Mapping[str, _Usable]:
    """The roles of profiles, by the profile's id; not those of profiles or roles that are deleted."""
    profiles = tx.select(InstanceProfile, id=list({associated.profile_id for associated in associations}))
    role_ids = {profile.id: profile.role_id for profile in profiles if profile.role_id is not None}
    roles = tx.select(Role, id=list(set(role_ids.values())))
    found = {role.id: _Usable(role, _trusts_ec2(role, tx.now)) for role in roles}
    return {profile_id: found[role_id] for profile_id, role_id in role_ids.items() if role_id in found}


def _trusts_ec2(role: Role, now: dt.datetime) -> bool:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_switch-role-ec2.html"""
    context = {
        "aws:currenttime": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "aws:principalisawsservice": "true",
        "aws:sourceaccount": role.account_id,
    }
    policies = Policies(resource=Policy.of(role.trust_policy, "trust"), required=True, trust=True)
    return evaluate(_EC2, "sts:AssumeRole", _arn(role), context.get, policies).allowed
