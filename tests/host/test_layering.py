"""What is to be done so that a disk that QEMU has open lies on the files that the pool has now."""

from __future__ import annotations

from pathlib import Path

import pytest

from freehold.host.hypervisor.disks import Layer
from freehold.host.hypervisor.layering import _missing_or_laid_wrong


@pytest.mark.parametrize(
    ("chain", "in_qemu", "wrong"),
    [
        ("tba", "tba", ""),
        ("t", "t", ""),
        ("tBa", "tbma", "tB"),  # b and what was merged into it are one new file now
        ("tBa", "tBbma", "t"),  # and QEMU has that, but does not use it
        ("tB", "tbm", "tB"),  # they were the lowest
        ("tCBa", "tcmbna", "tCB"),  # two are
        ("tcBa", "tcbma", "cB"),  # below another one
        ("tMba", "tba", ""),  # QEMU has merged M into the tip; the file is still there
        ("tM", "t", ""),
        ("tMa", "tmna", "tM"),  # M is to be merged, and was replaced by one that n was merged into
    ],
)
def test_new_files_are_laid_under_what_lay_on_the_old_ones(chain: str, in_qemu: str, wrong: str) -> None:
    """Letters are files; `m` and `M`, that are not of `chain` or merged, had no snapshot."""
    layers = {name: Layer(name, Path(name), None) for name in chain}
    live = in_qemu.replace("Bb", "b")
    depths = {layers[name]: len(live) - 1 - live.index(name) if name in live else None for name in chain}
    if "B" in in_qemu:
        depths[layers["B"]] = 1
    merged = [layers[name] for name in chain if name == "M"]
    found = _missing_or_laid_wrong([*layers.values()], merged, depths)
    assert "".join(layer.name for layer, is_wrong in found if is_wrong) == wrong
