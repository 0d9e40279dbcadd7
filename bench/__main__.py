"""All benchmarks, one after the other: ``make bench``. Each is a command of its own too."""

from __future__ import annotations

from bench import api, debian, encryption, launch, memory, pages, policy, snapshots, trail, volumes, warm


def main() -> None:
    api.main()
    debian.main()
    encryption.main()
    launch.main()
    memory.main()
    pages.main()
    policy.main()
    snapshots.main()
    trail.main()
    volumes.main()
    warm.main()


if __name__ == "__main__":
    main()
