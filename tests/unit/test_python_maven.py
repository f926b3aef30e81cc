"""What the broker takes for a jar when Python alone fetches Kafka."""

import zipfile
from pathlib import Path

import pytest

pytest.importorskip("jgo", reason="the extra `sandbox` is not installed")

from connector.sandbox.broker._python_maven import require_whole


def test_a_jar_that_was_damaged_on_the_way_is_refused(tmp_path: Path) -> None:
    """Otherwise it would lie in the cache, and every later broker would fail."""
    jar = tmp_path / "kafka.jar"
    with zipfile.ZipFile(jar, "w") as archive:
        archive.writestr("Kafka.class", b"a made-up class")
    require_whole(jar)
    jar.write_bytes(jar.read_bytes().replace(b"made-up", b"mode-up"))
    with pytest.raises(zipfile.BadZipFile, match=r"Kafka.class in kafka.jar is damaged"):
        require_whole(jar)
    jar.write_bytes(b"<html>log in first</html>")
    with pytest.raises(zipfile.BadZipFile):
        require_whole(jar)
