"""The generated pages of docs/: up to date, and saying nothing that would be a defect."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from freehold.config import Config
from freehold.docs import coverage
from freehold.docs.__main__ import main, pages
from freehold.services.operation import Catalog

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    return pages()


@pytest.mark.parametrize("name", ["configuration.md", "coverage.md"])
def test_a_page_is_up_to_date(generated: dict[str, str], name: str) -> None:
    assert (DOCS / name).read_text() == generated[name], f"docs/{name} is old: run `make docs`"


def test_the_pages_are_written(generated: dict[str, str], tmp_path: Path) -> None:
    main([str(tmp_path)])
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == generated


def test_the_example_of_a_configuration_is_one(generated: dict[str, str]) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", generated["configuration.md"], re.DOTALL)
    assert msgspec.toml.decode(example, type=Config).instance_types["lab.small"].vcpus == 1


def test_no_operation_drops_a_parameter() -> None:
    dropped = [
        f"{operation.name}.{path}"
        for operation in Catalog().operations.values()
        for path, treatment in coverage.treatments(operation).items()
        if treatment is coverage.Treatment.DROPPED
    ]
    assert dropped == [], "neither honoured nor refused (`refuse_others`), nor explained in the docstring"


def test_a_parameter_that_nothing_reads_is_dropped() -> None:
    """An operation that answers without a look at its request."""
    careless = replace(Catalog().operations["ec2", "DescribeRegions"], function=lambda _call, _request: {})
    assert set(coverage.treatments(careless).values()) == {coverage.Treatment.DROPPED}


def test_coverage_is_what_the_operations_do() -> None:
    """Examples of each treatment, from what other tests show of these operations."""
    operations = Catalog().operations
    authorize = coverage.treatments(operations["ec2", "AuthorizeSecurityGroupEgress"])
    assert authorize["IpPermissions.IpRanges.CidrIp"] is coverage.Treatment.HONOURED
    assert authorize["IpPermissions.PrefixListIds.PrefixListId"] is coverage.Treatment.REFUSED
    assert authorize["FromPort"] is coverage.Treatment.REFUSED
    assert "DryRun" not in authorize
    regions = coverage.treatments(operations["ec2", "DescribeRegions"])
    assert regions["RegionNames"] is coverage.Treatment.HONOURED
    assert regions["AllRegions"] is coverage.Treatment.NO_EFFECT
    assert coverage.treatments(operations["sts", "GetCallerIdentity"]) == {}
