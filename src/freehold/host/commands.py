"""Running other programs: always by argument list, always with a time limit, never through a shell."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Sequence
from typing import IO, Any

from freehold.host.errors import CommandError, HostError

# Debian keeps ip, ethtool and Open vSwitch's tools in directories that a service's PATH may lack.
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


async def run(
    argv: Sequence[str], *, given: bytes = b"", pass_fds: Sequence[int] = (), seconds_max: float = 20
) -> bytes:
    """Run a program, with `given` as its standard input, and return what it wrote to standard output.

    Raises CommandError when it fails, HostError when it is not installed or takes longer than `seconds_max`.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE if given else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=pass_fds,
            env=_ENVIRONMENT,
        )
    except FileNotFoundError as error:
        raise HostError(f"{argv[0]} is not installed; run 'freehold doctor --fix'.") from error
    try:
        async with asyncio.timeout(seconds_max):
            output, errors = await process.communicate(given or None)
    except TimeoutError as error:
        raise HostError(f"{argv[0]} gave no answer within {seconds_max:.0f} seconds.") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise CommandError(os.path.basename(argv[0]), process.returncode or 0, last_line(errors))
    return output


async def ip(*commands: str) -> None:
    """Run some commands of ip(8), up to the first that fails, in one process: to start one is most of what each takes.

    Raises CommandError, HostError.
    """
    await run(("ip", "-batch", "-"), given="".join(f"{command}\n" for command in commands).encode())


async def start_confined(
    argv: Sequence[str],
    uid: int,
    *,
    groups: Sequence[int] = (),
    pass_fds: Sequence[int] = (),
    stdin: int = asyncio.subprocess.DEVNULL,
    stdout: int | IO[bytes] = asyncio.subprocess.DEVNULL,
    stderr: int | IO[bytes] = asyncio.subprocess.DEVNULL,
) -> asyncio.subprocess.Process:
    """Start a program that reads what a guest may have made: as a user of its own who is in no group but `groups`, has
    no directory and nothing of our environment, and opens nothing but what it is handed.

    Raises HostError when it is not installed.
    """
    try:
        return await asyncio.create_subprocess_exec(
            *argv,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=pass_fds,
            user=uid,
            group=uid,
            extra_groups=groups,
            umask=0o077,
            cwd="/",
            env={"PATH": "/usr/bin:/bin"},
        )
    except FileNotFoundError as error:
        raise HostError(f"{argv[0]} is not installed; run 'freehold doctor --fix'.") from error


async def leave_running(
    argv: Sequence[str],
    uid: int,
    oom_score: int,
    *,
    groups: Sequence[int] = (),
    pass_fds: Sequence[int] = (),
    log: int | IO[bytes] = asyncio.subprocess.DEVNULL,
) -> bool:
    """Start such a program (`start_confined`) that outlives us: in a session of its own, with init as its parent.
    Whether it was started. When memory runs out the kernel ends the one with the highest `oom_score` first (choom(1)).

    Raises HostError when choom is not installed.
    """
    argv = ("choom", "-n", str(oom_score), "--", "setsid", "--fork", *argv)
    process = await start_confined(argv, uid, groups=groups, pass_fds=pass_fds, stdout=log, stderr=log)
    return await process.wait() == 0


def last_line(output: bytes) -> str:
    """The last line that says why, with control characters escaped."""
    lines = [line.strip() for line in output.decode(errors="replace").splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("Command failed -:")] or lines  # which of ip's it was
    return lines[-1].encode("unicode_escape").decode()[:500] if lines else ""


async def together(*things: Coroutine[Any, Any, Any]) -> list[Any]:
    """The results of what runs at the same time. If one fails the others are cut off, and its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in things]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]
