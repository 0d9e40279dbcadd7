"""Error codes of capacity reservations, in alphabetical order of code.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

from __future__ import annotations

from freehold.services.ec2.errors import Malformed, NotFound
from freehold.services.errors import AwsError


class InvalidCapacityReservationIdMalformed(Malformed):
    code = "InvalidCapacityReservationId.Malformed"


class InvalidCapacityReservationIdNotFound(NotFound):
    code = "InvalidCapacityReservationId.NotFound"
    noun = "capacity reservation ID"


class InvalidCapacityReservationState(AwsError):
    """The reservation has ended."""

    code = "InvalidCapacityReservationState"

    def __init__(self, reservation_id: str, state: str) -> None:
        super().__init__(f"The capacity reservation '{reservation_id}' is in the state '{state}', and not 'active'.")


class ReservationCapacityExceeded(AwsError):
    """What is asked for must have room of a reservation, and there is none left."""

    code = "ReservationCapacityExceeded"

    def __init__(self, reservation_id: str | None) -> None:
        super().__init__(
            "The requested reservation does not have sufficient compatible and available capacity for this request."
            if reservation_id is not None
            else "There is no open capacity reservation with sufficient compatible and available capacity for this "
            "request."
        )
