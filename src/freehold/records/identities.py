"""What IAM keeps beside users and access keys: groups, roles, instance profiles, policies, and how people sign in.

Names differ by more than their case (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html), so
each named record carries `folded`, its name in lower case, which the database keeps unique. Tags of all of them are in
records/tags, by unique id, with the region ``""``.
"""

from __future__ import annotations

import datetime as dt

from freehold.records.ids import AccountId
from freehold.records.schema import Record, table


class Group(Record, frozen=True):
    """An IAM group. `id` is its unique id (``AGPA…``)."""

    id: str
    account_id: AccountId
    name: str
    folded: str
    path: str
    created_at: dt.datetime


class Membership(Record, frozen=True):
    """A user in a group."""

    group_id: str
    user_id: str
    account_id: AccountId


class Role(Record, frozen=True):
    """A role. `id` is its unique id (``AROA…``), `trust_policy` the JSON text of who may assume it. `service_linked` is
    the service whose own role it is (``autoscaling.amazonaws.com``). `signin_seconds_max` is kept for who sets it."""

    id: str
    account_id: AccountId
    name: str
    folded: str
    path: str
    description: str
    trust_policy: str
    session_seconds_max: int
    boundary_arn: str | None
    service_linked: str | None
    created_at: dt.datetime
    last_used_at: dt.datetime | None = None
    last_used_region: str | None = None
    signin_seconds_max: int | None = None


class RoleDeletion(Record, frozen=True):
    """A service's own role that was deleted; `task_id` is what DeleteServiceLinkedRole answered."""

    task_id: str
    account_id: AccountId
    created_at: dt.datetime


class AccessReport(Record, frozen=True):
    """A report on when what has the ARN was last used; `requested_by` is the unique id of who asked for it."""

    job_id: str
    account_id: AccountId
    arn: str
    requested_by: str
    created_at: dt.datetime


class InstanceProfile(Record, frozen=True):
    """A container that gives a role to instances. `id` is its unique id (``AIPA…``)."""

    id: str
    account_id: AccountId
    name: str
    folded: str
    path: str
    role_id: str | None
    created_at: dt.datetime


class ManagedPolicy(Record, frozen=True):
    """A customer managed policy. `id` is its unique id (``ANPA…``); the latest version number ever given is
    `version_latest`, as numbers are not used again. (AWS managed policies are not records but data.)"""

    id: str
    account_id: AccountId
    arn: str
    name: str
    folded: str
    path: str
    description: str
    version_default: int
    version_latest: int
    created_at: dt.datetime
    updated_at: dt.datetime


class PolicyVersion(Record, frozen=True):
    """One version of a customer managed policy; `document` is its JSON text."""

    policy_id: str
    version: int
    account_id: AccountId
    document: str
    created_at: dt.datetime


class InlinePolicy(Record, frozen=True):
    """A policy that is part of a user, group or role (`owner_id`, the unique id)."""

    owner_id: str
    name: str
    account_id: AccountId
    document: str


class PolicyAttachment(Record, frozen=True):
    """A managed policy (customer or AWS) on a user, group or role (`owner_id`). `attached_at` orders them."""

    owner_id: str
    policy_arn: str
    account_id: AccountId
    attached_at: dt.datetime


class LoginProfile(Record, frozen=True):
    """A user's password for the console: `password_hash` is argon2's encoded form."""

    user_id: str
    account_id: AccountId
    password_hash: str
    previous_hashes: list[str]
    reset_required: bool
    created_at: dt.datetime
    changed_at: dt.datetime


class MfaDevice(Record, frozen=True):
    """A virtual MFA device. `user_id` None = nobody's yet; the account's id = root's. `step_latest` is the last time
    step whose code was accepted, so that no code works twice (RFC 6238 §5.2); `skew_steps` is by how much its clock
    was found to be off."""

    arn: str
    account_id: AccountId
    user_id: str | None
    sealed_seed: bytes
    created_at: dt.datetime
    enabled_at: dt.datetime | None
    step_latest: int
    skew_steps: int


class AccountAlias(Record, frozen=True):
    """The name that an account signs in by; unique in the cloud."""

    account_id: AccountId
    alias: str
    created_at: dt.datetime


class PasswordPolicy(Record, frozen=True):
    """What an account demands of passwords.
    https://docs.aws.amazon.com/IAM/latest/APIReference/API_PasswordPolicy.html"""

    account_id: AccountId
    length_min: int
    symbols: bool
    numbers: bool
    uppercase: bool
    lowercase: bool
    users_may_change: bool
    age_days_max: int
    reuse_prevention: int
    hard_expiry: bool


class CredentialReport(Record, frozen=True):
    """The latest credential report of an account, as CSV."""

    account_id: AccountId
    content: str
    generated_at: dt.datetime


class OidcProvider(Record, frozen=True):
    """An OpenID Connect identity provider that an account trusts. `url` is without ``https://``."""

    arn: str
    account_id: AccountId
    url: str
    client_ids: list[str]
    thumbprints: list[str]
    created_at: dt.datetime


groups = table("groups", Group, key=("id",), unique=(("account_id", "folded"),))
memberships = table("memberships", Membership, key=("group_id", "user_id"), indexes=(("user_id",), ("account_id",)))
roles = table("roles", Role, key=("id",), unique=(("account_id", "folded"),))
role_deletions = table("role_deletions", RoleDeletion, key=("task_id",), indexes=(("account_id",), ("created_at",)))
access_reports = table("access_reports", AccessReport, key=("job_id",), indexes=(("account_id",), ("created_at",)))
instance_profiles = table(
    "instance_profiles", InstanceProfile, key=("id",), indexes=(("role_id",),), unique=(("account_id", "folded"),)
)
managed_policies = table("managed_policies", ManagedPolicy, key=("id",), unique=(("account_id", "folded"), ("arn",)))
policy_versions = table(
    "policy_versions", PolicyVersion, key=("policy_id", "version"), indexes=(("account_id", "policy_id"),)
)
inline_policies = table("inline_policies", InlinePolicy, key=("owner_id", "name"), indexes=(("account_id",),))
policy_attachments = table(
    "policy_attachments", PolicyAttachment, key=("owner_id", "policy_arn"), indexes=(("account_id", "policy_arn"),)
)
login_profiles = table("login_profiles", LoginProfile, key=("user_id",), indexes=(("account_id",),))
mfa_devices = table("mfa_devices", MfaDevice, key=("arn",), indexes=(("account_id", "arn"), ("user_id",)))
account_aliases = table("account_aliases", AccountAlias, key=("account_id",), unique=(("alias",),))
password_policies = table("password_policies", PasswordPolicy, key=("account_id",))
credential_reports = table("credential_reports", CredentialReport, key=("account_id",))
oidc_providers = table("oidc_providers", OidcProvider, key=("arn",), indexes=(("account_id", "arn"),))
