"""``python -m freehold.docs [DIRECTORY]``: write the generated pages (to docs/)."""

from __future__ import annotations

import sys
from pathlib import Path

from freehold.docs import configuration, coverage
from freehold.services.operation import Catalog


def pages() -> dict[str, str]:
    """The text of each generated page, by file name."""
    return {"configuration.md": configuration.page(), "coverage.md": coverage.page(Catalog())}


def main(arguments: list[str]) -> None:
    directory = Path(arguments[0] if arguments else "docs")
    for name, text in pages().items():
        (directory / name).write_text(text)


if __name__ == "__main__":
    main(sys.argv[1:])
