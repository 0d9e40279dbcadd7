"""When users and roles last used which services: reports made of what the audit trail tells (records/lookups).

https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_last-accessed.html
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import TYPE_CHECKING, Any

from freehold.iam import data
from freehold.records.accounts import User
from freehold.records.identities import AccessReport, ManagedPolicy, Role
from freehold.records.lookups import ServiceUse, uses_of
from freehold.services.iam.errors import NoSuchEntity
from freehold.services.iam.paging import page_of
from freehold.services.iam.policy_owners import Owner, word
from freehold.services.iam.resources import arn
from freehold.services.iam.service_access import actors, documents, load_subject, services_allowed, subject_named
from freehold.services.operation import Call, Response, operation
from freehold.services.parameters import refuse_others

if TYPE_CHECKING:
    from mypy_boto3_iam.type_defs import (
        GenerateServiceLastAccessedDetailsRequestTypeDef,
        GetServiceLastAccessedDetailsRequestTypeDef,
        GetServiceLastAccessedDetailsWithEntitiesRequestTypeDef,
    )


@operation(resources=subject_named)
def generate_service_last_accessed_details(
    call: Call, request: GenerateServiceLastAccessedDetailsRequestTypeDef
) -> Response:
    """Begin a report on a user, group, role or managed policy. It is ready at once, and tells what is known when it is
    read. Raises NoSuchEntity or InvalidInput."""
    refuse_others(request, {"Arn"}, {"Granularity": "SERVICE_LEVEL"})
    load_subject(call, request["Arn"])
    report = AccessReport(str(uuid.uuid4()), call.account_id, request["Arn"], call.principal.owner_id, call.now)
    call.tx.insert(report)
    return {"JobId": report.job_id}


@operation()
def get_service_last_accessed_details(call: Call, request: GetServiceLastAccessedDetailsRequestTypeDef) -> Response:
    """Every service that the subject's policies allow, and when it was last used, allowed or not. Raises NoSuchEntity,
    also for whoever has not begun the report."""
    refuse_others(request, {"JobId", "MaxItems", "Marker"})
    report, subject = _load(call, request["JobId"])
    allowed = set().union(*map(services_allowed, documents(call, subject)))
    who = {actor.id: actor for actor in actors(call, subject)}
    uses: dict[str, list[ServiceUse]] = {}
    for use in uses_of(call.tx, list(who)):
        uses.setdefault(use.service, []).append(use)
    found = page_of(call, request, allowed, lambda service: service)
    return {
        **_job(report),
        "JobType": "SERVICE_LEVEL",
        "ServicesLastAccessed": [_described(service, uses.get(service, []), who) for service in found.rows],
        **found.end,
    }


@operation()
def get_service_last_accessed_details_with_entities(
    call: Call, request: GetServiceLastAccessedDetailsWithEntitiesRequestTypeDef
) -> Response:
    """The users and roles that could have used a service by what the report is on, those that did most lately first.
    Raises NoSuchEntity."""
    refuse_others(request, {"JobId", "ServiceNamespace", "MaxItems", "Marker"})
    report, subject = _load(call, request["JobId"])
    who = {actor.id: actor for actor in actors(call, subject)}
    service = request["ServiceNamespace"].lower()
    last = {use.principal_id: use.at for use in uses_of(call.tx, list(who)) if use.service == service}
    found = page_of(call, request, who.values(), lambda actor: f"{2**63 - last.get(actor.id, 0):019}/{actor.id}")
    return {
        **_job(report),
        "EntityDetailsList": [_entity(actor, last.get(actor.id)) for actor in found.rows],
        **found.end,
    }


def _load(call: Call, job_id: str) -> tuple[AccessReport, Owner | ManagedPolicy]:
    report = call.tx.get(AccessReport, job_id)
    mine = (call.account_id, call.principal.owner_id)
    if report is None or (report.account_id, report.requested_by) != mine:
        raise NoSuchEntity(f"The report with the job id {job_id}")
    return report, load_subject(call, report.arn)


def _job(report: AccessReport) -> dict[str, Any]:
    return {
        "JobStatus": "COMPLETED",
        "JobCreationDate": report.created_at,
        "JobCompletionDate": report.created_at,
    }


def _described(service: str, uses: list[ServiceUse], who: dict[str, User | Role]) -> dict[str, Any]:
    known = data.services().get(service)
    named = {"ServiceName": known.name if known else service, "ServiceNamespace": service}
    if not uses:
        return {**named, "TotalAuthenticatedEntities": 0}
    last = max(uses, key=lambda use: use.at)
    return {
        **named,
        "LastAuthenticated": _moment(last.at),
        "LastAuthenticatedEntity": arn(who[last.principal_id]),
        "LastAuthenticatedRegion": last.region,
        "TotalAuthenticatedEntities": len(uses),
    }


def _entity(actor: User | Role, at: int | None) -> dict[str, Any]:
    info = {"Arn": arn(actor), "Name": actor.name, "Type": word(actor).upper(), "Id": actor.id, "Path": actor.path}
    return {"EntityInfo": info, **({"LastAuthenticated": _moment(at)} if at is not None else {})}


def _moment(milliseconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC)
