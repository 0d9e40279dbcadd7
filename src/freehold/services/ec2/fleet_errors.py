"""Error codes of fleets, in alphabetical order of code.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

from __future__ import annotations

from freehold.services.ec2.errors import Malformed, NotFound


class InvalidFleetIdMalformed(Malformed):
    code = "InvalidFleetId.Malformed"


class InvalidFleetIdNotFound(NotFound):
    code = "InvalidFleetId.NotFound"
    noun = "fleet ID"
