"""Opening the cloud's state for a command on the same machine."""

from __future__ import annotations

from pathlib import Path

from freehold import config as configuration
from freehold.cli import fail
from freehold.config import Config, ConfigError
from freehold.paths import Paths
from freehold.records.migrations import upgrade
from freehold.records.store import Store
from freehold.records.wake import SocketBell


def open_state(data_dir: Path) -> tuple[Config, Store]:
    """The configuration and the migrated state database of a data directory, which is made when it is not there."""
    paths = Paths(data_dir)
    try:
        config = configuration.load(data_dir)
        paths.bells.mkdir(parents=True, exist_ok=True)
    except ConfigError as error:
        raise fail(str(error)) from None
    except OSError as error:
        raise fail(f"{data_dir} can not be used ({error.strerror}): run as root, or name another --data-dir.") from None
    url = config.state.url or paths.state_url
    upgrade(url)
    return config, Store(url, SocketBell(paths.bells), durable=config.state.durable)
