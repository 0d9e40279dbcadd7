"""The credential report: a line for the root and each user, with what they sign in and sign with.

Columns and their words: https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_getting-report.html
"""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Iterable

from freehold.records.accounts import AccessKey, AccessKeyUse, Account, User
from freehold.records.identities import CredentialReport, LoginProfile, MfaDevice, PasswordPolicy
from freehold.services.iam.errors import ReportExpired, ReportNotPresent
from freehold.services.iam.resources import arn
from freehold.services.operation import Call, Request, Response, operation

_LASTS = dt.timedelta(hours=4)
_KEY_COLUMNS = ("active", "last_rotated", "last_used_date", "last_used_region", "last_used_service")
_COLUMNS = (
    "user",
    "arn",
    "user_creation_time",
    "password_enabled",
    "password_last_used",
    "password_last_changed",
    "password_next_rotation",
    "mfa_active",
    *(f"access_key_{number}_{column}" for number in (1, 2) for column in _KEY_COLUMNS),
    *(f"cert_{number}_{column}" for number in (1, 2) for column in ("active", "last_rotated")),
)
_NO_KEY = ("false", "N/A", "N/A", "N/A", "N/A")
_NO_CERTIFICATES = ("false", "N/A", "false", "N/A")


def _present(call: Call) -> CredentialReport | None:
    """The report, if there is one that is not too old."""
    report = call.tx.get(CredentialReport, call.account_id)
    return report if report is not None and call.now - report.generated_at < _LASTS else None


def _generated(call: Call, _request: Request) -> str:
    """The text of a report, or nothing while there is one."""
    return "" if _present(call) is not None else write(call)


@operation(prepare=_generated)
def generate_credential_report(call: Call, _request: Request) -> Response:
    """At most one in four hours: until then the one that there is stays. It is there when this is answered."""
    if _present(call) is not None or not call.prepared:
        return {"State": "COMPLETE"}
    call.tx.put(CredentialReport(call.account_id, call.prepared, call.now))
    return {"State": "STARTED", "Description": "No report exists. Starting a new report generation task"}


@operation()
def get_credential_report(call: Call, _request: Request) -> Response:
    """Raises ReportNotPresent, or ReportExpired when it is four hours old."""
    report = call.tx.get(CredentialReport, call.account_id)
    if report is None:
        raise ReportNotPresent
    if _present(call) is None:
        raise ReportExpired
    return {"Content": report.content.encode(), "ReportFormat": "text/csv", "GeneratedTime": report.generated_at}


def write(call: Call) -> str:
    """The report as of now, as CSV."""
    tx, account_id = call.tx, call.account_id
    keys: dict[str | None, list[AccessKey]] = {}
    for key in sorted(tx.select(AccessKey, account_id=account_id), key=lambda key: key.created_at):
        keys.setdefault(key.user_id, []).append(key)
    uses = {use.key_id: use for use in tx.select(AccessKeyUse, account_id=account_id)}
    profiles = {profile.user_id: profile for profile in tx.select(LoginProfile, account_id=account_id)}
    with_mfa = {device.user_id for device in tx.select(MfaDevice, account_id=account_id)}
    policy = tx.get(PasswordPolicy, account_id)
    account = tx.get(Account, account_id)
    assert account is not None, "whoever signs has an account"

    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(_COLUMNS)
    lines.writerow(
        (
            "<root_account>",
            f"arn:aws:iam::{account.id}:root",
            _time(account.created_at),
            *("not_supported", "no_information", "not_supported", "not_supported"),
            _yes(account.id in with_mfa),
            *_keys(keys.get(None, ()), uses),
            *_NO_CERTIFICATES,
        )
    )
    for user in tx.select(User, account_id=account_id):
        lines.writerow(
            (
                user.name,
                arn(user),
                _time(user.created_at),
                *_password(user, profiles.get(user.id), policy),
                _yes(user.id in with_mfa),
                *_keys(keys.get(user.id, ()), uses),
                *_NO_CERTIFICATES,
            )
        )
    return text.getvalue()


def _password(user: User, profile: LoginProfile | None, policy: PasswordPolicy | None) -> tuple[str, str, str, str]:
    if profile is None:
        return "false", "N/A", "N/A", "N/A"
    used = _time(user.password_used_at) if user.password_used_at else "no_information"
    rotated = "N/A"
    if policy is not None and policy.age_days_max:
        rotated = _time(profile.changed_at + dt.timedelta(days=policy.age_days_max))
    return "true", used, _time(profile.changed_at), rotated


def _keys(held: Iterable[AccessKey], uses: dict[str, AccessKeyUse]) -> list[str]:
    """The columns of both keys."""
    columns: list[str] = []
    for key in held:
        use = uses.get(key.id)
        columns += (_yes(key.active), _time(key.created_at))
        columns += (_time(use.used_at), use.region, use.service) if use else ("N/A", "N/A", "N/A")
    return [*columns, *_NO_KEY, *_NO_KEY][: 2 * len(_NO_KEY)]


def _time(moment: dt.datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _yes(is_so: bool) -> str:
    return "true" if is_so else "false"
