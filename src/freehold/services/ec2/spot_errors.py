"""Error codes of spot instances, in alphabetical order of code.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

from __future__ import annotations

from decimal import Decimal

from freehold.services.ec2.errors import Malformed, NotFound
from freehold.services.errors import AwsError


class IncorrectSpotRequestState(AwsError):
    code = "IncorrectSpotRequestState"

    def __init__(self, instance_id: str) -> None:
        super().__init__(
            f"You can't start the Spot Instance '{instance_id}' because the associated Spot Instance request is not in "
            "an appropriate state to support start."
        )


class InvalidSpotInstanceRequestIDMalformed(Malformed):
    code = "InvalidSpotInstanceRequestID.Malformed"


class InvalidSpotInstanceRequestIDNotFound(NotFound):
    code = "InvalidSpotInstanceRequestID.NotFound"
    noun = "spot instance request ID"


class MaxSpotInstanceCountExceeded(AwsError):
    code = "MaxSpotInstanceCountExceeded"

    def __init__(self) -> None:
        super().__init__("Max spot instance count exceeded")


class OneTimeCanNotStop(AwsError):
    code = "UnsupportedOperation"

    def __init__(self, instance_id: str) -> None:
        super().__init__(
            f"You can't stop the Spot Instance '{instance_id}' because it is associated with a one-time Spot Instance "
            "request. You can only stop Spot Instances associated with persistent Spot Instance requests."
        )


class SpotMaxPriceTooLow(AwsError):
    code = "SpotMaxPriceTooLow"

    def __init__(self, asked: Decimal, price: Decimal) -> None:
        super().__init__(
            f"Your Spot request price of {asked:f} is lower than the minimum required Spot request fulfillment price "
            f"of {price:f}."
        )
