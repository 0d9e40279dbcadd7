"""The ids of availability zones."""

from __future__ import annotations

_SHORT = {
    "north": "n", "south": "s", "east": "e", "west": "w", "central": "c", "gov": "g",
    "northeast": "ne", "northwest": "nw", "southeast": "se", "southwest": "sw",
}  # fmt: skip


def zone_id(region: str, zone: str) -> str:
    """The id of a zone: ``use1-az1`` for us-east-1a.

    AWS shuffles the letters between accounts, which ids undo; here all accounts have the same zones in order.
    """
    parts = region.split("-")
    short = "".join(_SHORT.get(part, part) for part in parts)
    return f"{short}-az{ord(zone.removeprefix(region)[:1] or 'a') - ord('a') + 1}"
