"""Many processes against one: the same run, replicated (DDP) or sharded (FSDP2)."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from tiny import TINY, before_steps, logged, run, run_and_kill, run_together, tiny, together, weights

import cosub
from cosub.errors import InputError, RunError, Stopped
from cosub.recipes.augmentation import Augment
from cosub.recipes.data import Digits
from cosub.recipes.optimizer import Optimizer
from cosub.runs.distributed import join
from cosub.runs.folder import RunFolder
from cosub.runs.progress import Reporter
from cosub.train import checkpoint as checkpoints
from cosub.train import saving
from cosub.train.signals import StopRequest

# Dropout inside the network is drawn for a micro-step as a whole, so it is off here.
PLAIN = {"patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2}


def recipe(out, **changes):
    """28 steps of six groups, which one, two and three processes divide; the test images, 360, they do not all."""
    changes = {"model_args": PLAIN, "batch_size": 96, "epochs": 2, "ema": 0.9, **changes}
    return tiny(out, **changes)


def close(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-5, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "run"
    return out, run(recipe(out))


@pytest.mark.parametrize(
    ("processes", "parallel", "micro_steps"),
    [
        pytest.param(2, "ddp", 1, marks=pytest.mark.slow),
        (2, "fsdp", 1),
        pytest.param(3, "ddp", 2, marks=pytest.mark.slow),
        pytest.param(3, "fsdp", 2, marks=pytest.mark.slow),
    ],
)
def test_equal_one_process(alone, tmp_path, processes, parallel, micro_steps):
    out, expected = alone
    facts = run_together(recipe(tmp_path / "run", parallel=parallel, micro_steps=micro_steps), processes)
    assert facts == {"processes": processes, "sharded": [parallel == "fsdp"]}
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["processes"], summary["steps"], summary["num_images"]) == (processes, 28, 360)
    close(weights(out), weights(tmp_path / "run"))  # the averaged network
    ours, theirs = (checkpoints.latest(folder / "checkpoints") for folder in (tmp_path / "run", out))
    close(ours.weights["network"], theirs.weights["network"])
    for key in ("top1", "top5", "top1_submodels"):
        assert summary[key] == expected[key]


# Rows of a process are those of a micro-step of one process. Plain SGD's steps are as long as
# the gradient, so that a factor on it is no rounding.
CONVNET = {"model": "test_resnet", "model_args": {}, "batch_size": 192, "group_size": 32, "epochs": 1}
DROPOUT = {"model_args": TINY, "epochs": 1, "optimizer": Optimizer(name="sgd", warmup_epochs=0.0, clip=0.05)}


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
@pytest.mark.parametrize("changes", [{**CONVNET, "ema": 0.0}, CONVNET, DROPOUT], ids=["batchnorm", "ema", "dropout"])
def test_networks_are_trained_by_several_processes_as_in_several_micro_steps(tmp_path, changes, parallel):
    run(recipe(tmp_path / "alone", **changes, micro_steps=2))
    run_together(recipe(tmp_path / "run", **changes, parallel=parallel), 2)
    ours, theirs = weights(tmp_path / "run"), weights(tmp_path / "alone")
    statistics = {name for name in theirs if name.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    close(*({name: found[name] for name in found.keys() - statistics} for found in (ours, theirs)))
    assert bool(statistics) == ("model" in changes)
    assert all(ours[name].ne(0).any() for name in statistics if name.endswith("mean"))
    # A step of a process moves them once, and two micro-steps twice.
    assert {int(ours[name]) for name in statistics if name.endswith("tracked")} <= {7}
    summaries = [RunFolder(tmp_path / name).read_summary() for name in ("run", "alone")]
    assert summaries[0]["num_images"] == summaries[1]["num_images"] == 360
    for ours, theirs in zip(*(logged(tmp_path / name) for name in ("run", "alone")), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)


def _heads(out: str, start: str, parallel: str) -> None:
    """Fine-tune as by default, and keep what each process starts from."""
    from cosub.train import builder

    rank, fit = os.environ["RANK"], builder.fit_heads

    def kept(network, *arguments):
        message = fit(network, *arguments)
        torch.save(network.state_dict(), f"{out}-{rank}.pt")
        return message

    builder.fit_heads = kept
    run(tuned(Path(out), start, parallel=parallel))


def tuned(out: Path, start: str, **more):
    plain = Augment(crop="center", policy="", mixup=0.0, cutmix=0.0, flip=0.0, jitter=0.0)
    data = Digits(train_images=288)
    return recipe(out, head="probe", weights=start, choose="best", data=data, epochs=3, augment=plain, ema=0.5, **more)


@pytest.mark.parametrize("parallel", ["ddp", pytest.param("fsdp", marks=pytest.mark.slow)])
def test_fine_tuning_by_several_processes_is_that_of_one(tmp_path, parallel):
    """A classifier fitted to the features of all, and the best epoch kept."""
    torch.manual_seed(0)
    save_file(timm.create_model("vit_tiny_patch16_224", img_size=8, num_classes=7, **PLAIN).state_dict(),
              tmp_path / "seven.safetensors")  # fmt: skip
    start = str(tmp_path / "seven.safetensors")
    alone = run(tuned(tmp_path / "alone", start, micro_steps=2))
    assert set(together(2, _heads, str(tmp_path / "run"), start, parallel)) == {0}
    first, second = (torch.load(tmp_path / f"run-{rank}.pt") for rank in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert first["head.weight"].any()
    summary = RunFolder(tmp_path / "run").read_summary()
    assert summary["chosen_epoch"] == alone["chosen_epoch"]
    assert summary["top1"] == pytest.approx(alone["top1"], abs=0.01)
    for name, value in weights(tmp_path / "alone").items():
        torch.testing.assert_close(weights(tmp_path / "run")[name], value, rtol=1e-3, atol=1e-3)


def _buffers(out: str) -> None:
    """Train, and keep what each process evaluates with."""
    from cosub.evaluation import accuracy
    from cosub.train.launch import train
    from cosub.train.tasks import classification

    rank = os.environ["RANK"]

    def kept(network, *arguments, **more):
        torch.save(dict(network.named_buffers()), f"{out}-{rank}.pt")
        return accuracy.evaluate(network, *arguments, **more)

    classification.evaluate = kept
    convnet = {"model": "test_resnet", "model_args": {}, "batch_size": 192, "group_size": 32, "epochs": 1}
    train(recipe(Path(out), **convnet, parallel="fsdp"))


def test_processes_evaluate_with_the_same_running_statistics(tmp_path):
    assert set(together(2, _buffers, str(tmp_path / "run"))) == {0}
    first, second = (torch.load(tmp_path / f"run-{rank}.pt") for rank in range(2))
    assert first.keys() == second.keys() != set()
    assert all(torch.equal(first[name], second[name]) for name in first)


def _logits(out: str) -> None:
    """A model in a loop of one's own, on the same images in each process."""
    join("cpu")
    torch.manual_seed(0)
    shape = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 4, "num_heads": 3, "init_values": 0.1}
    model = cosub.attach(timm.create_model("deit3_small_patch16_224", **shape), drop_rate=0.5, seed=3).train()
    images = torch.randn(8, 3, 32, 32)
    first = model(images).detach()
    cosub.state(model).step = 0
    torch.save((first, model(images).detach()), f"{out}-{os.environ.get('RANK', 'alone')}.pt")


