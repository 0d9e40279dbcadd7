"""User data: what an instance is given to run or read at its first boot.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-add-user-data.html
"""

from __future__ import annotations

import base64
import binascii

from freehold.services.ec2.compute_errors import InvalidUserDataMalformed
from freehold.services.ec2.errors import InvalidParameterValue

_BYTES_MAX = 16 * 1024


def decoded(text: str) -> bytes | None:
    """User data as a request carries it, in base64 that may be wrapped; None for no text.

    Raises InvalidUserData.Malformed, or InvalidParameterValue for more than 16 KiB.
    """
    try:
        data = base64.b64decode("".join(text.split()).encode("ascii"), validate=True)
    except (binascii.Error, UnicodeError) as error:
        raise InvalidUserDataMalformed from error
    return checked(data) or None


def checked(data: bytes) -> bytes:
    """The same data. Raises InvalidParameterValue for more than 16 KiB."""
    if len(data) > _BYTES_MAX:
        raise InvalidParameterValue(f"User data is limited to {_BYTES_MAX} bytes")
    return data
