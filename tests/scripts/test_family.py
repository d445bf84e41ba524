"""The script that slims the networks of docs/evidence.md."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import family


@pytest.fixture
def made(monkeypatch, tmp_path):
    """The script's words, and the members that it makes."""
    found = []

    def make(member, run, out):
        found.append(member)
        return {**vars(member), "top1": 0.5, "commit": "abc"}

    monkeypatch.setattr(family, "make", make)
    words = ["family.py", "--runs", str(tmp_path), "--seeds", "0", "1", "--ledger", str(tmp_path / "family.jsonl")]
    monkeypatch.setattr(sys, "argv", words)
    return found


def test_every_number_of_blocks_is_chosen_twice_and_healed_once_in_both_arms(made):
    family.main()
    assert len(made) == len(set(made)) == 2 * 2 * len(family.BLOCKS) * 3
    assert {(member.strategy, member.healed) for member in made} == {("every-other", 0), ("greedy", 0), ("greedy", 10)}


def test_what_has_a_line_is_not_made_again(made, tmp_path):
    family.main()
    ledger = tmp_path / "family.jsonl"
    lines = ledger.read_text().splitlines()
    ledger.write_text("\n".join(lines[:-3]) + "\n")
    made.clear()
    family.main()
    assert len(made) == 3
    assert [json.loads(line) for line in ledger.read_text().splitlines()] == [json.loads(line) for line in lines]