def test_each_process_drops_rows_of_its_own(tmp_path):
    assert set(together(2, _logits, str(tmp_path / "run"))) == {0}
    _logits(str(tmp_path / "run"))
    first, second, alone = (torch.load(tmp_path / f"run-{name}.pt") for name in ("0", "1", "alone"))
    assert all(torch.equal(*pair) for pair in (first, second, alone))  # a step again is the step
    assert torch.equal(first[0], alone[0])
    assert not torch.allclose(first[0], second[0], atol=1e-4)


def _checkpoint_of_another_step(out: str) -> None:
    """The second process does not see the newest checkpoint."""
    from cosub.train import checkpoint

    folders = checkpoint._folders
    if os.environ["RANK"] == "1":
        checkpoint._folders = lambda folder: folders(folder)[1:]
    with pytest.raises(RunError, match=r"processes read those of different steps \(4, 6\)"):
        run(recipe(Path(out), batch_size=192))


@pytest.mark.slow
def test_processes_that_read_different_checkpoints_are_told(tmp_path):
    run_and_kill(recipe(tmp_path / "run", batch_size=192, checkpoint_every=2), 7)
    assert set(together(2, _checkpoint_of_another_step, str(tmp_path / "run"))) == {0}


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_compiled_in_two_processes(alone, tmp_path, parallel):
    run_together(recipe(tmp_path / "run", parallel=parallel, compile="on"), 2)
    ours, theirs = (checkpoints.latest(folder / "checkpoints") for folder in (tmp_path / "run", alone[0]))
    for name, value in theirs.weights["network"].items():  # 28 steps of other kernels
        torch.testing.assert_close(ours.weights["network"][name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("before", "after"),
    [(None, "fsdp"), ("fsdp", None), ("fsdp", "ddp")],
)
@pytest.mark.slow
def test_a_checkpoint_knows_no_number_of_processes(alone, tmp_path, before, after, monkeypatch):
    """Written by two sharded processes and read by one, and the other way round."""
    out = tmp_path / "run"
    stop = recipe(out, **({"parallel": before} if before else {}), checkpoint_every=5)
    if before:
        run_together(stop, 2, stop_at=9)  # by a signal to one of them
    else:
        run_and_kill(stop, 11)
    assert checkpoints.latest(out / "checkpoints").step == 10
    go_on = recipe(out, **({"parallel": after} if after else {}))
    if after:
        assert run_together(go_on, 2)["processes"] == 2
    else:
        run(go_on)
    assert RunFolder(out).read_summary()["steps"] == 28
    close(weights(alone[0]), weights(out))


def _evaluate(out: str, results: str) -> None:
    """Evaluation of a sharded network in batches of which some processes have fewer than others."""
    from cosub.data.sources import open_source
    from cosub.evaluation.accuracy import evaluate, shares_of
    from cosub.runs.distributed import join
    from cosub.runs.folder import load_run
    from cosub.train.sharding import shard

    world, trained = join("cpu"), load_run(out)
    network = trained.network
    if world.size > 1:
        shard(network, world)
    source, found = open_source(trained.recipe.data), []
    for batch_size in (7, 59, 60, 360):
        result = evaluate(network, source.test, 10, 8, world, submodels=shares_of(network), batch_size=batch_size)
        found.append([result.top1, result.top5, dict(result.submodels), result.num_images])
    if world.main:
        Path(results).write_text(json.dumps(found))


@pytest.mark.slow
def test_evaluation_counts_each_image_once_whatever_divides(alone, tmp_path):
    found = []
    for processes in (1, 2, 3):
        assert set(together(processes, _evaluate, str(alone[0]), str(tmp_path / "results"))) == {0}
        found += json.loads((tmp_path / "results").read_text())
    assert all(result == found[0] for result in found)
    assert found[0][3] == 360
    assert found[0][0] == alone[1]["top1"]


@pytest.mark.slow
def test_training_images_are_evaluated_by_all_processes_together(tmp_path):
    changes = {"evaluate_training": True, "evaluate_every": 1, "timeout": 60}
    run_together(recipe(tmp_path / "run", **changes), 2)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if "train_top1" in line] == [1]


