"""Decides one random request after the other twice."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

from freehold.iam.evaluate import Policies, Policy, evaluate
from freehold.iam.principals import Who
from tests.iam import reference
from tests.iam.random_policies import ACTIONS, CALLERS, RESOURCES, Maker


class Comparison:
    """`policies` counts the documents that were made, `decisions` what was decided."""

    def __init__(self, random: random.Random) -> None:
        self._random = random
        self.policies = 0
        self.decisions: Counter[str] = Counter()

    def next(self) -> dict[str, Any] | None:
        """Decide a request; what both said of what, if they did not say the same."""
        self._maker = Maker(self._random)
        given = self._policies()
        caller = self._random.choice(CALLERS)
        asked = reference.Asked(
            action=self._random.choice(ACTIONS),
            resource=self._random.choice(RESOURCES),
            context=self._maker.context(),
            foreign=self._random.random() < 0.2,
            **caller,
        )
        expected = reference.decide(asked, **given)
        found = self._engine(asked, given)
        self.decisions[expected] += 1
        return None if found == expected else {"asked": str(asked), "engine": found, "reference": expected} | given

    def _policies(self) -> dict[str, Any]:
        chance = self._random.random
        given = {
            "identity": self._documents(2),
            "boundary": self._documents(1)[0] if chance() < 0.3 else None,
            "session": self._documents(1) if chance() < 0.3 else None,
            "guardrails": [self._documents(1)] if chance() < 0.15 else [],
            "resource": self._documents(1, on_resource=True)[0] if chance() < 0.5 else None,
        }
        return given | {"required": given["resource"] is not None and chance() < 0.3}

    def _documents(self, most: int, on_resource: bool = False) -> list[dict[str, Any]]:
        made = [self._maker.document(on_resource) for _ in range(self._random.randint(1, most))]
        self.policies += len(made)
        return made

    def _engine(self, asked: reference.Asked, given: dict[str, Any]) -> str:
        def compiled(one: dict[str, Any] | None, kind: Any = "identity") -> Policy | None:
            return None if one is None else Policy(json.dumps(one), kind)

        def several(some: Any) -> Any:
            return None if some is None else [compiled(one) for one in some]

        policies = Policies(
            identity=several(given["identity"]),
            boundary=compiled(given["boundary"]),
            session=several(given["session"]),
            guardrails=[several(level) for level in given["guardrails"]],
            resource=compiled(given["resource"], "resource"),
            required=given["required"],
        )
        who = Who(asked.arn, asked.account, asked.kind, asked.entity, asked.root)  # type: ignore[arg-type]
        decision = evaluate(who, asked.action, asked.resource, asked.context.get, policies, foreign=asked.foreign)
        return "allowed" if decision.allowed else "denied" if decision.explicit else "not allowed"
