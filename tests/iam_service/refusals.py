"""How a test says that a call is refused."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError


def refused(code: str, status: int = 400) -> Any:
    """The context in which a call of boto3 must fail with this code and HTTP status."""

    def is_it(error: ClientError) -> bool:
        return (error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]) == (code, status)

    return pytest.raises(ClientError, check=is_it)