def test_signals_within_five_seconds_are_one_request_and_a_later_one_stops_at_once():
    now = [100.0]
    stop = StopRequest(clock=lambda: now[0])
    with stop.listening():
        assert not stop.asked
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):  # a launcher sends several
            os.kill(os.getpid(), number)
            now[0] += 2.4
        assert stop.asked
        now[0] = 105.1
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


def test_a_process_whose_torchrun_has_died_asks_to_stop(monkeypatch):
    assert not StopRequest().asked
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    stop = StopRequest()
    assert not stop.asked
    monkeypatch.setattr(os, "getppid", lambda: -1)
    assert stop.asked


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGINT])
def test_each_signal_ends_a_run_after_its_step(tmp_path, number):
    def signalled(trainer):
        if trainer.state.step == 3:
            os.kill(os.getpid(), number)

    with before_steps(signalled), pytest.raises(Stopped, match="stopped at step 4 of 28"):
        run(recipe(tmp_path / "run"))
    assert RunFolder(tmp_path / "run").state() == "stopped"
    assert checkpoints.latest(tmp_path / "run" / "checkpoints").step == 4


@pytest.mark.slow
def test_a_slow_checkpoint_is_reported(tmp_path, monkeypatch, capfd):
    run(recipe(tmp_path / "quick"))
    assert "the checkpoint took" not in capfd.readouterr().err
    monkeypatch.setattr(saving, "SLOW_CHECKPOINT", -1)
    run(recipe(tmp_path / "slow"))
    assert f"there are {saving.GRACE} s between SIGTERM and SIGKILL" in capfd.readouterr().err


