"""What KMS must refuse, and how."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError


def refused(code: str, message: str | None = None) -> Any:
    """The context in which a call must fail with this code and, if given, this message."""

    def check(error: ClientError) -> bool:
        found: dict[str, str] = error.response["Error"]
        return found["Code"] == code and (message is None or found["Message"] == message)

    return pytest.raises(ClientError, check=check)
