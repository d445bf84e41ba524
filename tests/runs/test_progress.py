"""What a person sees of a run: one line, what matters first; accuracy when it is measured; a stop answered."""

import io
import os
import re
import signal

import pytest
from rich.cells import cell_len
from rich.console import Console
from tiny import before_steps, run, tiny

from cosub.errors import Stopped
from cosub.runs.progress import Terminal, fitting
from cosub.train.signals import StopRequest

VALUES = {"loss": 1.23456, "accuracy": 0.4567, "images_per_second": 1234.5, "data_wait": 0.03}


def on_a_terminal(width, act):
    """The lines that a terminal of that width has shown, each as it was drawn."""
    file, terminal = io.StringIO(), Terminal()
    terminal.console = Console(file=file, force_terminal=True, width=width, color_system=None)
    terminal.start(0, 1000)
    act(terminal)
    terminal.stop()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", file.getvalue()).replace("\r", "\n")
    return [line for line in text.split("\n") if line.strip()]


def going(terminal):
    terminal.step(120, VALUES)
    terminal.measured(3, "validation", "top-1", 0.98765)
    terminal.step(999, VALUES)


@pytest.mark.parametrize(
    ("width", "shown", "left_out"),
    [
        (50, ["train", "100%", "left", "val 98.77%", "loss 1.2346"], ["accuracy"]),
        (80, ["train", "100%", "left", "val 98.77%", "loss 1.2346", "accuracy 45.7%", "━"], ["images/s"]),
        (160, ["val 98.77%", "loss", "accuracy", "step 999/1000", "1234 images/s", "data wait 3%", "━"], []),
    ],
)
def test_the_bar_is_one_line_and_what_matters_comes_first(width, shown, left_out):
    lines = on_a_terminal(width, going)
    assert max(map(cell_len, lines)) <= width
    assert all(line.startswith("train") for line in lines)
    assert all(word in lines[-1] for word in shown), lines[-1]
    assert not any(word in lines[-1] for word in left_out), lines[-1]
    assert "…" not in lines[-1]


def test_a_text_is_shown_whole_or_not_at_all():
    texts = ["val 0.5", "loss 1.2", "accuracy 0.4"]
    assert [fitting(texts, room) for room in (6, 7, 16, 17, 100)] == [
        "", "val 0.5", "val 0.5", "val 0.5  loss 1.2", "val 0.5  loss 1.2  accuracy 0.4"
    ]  # fmt: skip
    assert fitting(["一二三"], 5) == ""


def test_elsewhere_an_evaluation_is_a_line_of_its_own(tmp_path, capsys):
    run(tiny(tmp_path / "run", epochs=2, evaluate_every=1))
    lines = capsys.readouterr().err.splitlines()
    (told,) = [line for line in lines if re.fullmatch(r"epoch 1: top-1 \d+\.\d\d% on the test images", line)]
    (last,) = [line for line in lines if line.startswith("train 100%")]
    assert f"test {told.split()[3]}" in last
    assert lines.index(told) < lines.index(last)


def test_images_that_choose_the_epoch_are_called_validation(tmp_path, capsys):
    run(tiny(tmp_path / "run", choose="best"))
    assert re.search(r"^epoch 1: top-1 \d+\.\d\d% on the validation images$", capsys.readouterr().err, re.M)


def test_the_first_request_to_stop_is_acknowledged_once_and_at_once():
    said, now = [], [100.0]
    stop = StopRequest(said.append, clock=lambda: now[0])
    with stop.listening():
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
        assert said == ["stopping after this step (Ctrl-C again, 5 s from now or later, stops at once)"]
        now[0] = 106.0
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert len(said) == 1


@pytest.mark.parametrize(
    "error", [RuntimeError("reentrant call"), OSError(5, "Input/output error"), ValueError("closed")]
)
def test_a_stream_that_cannot_be_written_to_does_not_keep_a_run_from_stopping(error):
    def say(_line):
        raise error

    stop = StopRequest(say)
    with stop.listening():
        os.kill(os.getpid(), signal.SIGINT)
    assert stop.asked


def test_a_run_says_that_it_stops_and_stops(tmp_path, capsys):
    def interrupt(trainer):
        if trainer.state.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with before_steps(interrupt), pytest.raises(Stopped, match="stopped at step 4 of 22"):
        run(tiny(tmp_path / "run"))
    assert "stopping after this step" in capsys.readouterr().err


def test_after_the_last_step_the_message_is_another(tmp_path, capsys, monkeypatch):
    from cosub.train import launch

    before = launch.shares_of
    monkeypatch.setattr(launch, "shares_of", lambda network: os.kill(os.getpid(), signal.SIGINT) or before(network))
    with pytest.raises(Stopped):
        run(tiny(tmp_path / "run"))
    said = capsys.readouterr().err
    assert "stopping; all steps are done, and the same command makes the last evaluation again" in said
    assert "stopping after" not in said