class Heard(Reporter):
    def __init__(self):
        self.said = []

    def say(self, message: str) -> None:
        self.said.append(message)

    def warn(self, message: str) -> None:
        self.said.append(f"WARNING: {message}")


def test_two_commands_on_one_folder(tmp_path, monkeypatch):
    out = tmp_path / "run"
    run_and_kill(recipe(out, checkpoint_every=5), 7)
    monkeypatch.setattr("cosub.train.launch.LOCK_WAIT", 0.0)
    heard = Heard()
    with (
        RunFolder(out).lock(0, heard),
        pytest.raises(InputError, match="another process works on this run; wait, or name another --out"),
    ):
        run(recipe(out))
    assert heard.said == []
    assert run(recipe(out))["state"] == "done"


def test_a_process_that_was_forked_meanwhile_keeps_no_folder_locked(tmp_path):
    """As one that loads images, in a notebook in which the run was stopped."""
    folder, (read_end, write_end) = RunFolder(tmp_path), os.pipe()
    with folder.lock(0, Reporter()):
        forked = os.fork()
        if not forked:
            os.read(read_end, 1)
            os._exit(0)
    with folder.lock(0, Reporter()):
        pass
    os.write(write_end, b"x")
    os.waitpid(forked, 0)


def test_a_folder_that_cannot_be_locked_is_one_line(tmp_path):
    (tmp_path / ".lock").mkdir()
    with (
        pytest.raises(InputError, match=r"cannot be written \(Is a directory\); name another --out"),
        RunFolder(tmp_path).lock(0, Reporter()),
    ):
        pass


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_warned_of_and_used(tmp_path, monkeypatch, number):
    refusals = []

    def refuse(_file, operation):
        refusals.append(operation)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    heard = Heard()
    with RunFolder(tmp_path).lock(0, heard):
        assert len(refusals) == 1
    assert len(refusals) == 1  # what is not locked is not unlocked
    (line,) = heard.said
    assert line.startswith(f"WARNING: out: {tmp_path}: its file system cannot lock files")


def test_another_error_of_a_lock_is_raised(tmp_path, monkeypatch):
    def fail(_file, _operation):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("fcntl.flock", fail)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)), RunFolder(tmp_path).lock(0, Reporter()):
        pass


