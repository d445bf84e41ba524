"""Files that are there whole or not at all."""

import pytest

from cosub.data.atomic import written_atomically


def test_a_file_is_replaced_at_the_end(tmp_path):
    path = tmp_path / "index.npz"
    path.write_text("old")
    with written_atomically(path) as aside:
        aside.write_text("new")
        assert (path.read_text(), aside.suffix, aside.name[0]) == ("old", ".npz", ".")
    assert (path.read_text(), list(tmp_path.iterdir())) == ("new", [path])


def test_a_file_that_cannot_be_written_leaves_the_one_before(tmp_path):
    path = tmp_path / "recipe.json"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), written_atomically(path) as aside:
        aside.write_text((tmp_path / "nowhere").read_text())
    assert (path.read_text(), list(tmp_path.iterdir())) == ("old", [path])
