"""The firmware that starts a guest from its own boot disk: SeaBIOS comes with QEMU, OVMF is Debian's package `ovmf`.

OVMF is two files (https://github.com/tianocore/edk2/blob/master/OvmfPkg/README): its code, which all guests read, and
its variables, of which each guest has a copy of its own for as long as it lives.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from freehold.host.errors import CannotStart
from freehold.host.layout import GuestPaths, guest_uid

_OVMF = Path("/usr/share/OVMF")
UEFI_CODE = _OVMF / "OVMF_CODE_4M.fd"
_NEW_VARIABLES = _OVMF / "OVMF_VARS_4M.fd"


def have_variables(paths: GuestPaths, instance_id: str) -> None:
    """Have the file of a guest's variables; what it holds already is kept. Raises CannotStart without OVMF."""
    if paths.uefi_variables.exists():
        return
    temporary = paths.uefi_variables.with_suffix(".new")
    try:
        shutil.copyfile(_NEW_VARIABLES, temporary)
    except FileNotFoundError as error:
        raise CannotStart(f"{_NEW_VARIABLES} is missing; run 'freehold doctor --fix', which installs ovmf.") from error
    temporary.chmod(0o600)
    uid = guest_uid(instance_id)
    os.chown(temporary, uid, uid)
    temporary.rename(paths.uefi_variables)
