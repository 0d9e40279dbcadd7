"""The seam to objects, on local files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freehold.records.objects import LocalObjects, NoSuchKey, StoredObject

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=100)


def test_objects_are_listed_by_their_keys(tmp_path: Path) -> None:
    objects = LocalObjects(tmp_path)
    for key in ("b/2", "a", "b/1", "../../etc/passwd", "b"):
        objects.put("bucket", key, key.encode(), {})
    objects.put("other", "b/3", b"", {})
    assert list(objects.list("bucket", "b")) == ["b", "b/1", "b/2"]
    assert list(objects.list("bucket", "")) == ["../../etc/passwd", "a", "b", "b/1", "b/2"]
    assert list(objects.list("none", "")) == []
    assert all(path.parent.parent == tmp_path for path in tmp_path.rglob("*") if path.is_file())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bucket=names, key=names, body=st.binary(), metadata=st.dictionaries(names, names, max_size=3))
def test_an_object_comes_back_as_it_was_put(
    tmp_path: Path, bucket: str, key: str, body: bytes, metadata: dict[str, str]
) -> None:
    objects = LocalObjects(tmp_path)
    objects.put(bucket, key, b"older", {})
    objects.put(bucket, key, body, metadata)
    assert objects.get(bucket, key) == StoredObject(body, metadata)
    with pytest.raises(NoSuchKey):
        objects.get(bucket, f"{key}/more")
