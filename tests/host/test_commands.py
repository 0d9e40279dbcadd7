"""What is told of a program that fails."""

from __future__ import annotations

import asyncio

import pytest

from freehold.host.commands import ip
from freehold.host.errors import CommandError


def test_a_batch_of_ip_fails_with_the_reason_of_the_command_that_failed() -> None:
    with pytest.raises(CommandError, match="Cannot find device"):
        asyncio.run(ip("link show lo", "link set dev nothere up"))
