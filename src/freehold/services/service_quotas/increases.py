"""Asking for more: RequestServiceQuotaIncrease and what became of it. The owner of the cloud approves or denies
(`freehold quota`).

::

    PENDING ──► APPROVED
       └──────► DENIED

https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_RequestServiceQuotaIncrease.html
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Mapping
from typing import Any

from freehold.quotas import QUOTAS, SERVICES
from freehold.records import quotas
from freehold.records.feed import take_turn
from freehold.records.quotas import QuotaRequest, quota_requests
from freehold.services.operation import Call, Request, Response, operation
from freehold.services.parameters import refuse_others
from freehold.services.service_quotas.errors import IllegalArgument, NoSuchResource, ResourceAlreadyExists
from freehold.services.service_quotas.names import arn_of, check_service, find, named, page

_SHOWN_FOR = dt.timedelta(days=90)


@operation(resources=named)
def request_service_quota_increase(call: Call, request: Request) -> Response:
    """SupportCaseAllowed makes no difference: every request goes to the owner of the cloud.

    Raises NoSuchResourceException, IllegalArgumentException for a value that is no increase,
    ResourceAlreadyExistsException while an earlier request for the quota is open.
    """
    refuse_others(request, {"DesiredValue", "QuotaCode", "ServiceCode", "SupportCaseAllowed"})
    quota = find(request)
    desired = request["DesiredValue"]
    take_turn(call.tx)
    current = quotas.value(call.tx, call.config, call.account_id, call.region, quota.code)
    if not quota.adjustable:
        raise IllegalArgument(f"The quota {quota.code} is not adjustable.")
    if not desired > current:
        raise IllegalArgument(f"You must provide a quota value greater than the current quota value ({current:.15g}).")
    open_one = {"account_id": call.account_id, "region": call.region, "code": quota.code, "status": "PENDING"}
    if call.tx.find(QuotaRequest, **open_one) is not None:
        raise ResourceAlreadyExists("Only one open service quota increase request is allowed per quota.")
    made = QuotaRequest(
        id=secrets.token_hex(20),
        account_id=call.account_id,
        region=call.region,
        code=quota.code,
        desired_value=desired,
        status="PENDING",
        requester=call.principal.arn,
        created_at=call.now,
        updated_at=call.now,
    )
    call.tx.insert(made)
    return {"RequestedQuota": _described(call, made)}


@operation()
def get_requested_service_quota_change(call: Call, request: Request) -> Response:
    """Raises NoSuchResourceException."""
    refuse_others(request, {"RequestId"})
    found = call.tx.find(QuotaRequest, id=request["RequestId"], account_id=call.account_id, region=call.region)
    if found is None:
        raise NoSuchResource(f"The request failed because there is no such request: {request['RequestId']}")
    return {"RequestedQuota": _described(call, found)}


@operation()
def list_requested_service_quota_change_history(call: Call, request: Request) -> Response:
    """Of the last 90 days."""
    refuse_others(request, {"MaxResults", "NextToken", "QuotaRequestedAtLevel", "ServiceCode", "Status"})
    if request.get("ServiceCode"):
        check_service(request["ServiceCode"])
    codes = [quota.code for quota in QUOTAS.values() if request.get("ServiceCode") in (None, "", quota.service)]
    return _history(call, request, codes)


@operation()
def list_requested_service_quota_change_history_by_quota(call: Call, request: Request) -> Response:
    """Of the last 90 days."""
    refuse_others(request, {"MaxResults", "NextToken", "QuotaCode", "QuotaRequestedAtLevel", "ServiceCode", "Status"})
    return _history(call, request, [find(request).code])


def _history(call: Call, request: Mapping[str, Any], codes: list[str]) -> Response:
    status = {"status": request["Status"]} if request.get("Status") else {}
    found = call.tx.select(
        QuotaRequest,
        quota_requests.c.created_at > call.now - _SHOWN_FOR,
        order_by=(quota_requests.c.id,),
        account_id=call.account_id,
        region=call.region,
        code=codes,
        **status,
    )
    if request.get("QuotaRequestedAtLevel") == "RESOURCE":
        found = []
    shown, token = page(call, request, found, lambda each: each.id)
    return {"RequestedQuotas": [_described(call, each) for each in shown], **token}


def _described(call: Call, request: QuotaRequest) -> dict[str, Any]:
    quota = QUOTAS[request.code]
    return {
        "Id": request.id,
        "ServiceCode": quota.service,
        "ServiceName": SERVICES[quota.service],
        "QuotaCode": quota.code,
        "QuotaName": quota.name,
        "DesiredValue": request.desired_value,
        "Status": request.status,
        "Created": request.created_at,
        "LastUpdated": request.updated_at,
        "Requester": request.requester,
        "QuotaArn": arn_of(call, quota),
        "GlobalQuota": False,
        "Unit": "None",
        "QuotaRequestedAtLevel": "ACCOUNT",
    }
