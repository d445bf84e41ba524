"""cosub bench models: what is counted against what the paper prints."""

import json

import pytest
import timm
import torch
from torch import nn

from cosub.cli import main
from cosub.paper.sizes import models
from cosub.paper.sizes.models import compare, layers_of, size, speed
from cosub.paper.sizes.rows import ROWS
from cosub.runs import timing
from cosub.runs.network import create

CPU = torch.device("cpu")
KEYS = [
    "model",
    "timm",
    "params_m",
    "paper_params_m",
    "gflops",
    "paper_gflops",
    "layers",
    "resolution",
    "table",
    "note",
]


def off(row: dict) -> bool:
    """Whether a count differs by more than rounding and small operations explain."""
    params = abs(row["params_m"] / row["paper_params_m"] - 1)
    flops = abs(row["gflops"] / row["paper_gflops"] - 1)
    return params > 0.005 or flops > (0.01 if row["table"] == "13" else 0.02)


@pytest.fixture
def only(monkeypatch):
    """Only some of the paper's rows."""
    return lambda *rows: monkeypatch.setattr(models, "ROWS", rows)


@pytest.mark.slow
@pytest.mark.parametrize("table", ["B.1", "11", "12", "13"])
def test_a_row_has_a_note_if_and_only_if_it_is_off(table, only):
    only(*(row for row in ROWS if row.table == table))
    rows = compare(CPU)
    assert [row["model"] for row in rows if off(row)] == [row["model"] for row in rows if row["note"]]


def test_every_row_of_the_tables_is_there():
    counts = {table: sum(row.table == table for row in ROWS) for table in ("11", "12", "B.1", "13")}
    assert counts == {"11": 26, "12": 26, "B.1": 10, "13": 15}
    assert len({(row.table, row.model) for row in ROWS}) == len(ROWS) == 77


def test_the_notes_sums_are_right():
    deit, distilled = size("deit_base_patch16_224", 224), size("deit_base_distilled_patch16_224", 224)
    assert distilled.params - deit.params == 768 + 768 + 769 * 1000  # 0.77 M
    assert (size("xcit_small_12_p16_224", 224).macs + 2 * 196 * 384**2) / 1e9 == pytest.approx(4.9, abs=0.05)


def test_upernet_on_a_vit_is_the_papers(only):
    only(*(row for row in ROWS if row.model == "UperNet ViT-S"))
    (row,) = compare(CPU)
    assert (round(row["params_m"], 1), round(row["gflops"]), row["layers"]) == (41.7, 588, 24)


def test_macs_are_those_of_the_layers_and_of_attention():
    blocks = 12 * (197 * 12 * 192**2 + 2 * 197**2 * 192)
    assert size("deit_tiny_patch16_224", 224).macs == 196 * 768 * 192 + blocks + 192 * 1000


def test_layers_are_those_that_attach_sees():
    with torch.device("meta"):
        assert layers_of(timm.create_model("vit_tiny_patch16_224")) == 24
        assert layers_of(timm.create_model("vgg11")) is None
    assert size("swin_tiny_patch4_window7_224", 224).layers == 24  # timm's own drop path is on there


def test_a_network_is_counted_once(only, monkeypatch):
    built = []
    monkeypatch.setattr(
        "cosub.paper.sizes.models.create", lambda name, *more: built.append(name) or create(name, *more)
    )
    size.cache_clear()
    only(*(row for row in ROWS if row.timm in ("resnet50", "pit_s_224")))
    assert len(compare(CPU)) == 3
    assert built == ["resnet50", "pit_s_224"]


# --- speed


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.dtypes, self.training_seen = nn.Conv2d(3, 4, 3), set(), set()

    def forward(self, x):
        y = self.conv(x)
        self.dtypes.add(y.dtype)
        self.training_seen.add(self.training)
        return y


def test_speed_is_that_of_forward_in_eval_mode_and_mixed_precision(monkeypatch):
    model = Small()
    monkeypatch.setattr(timm, "create_model", lambda name: model)
    ticks = iter(range(100))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(ticks) / 2)
    assert speed("small", 8, CPU, batch_size=3, repeats=2) == {"images_per_second": 6.0}
    assert (model.dtypes, model.training_seen) == ({torch.float16}, {False})


def test_what_does_not_fit_has_no_speed(monkeypatch):
    def full(name: str) -> nn.Module:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(timm, "create_model", full)
    assert speed("large", 8, CPU) == {"images_per_second": None, "peak_gb": None}


@pytest.mark.gpu
def test_speed_and_peak_on_a_card(only):
    only(*(row for row in ROWS if row.model == "ViT-S - cosub" and row.table == "11"))
    (row,) = compare(torch.device("cuda"))
    weights = 4e-3 * row["params_m"]
    assert row["images_per_second"] > 0
    assert weights + 256 * 3 * 224**2 * 4e-9 < row["peak_gb"] < 10


# --- the command


def test_the_command_prints_json(only, capsys):
    only(*(row for row in ROWS if row.timm == "pit_s_224"))
    assert main(["bench", "models", "--json"]) == 0
    (row, other) = json.loads(capsys.readouterr().out)["models"]
    assert list(row) == KEYS
    assert (row["model"], other["model"], row["paper_params_m"], row["layers"]) == ("PiT-S", "PiT-S - cosub", 23.5, 24)


def test_the_command_prints_a_table_with_footnotes(only, capsys):
    only(*(row for row in ROWS if row.timm in ("pit_s_224", "deit_base_distilled_patch16_224", "resnet50")))
    assert main(["bench", "models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    titles = ["table", "model", "timm", "pixels", "M params", "paper", "GFLOPs", "paper", "layers", "note"]
    assert lines[0].split() == " ".join(titles).split()
    assert lines[1].split()[:-1] == ["11", "ResNet-50", "resnet50", "224", "25.56", "25.6", "4.09", "4.1"]
    assert lines[4].split()[-1] == "1"
    assert lines[4].index("deit_base_") == lines[0].index("timm")
    assert lines[5:] == ["", f"1  {next(row.note for row in ROWS if row.timm.startswith('deit_base_distilled'))}"]


def test_a_device_that_is_not_there_is_one_line(capsys):
    assert main(["bench", "models", "--device", "gpu9"]) == 2
    assert capsys.readouterr().err.startswith("cosub: device: 'gpu9'")
