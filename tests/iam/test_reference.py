"""The engine decides as the reference does, on a hundred thousand random policies."""

from __future__ import annotations

import json
import random

import pytest

from tests.iam import comparison

SEEDS = range(8)
POLICIES = 12_500


@pytest.mark.parametrize("seed", SEEDS)
def test_the_engine_decides_as_the_reference(seed: int) -> None:
    made = comparison.Comparison(random.Random(seed))
    while made.policies < POLICIES:
        different = made.next()
        assert different is None, json.dumps(different, indent=1)
    assert min(made.decisions[decision] for decision in ("allowed", "denied", "not allowed")) > 20
