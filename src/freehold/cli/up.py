"""``freehold up``: from nothing, or from whatever is there, to a cloud that answers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from freehold import parts, pki
from freehold.cli import DEFAULT_DATA_DIR, fail
from freehold.cli.commands import only_command
from freehold.cli.default_account import ensure_default_account
from freehold.cli.progress import say
from freehold.cli.state import open_state
from freehold.config import Config
from freehold.doctor.checks import examine, port_is_free
from freehold.host.layout import Layout
from freehold.images import catalog
from freehold.images.build import build, is_built
from freehold.images.recipe import Progress
from freehold.network import namespace
from freehold.paths import Paths
from freehold.processes import end, register, registered
from freehold.records.ids import ImageId
from freehold.records.store import Store
from freehold.services.ec2.images import register_builtin
from freehold.supervisor import LOG_BYTES_MAX
from freehold.supervisor_status import SUPERVISOR_PID, read_status

BUILT_IN_IMAGE = "freehold-micro"
_UP_SECONDS_MAX = 120.0
_ROOM = ("disk", "memory")  # checks of what a new cloud needs
_TRIES_MAX = 3  # a part that has ended so often does not come up by itself


def up(data_dir: Path, port: int, foreground: bool) -> None:
    paths = Paths(data_dir.absolute())
    check_machine(paths)
    check_directory(paths)
    with only_command(paths):
        if (status := read_status(paths.run)) is not None:
            raise fail(
                f"This cloud already runs at http://127.0.0.1:{status['port']}: `freehold status` shows it, "
                "`freehold down` stops it."
            )
        if registered(paths.run / "front.pid") is None and not port_is_free(port):
            raise fail(f"Port {port} is taken by another program: give another one with --port.")
        config, account_id = prepare(paths, say)
        if foreground:
            say(f"the cloud's endpoint will be http://127.0.0.1:{port}")
            command = _supervisor(paths, port)
            register(paths.run / SUPERVISOR_PID, command)
            os.execv(command[0], command)  # noqa: S606 an argument list, no shell
        say("starting")
        start(paths, port)
    print(summary(paths, config, account_id, port))


def check_machine(paths: Paths) -> None:
    """End the command with a sentence if this machine can not be a cloud.

    One that is here already has its servers' disks and memory, and must start for them to be deleted.
    """
    passed_over = _ROOM if paths.keys.exists() else ()
    with_sources = not is_built(BUILT_IN_IMAGE, paths.data_dir)
    for finding in examine(paths.data_dir, with_sources=with_sources):
        if finding.state in ("mend", "fail") and finding.check not in passed_over:
            raise fail(f"{finding.check}: {finding.saw}. {finding.remedy}")


def check_directory(paths: Paths) -> None:
    """Have the data directory, its owner's alone; a directory that is something else is left alone."""
    ours = ("keys", "freehold.toml")
    if paths.data_dir.is_dir() and any(paths.data_dir.iterdir()):
        if not any((paths.data_dir / name).exists() for name in ours):
            raise fail(f"{paths.data_dir} is not empty and no cloud's: name another --data-dir.")
    elif paths.data_dir.exists() and not paths.data_dir.is_dir():
        raise fail(f"{paths.data_dir} is not a directory: name another --data-dir.")
    try:
        Layout(paths).prepare()
    except ValueError as error:
        raise fail(str(error)) from None
    except OSError as error:
        raise fail(f"{error.filename}: {error.strerror}: mend that, or name another --data-dir.") from None
    paths.data_dir.chmod(0o700)
    paths.keys.mkdir(mode=0o700, exist_ok=True)


def prepare(paths: Paths, progress: Progress, image: str = BUILT_IN_IMAGE) -> tuple[Config, str]:
    """Have all that the parts need: records, certificates, image, namespace. Returns the default account's id too."""
    config, store = open_state(paths.data_dir)
    try:
        pki.ensure(paths.pki, parts.host_id(paths))
        build(image, paths.data_dir, progress)
        register_images(paths, store)
        account_id = ensure_default_account(paths, store)
        parts.templates(config)
        namespace.create(parts.cloud_network(paths.data_dir, config))
    finally:
        store.close()
    return config, account_id


def register_images(paths: Paths, store: Store) -> None:
    """List every image of the data directory in the records."""
    with store.write() as tx:
        for image in catalog.load(paths.data_dir):
            register_builtin(
                tx,
                image_id=ImageId(image.image_id),
                name=image.name,
                description=image.description,
                architecture=image.architecture,
                root_device_name=image.root_device_name,
                size_bytes=image.virtual_size,
                minimum_memory_mib=image.minimum_memory,
                default_user=image.default_user,
                created_at=image.created_at,
                boot_mode=image.boot_mode,
                has_kernel=image.kernel is not None,
            )


def start(paths: Paths, port: int) -> None:
    """Start the supervisor, and return when all parts run; else the command ends with a sentence, and none runs."""
    paths.log.mkdir(mode=0o700, exist_ok=True)
    log = paths.log / "supervisor.log"
    if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
        log.rename(log.with_suffix(".log.1"))
    command = _supervisor(paths, port)
    with log.open("ab") as file:
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            cwd="/",
            start_new_session=True,
            preexec_fn=partial(register, paths.run / SUPERVISOR_PID, command),  # noqa: PLW1509 this has one thread
        )
    _wait(paths)


def _supervisor(paths: Paths, port: int) -> list[str]:
    return [sys.executable, "-m", "freehold.parts", "--data-dir", str(paths.data_dir), "--port", str(port)]


def _wait(paths: Paths) -> None:
    deadline = time.monotonic() + _UP_SECONDS_MAX
    while True:
        status = read_status(paths.run)
        if status is not None and status["state"] == "running":
            return
        supervisor = registered(paths.run / SUPERVISOR_PID)
        if supervisor is None:
            raise fail(f"The supervisor ended at once: {paths.log / 'supervisor.log'} says why.")
        waiting = [part for part in status["parts"] if part["state"] != "running"] if status else []
        late = time.monotonic() > deadline
        for part in waiting:
            if late or part["restarts"] >= _TRIES_MAX:
                end(supervisor[0], _UP_SECONDS_MAX)
                how = part["last_end"] or "it is not ready"
                raise fail(f"{part['name']} does not come up ({how}): {paths.log / part['name']}.log says why.")
        time.sleep(0.05)


def summary(paths: Paths, config: Config, account_id: str, port: int) -> str:
    where = "" if paths.data_dir == DEFAULT_DATA_DIR else f" --data-dir {paths.data_dir}"
    return f"""Freehold runs at http://127.0.0.1:{port}  (region {config.region}, account {account_id}).

  eval "$(freehold env{where})"             points aws, boto3, Terraform … here
  freehold aws{where} ec2 describe-images   the AWS CLI, already pointed here
  freehold status{where}                    parts, servers, capacity
  freehold down{where}                      stops Freehold; servers run on"""
