"""The account as a whole: its alias, and its summary of what there is and how much of it there may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from freehold.records.accounts import AccessKey, User
from freehold.records.feed import take_turn
from freehold.records.identities import (
    AccountAlias,
    Group,
    InstanceProfile,
    ManagedPolicy,
    MfaDevice,
    OidcProvider,
    PolicyVersion,
    Role,
    managed_policies,
    mfa_devices,
    policy_versions,
)
from freehold.services.iam.access_keys import MAX_KEYS
from freehold.services.iam.errors import EntityAlreadyExists, NoSuchEntity, ValidationError
from freehold.services.iam.groups import MAX_GROUPS, MAX_GROUPS_PER_USER
from freehold.services.iam.paging import page_of
from freehold.services.iam.users import MAX_USERS
from freehold.services.operation import Call, Request, Response, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_iam.type_defs import (
        CreateAccountAliasRequestTypeDef,
        DeleteAccountAliasRequestTypeDef,
        ListAccountAliasesRequestTypeDef,
    )


@operation()
def create_account_alias(call: Call, request: CreateAccountAliasRequestTypeDef) -> Response:
    """In the place of the one before: an account has one alias. Raises EntityAlreadyExists when an account has it."""
    refuse_others(request, {"AccountAlias"})
    alias = request["AccountAlias"]
    if alias.isdigit() and len(alias) == 12:
        raise ValidationError("An account alias must not look like an account number: it has to be no 12 digits.")
    take_turn(call.tx)
    if call.tx.find(AccountAlias, alias=alias) is not None:
        raise EntityAlreadyExists(f"The account alias {alias}")
    call.tx.put(AccountAlias(call.account_id, alias, call.now))
    return {}


@operation()
def list_account_aliases(call: Call, request: ListAccountAliasesRequestTypeDef) -> Response:
    """The one, if there is one."""
    refuse_others(request, {"Marker", "MaxItems"})
    held = call.tx.select(AccountAlias, account_id=call.account_id)
    found = page_of(call, request, [alias.alias for alias in held], str)
    return {"AccountAliases": found.rows, **found.end}


@operation()
def delete_account_alias(call: Call, request: DeleteAccountAliasRequestTypeDef) -> Response:
    """Raises NoSuchEntity when the account does not have it."""
    refuse_others(request, {"AccountAlias"})
    take_turn(call.tx)
    if not call.tx.delete_where(AccountAlias, account_id=call.account_id, alias=request["AccountAlias"]):
        raise NoSuchEntity(f"The account alias {request['AccountAlias']}")
    return {}


@operation()
def get_account_summary(call: Call, _request: Request) -> Response:
    """Numbers, and the quotas of https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html."""
    of_account = {"account_id": call.account_id}
    tx = call.tx
    own_versions = policy_versions.c.policy_id.in_(
        managed_policies.select().with_only_columns(managed_policies.c.id).where(
            managed_policies.c.account_id == call.account_id
        )
    )  # fmt: skip
    return {
        "SummaryMap": {
            "Users": tx.count(User, **of_account),
            "UsersQuota": MAX_USERS,
            "Groups": tx.count(Group, **of_account),
            "GroupsQuota": MAX_GROUPS,
            "Roles": tx.count(Role, **of_account),
            "RolesQuota": 1000,
            "InstanceProfiles": tx.count(InstanceProfile, **of_account),
            "InstanceProfilesQuota": 1000,
            "Policies": tx.count(ManagedPolicy, **of_account),
            "PoliciesQuota": 1500,
            "PolicyVersionsInUse": tx.count(PolicyVersion, own_versions),
            "PolicyVersionsInUseQuota": 10000,
            "VersionsPerPolicyQuota": 5,
            "Providers": tx.count(OidcProvider, **of_account),
            "MFADevices": tx.count(MfaDevice, **of_account),
            "MFADevicesInUse": tx.count(MfaDevice, mfa_devices.c.user_id.is_not(None), **of_account),
            "AccountMFAEnabled": int(tx.count(MfaDevice, user_id=call.account_id, **of_account) > 0),
            "AccountAccessKeysPresent": int(tx.count(AccessKey, user_id=None, **of_account) > 0),
            "AccountPasswordPresent": 0,
            "AccountSigningCertificatesPresent": 0,
            "ServerCertificates": 0,
            "ServerCertificatesQuota": 20,
            "SigningCertificatesPerUserQuota": 2,
            "AccessKeysPerUserQuota": MAX_KEYS,
            "GroupsPerUserQuota": MAX_GROUPS_PER_USER,
            "AttachedPoliciesPerUserQuota": 10,
            "AttachedPoliciesPerGroupQuota": 10,
            "AttachedPoliciesPerRoleQuota": 10,
            "UserPolicySizeQuota": 2048,
            "GroupPolicySizeQuota": 5120,
            "RolePolicySizeQuota": 10240,
            "PolicySizeQuota": 6144,
            "AssumeRolePolicySizeQuota": 2048,
            "GlobalEndpointTokenVersion": 2,  # session tokens work in every region
        }
    }
