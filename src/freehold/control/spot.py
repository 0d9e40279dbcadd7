"""Spot instances: their requests are fulfilled while there is room to spare, and end when their notice is over.

Woken by the feed (a new request, a notice) and by time, which alone tells when room has become free. Each request is
looked at in a transaction of its own, so that one that can not be fulfilled holds up no other.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
from sqlalchemy.exc import OperationalError

from freehold.config import Config
from freehold.instance_types import find, spot_price
from freehold.records import audit
from freehold.records.capacity import has_room
from freehold.records.compute import Instance, StateReason
from freehold.records.feed import take_turn
from freehold.records.instances import send_down
from freehold.records.secrets import Sealer
from freehold.records.spot import STOPPED, TERMINATED, SpotRequest, spot_requests, turn
from freehold.records.store import Store, Transaction
from freehold.services.ec2.instance_state import start
from freehold.services.ec2.spot_requests import fulfil
from freehold.services.errors import AwsError
from freehold.services.operation import Call, Principal

log = structlog.get_logger()

_ROOM = (
    "InsufficientInstanceCapacity",
    "MaxSpotInstanceCountExceeded",
    "Unsupported",
    "InsufficientAddressCapacity",
    "InsufficientFreeAddressesInSubnet",
)
"""Codes of what may be there later."""

_DEFECT = StateReason("Server.InternalError", "Server.InternalError: Internal error on launch")


class SpotRequests:
    """All of them. `look` is one round."""

    def __init__(self, store: Store, config: Config, sealer: Sealer) -> None:
        self._store = store
        self._config = config
        self._sealer = sealer
        self._full: set[str] = set()  # what there was no room for in this round

    def look(self) -> float | None:
        """Do what is due; returns the seconds until the next notice is over, None = there is none."""
        with self._store.read() as tx:
            due = tx.select(SpotRequest, spot_requests.c.interrupt_at <= tx.now)
            waiting = tx.select(SpotRequest, spot_requests.c.state == "open", order_by=(spot_requests.c.created_at,))
            stopped = tx.select(SpotRequest, state="disabled", status="instance-stopped-no-capacity")
            types = {each.instance_type for each in (*waiting, *stopped)}
            fitting = {name for name in types if _fits(tx, self._config, name)}
            news = [each for each in waiting if self._is_news(tx, each, could_run=each.instance_type in fitting)]
        for request in due:
            self._each(request.id, self._interrupt)
        for request in stopped:
            if request.instance_type in fitting:
                self._each(request.id, self._start)
        self._full.clear()
        for request in news:
            self._each(request.id, self._evaluate)
        with self._store.read() as tx:
            notices = tx.select(
                SpotRequest,
                spot_requests.c.interrupt_at.is_not(None),
                order_by=(spot_requests.c.interrupt_at,),
                limit=1,
            )
            over = notices[0].interrupt_at if notices else None
            return None if over is None else max(0.0, (over - tx.now).total_seconds())

    def _each(self, request_id: str, step: Callable[[Transaction, SpotRequest], None]) -> None:
        with self._store.write() as tx:
            take_turn(tx)
            request = tx.get(SpotRequest, request_id)
            if request is not None:
                step(tx, request)
            audit.record(tx, *tx.acts)

    def _interrupt(self, tx: Transaction, request: SpotRequest) -> None:
        """The notice is over. What is terminated has no more time; what is stopped shuts down in order."""
        if request.interrupt_at is None or request.interrupt_at > tx.now:
            return
        instance = tx.get(Instance, request.instance_id) if request.instance_id is not None else None
        if instance is None or instance.state not in ("pending", "running"):
            tx.update(request, interrupt_at=None)
        elif request.interruption != "terminate":
            hibernates = request.interruption == "hibernate"
            send_down(tx, instance, "stopping", STOPPED, _at(tx, STOPPED), hibernate=hibernates)
        else:
            send_down(tx, instance, "shutting-down", TERMINATED, _at(tx, TERMINATED), force_stop=True)

    def _is_news(self, tx: Transaction, request: SpotRequest, *, could_run: bool) -> bool:
        """Whether there is anything to do or say."""
        held_by = self._held_by(tx, request)
        if held_by is None:
            return could_run or request.status != "capacity-not-available"
        return request.status != held_by

    def _held_by(self, tx: Transaction, request: SpotRequest) -> str | None:
        """The status of an open request that is not to be fulfilled now; None = it is."""
        if request.valid_until is not None and request.valid_until <= tx.now:
            return "schedule-expired"
        if request.valid_from is not None and request.valid_from > tx.now:
            return "not-scheduled-yet"
        instance_type = find(self._config, request.instance_type)
        if instance_type is not None and request.highest_price < spot_price(self._config, instance_type):
            return "price-too-low"
        return None

    def _evaluate(self, tx: Transaction, request: SpotRequest) -> None:
        if request.state != "open":
            return
        held_by = self._held_by(tx, request)
        if held_by is None:
            self._fulfil(tx, request)
        else:
            turn(tx, request, "cancelled" if held_by == "schedule-expired" else "open", held_by)

    def _fulfil(self, tx: Transaction, request: SpotRequest) -> None:
        if _alike(request) in self._full:
            turn(tx, request, "open", "capacity-not-available")
            return
        attempt = tx.connection.begin_nested()
        try:
            fulfil(self._call(tx, request, "RunInstances"), request)
            attempt.commit()
        except AwsError as error:
            attempt.rollback()
            tx.acts.clear()
            if error.code in _ROOM:
                self._full.add(_alike(request))
                turn(tx, request, "open", "capacity-not-available")
            else:
                log.info("spot request failed", request=request.id, code=error.code)
                turn(tx, request, "closed", "bad-parameters", fault=StateReason(error.code, error.message))
        except OperationalError:  # the database's, not the request's
            raise
        except Exception:
            log.exception("spot request failed", request=request.id)
            attempt.rollback()
            tx.acts.clear()
            turn(tx, request, "closed", "system-error", fault=_DEFECT)

    def _start(self, tx: Transaction, request: SpotRequest) -> None:
        """Start what was stopped, as soon as there is room again."""
        instance = tx.get(Instance, request.instance_id) if request.instance_id is not None else None
        if request.state != "disabled" or instance is None or instance.state != "stopped":
            return
        attempt = tx.connection.begin_nested()
        try:
            start(self._call(tx, request, "StartInstances"), instance, by_service=True)
            attempt.commit()
        except AwsError:
            attempt.rollback()
            tx.acts.clear()

    def _call(self, tx: Transaction, request: SpotRequest, operation: str) -> Call:
        """What the account allowed when it made the request: policies are not asked again."""
        role = "role/aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot"
        arn = f"arn:aws:iam::{request.account_id}:{role}"
        principal = Principal(request.account_id, arn, request.account_id, "role", "", owner_arn=arn)
        source = "spot.amazonaws.com"
        of = (request.region, request.id, source, source, self._config, tx, self._sealer)
        return Call("ec2", operation, principal, *of)


def _at(tx: Transaction, reason: StateReason) -> str:
    return f"{reason.code} ({tx.now:%Y-%m-%d %H:%M:%S} GMT)"


def _alike(request: SpotRequest) -> str:
    """The same for requests that there is room for, or is none for, together."""
    launch = request.launch
    where = (launch.get("SubnetId"), launch.get("Placement"), launch.get("NetworkInterfaces"))
    return f"{request.account_id} {request.region} {request.instance_type} {where}"


def _fits(tx: Transaction, config: Config, type_name: str) -> bool:
    instance_type = find(config, type_name)
    return instance_type is not None and has_room(tx, instance_type.vcpus, instance_type.memory_mib)
