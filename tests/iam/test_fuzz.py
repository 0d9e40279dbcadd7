"""A hundred thousand malformed policies: each is refused in words or decides; none takes long or breaks anything."""

from __future__ import annotations

import json
import random

from freehold.iam.document import Kind, MalformedPolicy
from freehold.iam.evaluate import Policies, Policy, evaluate
from freehold.iam.principals import Who
from tests.iam.random_policies import ACCOUNT, ACTIONS, RESOURCES, USER, Maker

TEXTS = 100_000
PIECES = (
    '"', "{", "}", "[", "]", ",", ":", "*", "?", "$", "${", "${aws:username}", "\\", "\\u0000", "\\ud800", "null", "-1",
    "1e999", "NaN", "true", '"Statement"', '"Effect":"Allow"', '"Action":"*"', '"Resource":[]', '"Principal":{}', "é",
    '"Condition":{"Bool":{"a:b":[]}}', " ", "\n", "arn:aws:", "9" * 400, "(" * 50, ".*" * 20,
)  # fmt: skip


def spoilt(random: random.Random, text: str) -> str:
    """The text with some of it left out, doubled, or replaced."""
    for _ in range(random.randint(1, 3)):
        start = random.randrange(len(text) + 1)
        end = min(len(text), start + random.choice((0, 0, 1, 1, 5, 40)))
        kept = text[start:end] * random.choice((0, 0, 2))
        text = text[:start] + random.choice(("", random.choice(PIECES))) + kept + text[end:]
    return text


def test_malformed_policies() -> None:
    rng = random.Random(7)
    who = Who(USER, ACCOUNT)
    well_formed = 0
    texts: dict[Kind, str] = {}
    kinds: tuple[Kind, ...] = ("identity", "resource")
    for number in range(TEXTS):
        kind = kinds[number % 2]
        if number % 20 < 2:
            maker = Maker(rng)
            texts[kind], context = json.dumps(maker.document(kind == "resource")), maker.context()
        try:
            policy = Policy(spoilt(rng, texts[kind]), kind)
        except MalformedPolicy:
            continue
        well_formed += 1
        policies = Policies(identity=[policy]) if kind == "identity" else Policies(resource=policy)
        evaluate(who, rng.choice(ACTIONS), rng.choice(RESOURCES), context.get, policies)
    assert TEXTS / 20 < well_formed < TEXTS / 2
