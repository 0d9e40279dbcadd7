"""What an instance must be like to hibernate, and is told at its launch once and for all.

Its memory is kept encrypted beside its disks, and its processes go on when it is started; where that fails it is shut
down. https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/hibernating-prerequisites.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from freehold.config import InstanceType
from freehold.instance_types import is_bare_metal
from freehold.records.compute import Instance, StateReason
from freehold.services.ec2.compute_errors import UnsupportedHibernationConfiguration
from freehold.services.ec2.errors import InvalidParameterCombination
from freehold.services.ec2.launch_volumes import Disk

BY_USER = StateReason("Client.UserInitiatedHibernate", "Client.UserInitiatedHibernate: User initiated hibernate")
_MEMORY_MIB_MAX = 150 * 1024


def is_supported(name: str, instance_type: InstanceType) -> bool:
    """Whether instances of a type can hibernate."""
    return not is_bare_metal(name) and instance_type.memory_mib <= _MEMORY_MIB_MAX


def asked_for(options: Mapping[str, Any], type_name: str, instance_type: InstanceType, root: Disk) -> bool:
    """Whether the instances of a launch are to be able to hibernate, by its HibernationOptions. Raises
    UnsupportedHibernationConfiguration."""
    if not options.get("Configured"):
        return False
    if not is_supported(type_name, instance_type):
        raise UnsupportedHibernationConfiguration(f"Hibernation is not supported for the instance type {type_name}.")
    if not root.encryption.encrypted:
        raise UnsupportedHibernationConfiguration("For hibernation, the root device volume must be encrypted.")
    if root.settings.size_gib * 1024 < instance_type.memory_mib:
        raise UnsupportedHibernationConfiguration(
            f"For hibernation, the root device volume must be large enough to store the contents of the memory: "
            f"{root.settings.size_gib} GiB are less than the {instance_type.memory_mib} MiB of {type_name}."
        )
    return True


def check(instance: Instance, *, at_once: bool) -> None:
    """Raise UnsupportedHibernationConfiguration unless the instance can be told to hibernate, and
    InvalidParameterCombination where it is not to have the time for that."""
    if at_once:
        raise InvalidParameterCombination("Hibernate can not be combined with Force or SkipOsShutdown.")
    if not instance.hibernation_configured:
        raise UnsupportedHibernationConfiguration(
            f"The instance can't be hibernated because it was not configured at launch for hibernation: {instance.id}"
        )
