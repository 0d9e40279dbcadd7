"""What accounts may hold: ListServices, and the quotas as they apply to the caller or by default (the default of "AWS"
is the owner's here).

https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_GetServiceQuota.html
"""

from __future__ import annotations

from typing import Any

from freehold.quotas import QUOTAS, SERVICES, Quota, default
from freehold.records import quotas
from freehold.services.operation import Call, Request, Response, operation
from freehold.services.parameters import refuse_others
from freehold.services.service_quotas.names import arn_of, check_service, find, page


@operation()
def list_services(call: Call, request: Request) -> Response:
    """The services that have quotas which are enforced."""
    refuse_others(request, {"MaxResults", "NextToken"})
    shown, token = page(call, request, sorted(SERVICES), lambda code: code)
    return {"Services": [{"ServiceCode": code, "ServiceName": SERVICES[code]} for code in shown], **token}


@operation()
def list_service_quotas(call: Call, request: Request) -> Response:
    """All of a service, or the one that QuotaCode names. None is of a single resource."""
    refuse_others(request, {"MaxResults", "NextToken", "QuotaAppliedAtLevel", "QuotaCode", "ServiceCode"})
    check_service(request["ServiceCode"])
    found = [quota for quota in _of(request["ServiceCode"]) if request.get("QuotaCode") in (None, "", quota.code)]
    if request.get("QuotaAppliedAtLevel") == "RESOURCE":
        found = []
    shown, token = page(call, request, found, lambda quota: quota.code)
    return {"Quotas": [_described(call, quota, _value(call, quota)) for quota in shown], **token}


@operation()
def get_service_quota(call: Call, request: Request) -> Response:
    """Raises NoSuchResourceException."""
    refuse_others(request, {"QuotaCode", "ServiceCode"})
    quota = find(request)
    return {"Quota": _described(call, quota, _value(call, quota))}


@operation()
def list_aws_default_service_quotas(call: Call, request: Request) -> Response:
    """What an account has that asked for nothing."""
    refuse_others(request, {"MaxResults", "NextToken", "ServiceCode"})
    check_service(request["ServiceCode"])
    shown, token = page(call, request, _of(request["ServiceCode"]), lambda quota: quota.code)
    return {"Quotas": [_described(call, quota, default(call.config.quotas, quota.code)) for quota in shown], **token}


@operation()
def get_aws_default_service_quota(call: Call, request: Request) -> Response:
    """Raises NoSuchResourceException."""
    refuse_others(request, {"QuotaCode", "ServiceCode"})
    quota = find(request)
    return {"Quota": _described(call, quota, default(call.config.quotas, quota.code))}


def _of(service: str) -> list[Quota]:
    return sorted((quota for quota in QUOTAS.values() if quota.service == service), key=lambda quota: quota.code)


def _value(call: Call, quota: Quota) -> float:
    return quotas.value(call.tx, call.config, call.account_id, call.region, quota.code)


def _described(call: Call, quota: Quota, value: float) -> dict[str, Any]:
    return {
        "ServiceCode": quota.service,
        "ServiceName": SERVICES[quota.service],
        "QuotaArn": arn_of(call, quota),
        "QuotaCode": quota.code,
        "QuotaName": quota.name,
        "Description": quota.name,
        "Value": value,
        "Unit": "None",
        "Adjustable": quota.adjustable,
        "GlobalQuota": False,
        "QuotaAppliedAtLevel": "ACCOUNT",
    }
