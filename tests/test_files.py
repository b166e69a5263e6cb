"""Files are whole or not there; names resolve or say what is near."""

from __future__ import annotations

import hashlib
import os

import pytest

from sinewy.errors import CorruptFileError, InputError, unknown_name
from sinewy.families import resolve
from sinewy.files import digest, read_json, replacing, write_json, write_text
from sinewy.seeds import derive


def test_a_failed_write_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "before")

    def fail_halfway() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert path.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_an_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"cannot write .*file/b\.json: .*What was there before is untouched"):
        write_json(tmp_path / "file" / "b.json", {})


def test_json(tmp_path):
    write_json(tmp_path / "a.json", {"x": [1, "é"]})
    assert read_json(tmp_path / "a.json") == {"x": [1, "é"]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "b.json", float("nan"))
    assert not (tmp_path / "b.json").exists()
    (tmp_path / "a.json").write_text('{"x": [1,')
    with pytest.raises(CorruptFileError, match=r"a\.json is not valid JSON"):
        read_json(tmp_path / "a.json")
    with pytest.raises(InputError, match="cannot read"):
        read_json(tmp_path / "c.json")


def test_digest(tmp_path):
    (tmp_path / "a").write_bytes(b"abc" * 1000)
    assert digest(tmp_path / "a") == hashlib.sha256(b"abc" * 1000).hexdigest()


def test_seeds_depend_on_every_part_and_its_type():
    seeds = {derive(0, "a"), derive(1, "a"), derive(0, "b"), derive("0", "a"), derive(0, "a", 0), derive("0\x1fa")}
    assert len(seeds) == 6
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive(7, "order", 3) == 3_894_881_327_134_772_577


def test_names_resolve_or_say_what_is_near():
    assert resolve("thing", "join", {"join": "posixpath:join"}) is os.path.join
    assert resolve("thing", "posixpath:split", {}) is os.path.split
    with pytest.raises(InputError, match="unknown thing 'jion'. Did you mean 'join'"):
        resolve("thing", "jion", {"join": "posixpath:join"})
    with pytest.raises(InputError, match="cannot import 'nowhere_at_all'"):
        resolve("thing", "nowhere_at_all:x", {})
    with pytest.raises(InputError, match="module 'posixpath' has no 'joinn'. Did you mean 'join'"):
        resolve("thing", "posixpath:joinn", {})
    assert "Known: a, b." in str(unknown_name("thing", "zzzz", ["b", "a"]))