def torchrun(arguments: list[str], processes: int = 2, script: tuple[str, ...] = ("-m", "cosub")):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.run(
        [*command, *script, "train", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A run of two processes, and its command line without --out."""
    out = tmp_path_factory.mktemp("uninterrupted") / "run"
    source = out.with_name("recipe") / "run"
    RunFolder(source).claim(recipe(source, model_args=TINY))
    words = [str(source / "recipe.json"), "--checkpoint-every", "4"]
    done = torchrun([*words, "--out", str(out), "--json"])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["processes"] == 2
    return out, words


@pytest.mark.slow
@pytest.mark.parametrize(
    ("victim", "number", "state"),
    [("worker", signal.SIGKILL, "failed"), ("launcher", signal.SIGKILL, None), ("launcher", signal.SIGTERM, "stopped")],
    ids=["worker-killed", "launcher-killed", "launcher-terminated"],
)
def test_started_again_with_the_same_command(uninterrupted, tmp_path, victim, number, state):
    """Dropout inside the network is on: with the same number of processes the end is the same to the bit."""
    out, words = uninterrupted
    words = [*words, "--out", str(tmp_path / "run")]
    under = str(Path(__file__).parents[1] / "under_torchrun.py")
    first = torchrun(words, script=(under, f"{victim}:{int(number)}", "9"))
    assert first.returncode != 0
    if state is not None:  # the launcher's orphans stop on their own, while the next command waits for them
        assert RunFolder(tmp_path / "run").state() == state, first.stderr
    again = torchrun(words)
    assert again.returncode == 0, again.stderr
    assert "continuing" in again.stderr
    assert RunFolder(tmp_path / "run").read_summary()["steps"] == 28
    ours, theirs = weights(tmp_path / "run"), weights(out)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


HOSTS = (("cosub-a", "va", "10.77.0.1"), ("cosub-b", "vb", "10.77.0.2"))


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture
def link():
    """Two hosts: network namespaces with an address each and one link between them. Gives what sets the link up."""
    try:
        for host, _, _ in HOSTS:
            _ip("netns", "add", host)
        _ip("link", "add", "va", "netns", "cosub-a", "type", "veth", "peer", "name", "vb", "netns", "cosub-b")
        for host, interface, address in HOSTS:
            _ip("-n", host, "addr", "add", f"{address}/24", "dev", interface)
    except (OSError, subprocess.CalledProcessError) as error:
        _remove_hosts()
        pytest.skip(f"this machine allows no network namespaces ({getattr(error, 'stderr', None) or error})")

    def up() -> None:
        for host, interface, _ in HOSTS:
            _ip("-n", host, "link", "set", "lo", "up")
            _ip("-n", host, "link", "set", interface, "up")

    yield up
    _remove_hosts()


def _remove_hosts() -> None:
    for host, _, _ in HOSTS:
        subprocess.run(["ip", "netns", "del", host], capture_output=True)


def on_two_hosts(arguments: list[str], script: tuple[str, ...] = ("-m", "cosub")) -> list[tuple[int, str]]:
    """The same command on both hosts; status and standard error of each."""
    started = []
    for rank, (host, interface, _) in enumerate(HOSTS):
        command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
        command += ["--node-rank", str(rank), "--master-addr", HOSTS[0][2], "--master-port", "29400"]
        started.append(
            subprocess.Popen(
                ["ip", "netns", "exec", host, *command, *script, "train", *arguments],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": interface},
            )
        )
    said = [process.communicate()[1] for process in started]
    return [(process.returncode, text) for process, text in zip(started, said, strict=True)]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ip") is None, reason="needs the ip command for network namespaces")
def test_a_cut_link_between_two_hosts(uninterrupted, link, tmp_path):
    out, words = uninterrupted
    words = [*words, "--timeout", "8", "--out", str(tmp_path / "run")]
    link()
    under = str(Path(__file__).parents[1] / "under_torchrun.py")
    for status, said in on_two_hosts(words, script=(under, "link:vb", "9")):
        assert status != 0
        assert "cosub: the other processes do not respond" in said, said
        assert "start the same command again" in said
        assert "exitcode  : 3" in said
    assert RunFolder(tmp_path / "run").state() == "failed"
    link()
    for status, said in on_two_hosts([*words[:-4], *words[-2:]]):
        assert status == 0, said
    ours, theirs = weights(tmp_path / "run"), weights(out)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
