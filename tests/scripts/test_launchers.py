"""The files in scripts/ that start many processes, with stand-ins for torchrun and Slurm on the path."""

import json
import os
import subprocess
from pathlib import Path

import pytest

RUNS = Path(__file__).parents[2] / "scripts"

# Answers like a run that is stopped the first times and done the last.
STAND_IN = """#!/bin/sh
echo "$TORCH_ELASTIC_SHUTDOWN_TIMEOUT $0 $*" >> "$LOG"
[ -n "${KILL:-}" ] && [ "$(grep -c torchrun "$LOG")" -le 1 ] && kill -USR1 "$KILL"
count=$(grep -c torchrun "$LOG")
mkdir -p "$OUT"
if [ "$count" -le "$STOPS" ]; then
    printf '{\\n  "state": "stopped"\\n}' > "$OUT/summary.json"; exit 1
fi
printf '{\\n  "state": "%s"\\n}' "$LAST" > "$OUT/summary.json"
[ "$LAST" = done ] || exit 1
"""
SLURM = {
    "scontrol": 'echo "scontrol $*" >> "$LOG"; [ "$1" = show ] && printf "node1\\nnode2\\n"; exit 0',
    "scancel": 'echo "scancel $*" >> "$LOG"',
    "srun": 'echo "srun $1" >> "$LOG"; [ "$1" = bash ] || shift; exec "$@"',
}


@pytest.fixture
def stage(tmp_path):
    """Runs a file of scripts/ among the stand-ins; gives status, standard error, and what was called."""
    for name, text in {"torchrun": STAND_IN, **{k: f"#!/bin/sh\n{v}\n" for k, v in SLURM.items()}}.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def run(name, *words, stops=0, last="done", **more):
        environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "LOG": str(tmp_path / "log")}
        environment |= {"OUT": str(tmp_path / "run"), "STOPS": str(stops), "LAST": last, **more}
        shell = "sh" if name == "torchrun.sh" else "bash"
        done = subprocess.run([shell, RUNS / name, *words], capture_output=True, text=True, env=environment)
        log = tmp_path / "log"
        return done.returncode, done.stderr, log.read_text().splitlines() if log.exists() else []

    return run


SLURM_JOB = {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_NNODES": "2", "SLURM_NODEID": "0", "SLURM_JOB_ID": "7"}


def test_torchrun_is_started_again_while_the_run_is_stopped(stage, tmp_path):
    status, said, log = stage("torchrun.sh", "digits", "--out", str(tmp_path / "run"), stops=2)
    assert status == 0
    assert len(log) == 3
    assert len(set(log)) == 1  # the same command
    assert log[0].startswith("240 ")  # seconds for the checkpoint
    assert log[0].endswith(f"--standalone --nproc-per-node gpu -m cosub train digits --out {tmp_path / 'run'}")
    assert said.count("starting again") == 2


def test_a_failed_run_is_not_started_again(stage, tmp_path):
    status, _, log = stage("torchrun.sh", "digits", "--out", str(tmp_path / "run"), last="failed", PROCESSES="2")
    assert (status, len(log)) == (1, 1)
    assert "--nproc-per-node 2" in log[0]


def test_it_gives_up_after_so_many_tries(stage, tmp_path):
    status, _, log = stage("torchrun.sh", "digits", "--out", str(tmp_path / "run"), stops=9, TRIES="3")
    assert (status, len(log)) == (75, 3)


@pytest.mark.parametrize("name", ["torchrun.sh", "slurm.sbatch"])
def test_the_folder_must_be_named(stage, name):
    status, said, log = stage(name, "digits", **SLURM_JOB)
    assert status == 2
    assert "name the run's folder with --out" in said
    assert not any("torchrun" in line for line in log)


def test_slurm_puts_a_stopped_job_back_into_the_queue(stage, tmp_path):
    words = ("digits", "--out", str(tmp_path / "run"))
    status, _, log = stage("slurm.sbatch", *words, stops=1, **SLURM_JOB)
    assert status == 0
    (started,) = (line for line in log if "torchrun" in line)
    assert started.startswith("240 ")  # seconds for the checkpoint
    assert "--nnodes 2 --node-rank 0 --nproc-per-node 1 --master-addr node1 --master-port 20007" in started
    assert "-m cosub train digits" in started
    assert log[-1] == "scontrol requeue 7"


@pytest.mark.parametrize(("last", "expected"), [("done", 0), ("failed", 1)])
def test_slurm_leaves_an_ended_job_alone(stage, tmp_path, last, expected):
    status, _, log = stage("slurm.sbatch", "digits", "--out", str(tmp_path / "run"), last=last, **SLURM_JOB)
    assert status == expected
    assert not any("requeue" in line for line in log)
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == {"state": last}


@pytest.fixture
def signalled(tmp_path):
    """The batch script, which the stand-in for torchrun, four processes down, signals as Slurm does before its end."""
    path = tmp_path / "signalled.sh"
    path.write_text(f"export KILL=$$; . {RUNS / 'slurm.sbatch'}\n")
    return str(path)


def test_slurm_hands_the_signal_on(stage, signalled, tmp_path):
    status, _, log = stage(signalled, "digits", "--out", str(tmp_path / "run"), stops=1, **SLURM_JOB)
    assert status == 0
    assert "scancel --signal=TERM 7.0" in log
    assert log[-1] == "scontrol requeue 7"


def test_slurm_requeues_a_run_that_was_killed_before_its_checkpoint_was_written(stage, signalled, tmp_path):
    words = ("digits", "--out", str(tmp_path / "run"))
    status, _, log = stage(signalled, *words, last="running", **SLURM_JOB)
    assert (status, log[-1]) == (0, "scontrol requeue 7")


def test_slurm_leaves_a_run_alone_that_was_killed_unasked(stage, tmp_path):
    status, _, log = stage("slurm.sbatch", "digits", "--out", str(tmp_path / "run"), last="running", **SLURM_JOB)
    assert status == 1
    assert not any("requeue" in line for line in log)


@pytest.mark.parametrize(
    ("given", "expected"), [({"SLURM_CPUS_PER_TASK": "96"}, "srun --cpus-per-task=96"), ({}, "srun bash")]
)
def test_slurm_gives_its_step_the_cpus_of_the_job(stage, tmp_path, given, expected):
    _, _, log = stage("slurm.sbatch", "digits", "--out", str(tmp_path / "run"), **SLURM_JOB, **given)
    assert expected in log


@pytest.mark.parametrize("words", [("--out=~/run",), ("--out", "~/run")])
def test_the_home_directory_is_found(stage, tmp_path, words):
    home = {"HOME": str(tmp_path)}
    status, _, log = stage("slurm.sbatch", "digits", *words, stops=1, **SLURM_JOB, **home)
    assert (status, log[-1]) == (0, "scontrol requeue 7")
    (tmp_path / "log").unlink()
    status, _, log = stage("torchrun.sh", "digits", *words, stops=1, **home)
    assert (status, len(log)) == (0, 2)


@pytest.mark.parametrize("name", ["torchrun.sh", "slurm.sbatch"])
def test_another_home_directory_is_refused(stage, name):
    status, said, log = stage(name, "digits", "--out=~somebody/run", **SLURM_JOB)
    assert (status, log) == (2, [])
    assert said.endswith(": --out ~somebody/run: write the folder without ~\n")
