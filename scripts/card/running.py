"""Run rows in their own processes, each with a time limit; its result is written before the next one starts."""

import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from card.row import Row, Setup, Skipped
from cosub.paper.studies.ledger import commit

ROOT = Path(__file__).parents[2]
LEAST = 40  # minimum seconds for a row; with less left it is not started, because hardly any would end
_SLOW = 5  # limits are for a GPU; tiny rows get more time, so that a busy laptop suffices

Results = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Runner:
    """Runs rows into a folder: NAME.json, NAME.log, and other files of a row in NAME/."""

    out: Path
    device: str
    tiny: bool

    def run(self, rows: Iterable[Row], seconds: float) -> None:
        """Run all rows that have no result yet, then repeat those that are not done, until the time is over."""
        end = time.monotonic() + seconds
        rows, before = list(rows), self.results()
        again = [row for row in rows if before.get(row.name, {}).get("state", "done") != "done"]
        for row in [row for row in rows if row.name not in before] + again:
            left = end - time.monotonic()
            if left < LEAST:
                print(f"{row.name}: not started, the time is over; the same command continues", flush=True)
                return
            limit = row.limit * (_SLOW if self.tiny else 1)
            result = self._run(row, min(limit, left))
            print(f"{row.name}: {result['state']} in {result['seconds']:.0f} s {result.get('reason', '')}", flush=True)
            print(f"  {json.dumps(result.get('values', {}))}", flush=True)  # the machine may be gone before the table

    def results(self) -> Results:
        """The results by name. Exits if the folder holds results of another device or size, which must not be mixed."""
        found = {path.stem: json.loads(path.read_text()) for path in sorted(self.out.glob("*.json"))}
        found = {name: result for name, result in found.items() if result["state"] != "started"}  # it was interrupted
        for name, result in found.items():
            if (result["on"], result["tiny"]) != (self.device, self.tiny):
                sys.exit(
                    f"--out: {self.out}: {name}.json is of --device {result['on']}, tiny {result['tiny']}: name another"
                )
        return found

    def _run(self, row: Row, limit: float) -> dict[str, Any]:
        target = self.out / f"{row.name}.json"
        target.unlink(missing_ok=True)
        shutil.rmtree(self.out / row.name, ignore_errors=True)
        (self.out / row.name).mkdir(parents=True)
        words = [sys.executable, str(ROOT / "scripts" / "card.py"), "--row", row.name, "--device", self.device]
        words += ["--out", str(self.out.resolve()), *(["--tiny"] if self.tiny else [])]
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as cache, (self.out / f"{row.name}.log").open("wb") as log:
            code = _finish(words, _environment(cache, self.device), log, limit)
        seconds = round(time.monotonic() - started, 1)
        result = json.loads(target.read_text()) if target.exists() else self._facts(row, "unknown")
        result["seconds"] = seconds
        if result["state"] == "started":
            result |= self._why(row, code, limit)
        elif code != 0:  # after it kept its values
            result["reason"] = self._why(row, code, limit)["reason"]
        _write(target, result)
        return result

    def _why(self, row: Row, code: int | None, limit: float) -> dict[str, str]:
        """Why a row ended without a result."""
        if code is None:
            return {"state": "stopped", "reason": f"after its limit of {limit:.0f} s"}
        lines = (self.out / f"{row.name}.log").read_text(errors="replace").splitlines()
        last = next((line for line in reversed(lines) if line.strip()), "no output")
        return {"state": "failed", "reason": f"status {code}: {last[:300]}"}

    def measure(self, row: Row) -> None:
        """Measure one row in this process."""
        target = self.out / f"{row.name}.json"
        facts = self._facts(row, torch.cuda.get_device_name() if self.device == "cuda" else "cpu")
        _write(target, facts)

        def keep(values: dict[str, Any]) -> None:
            _write(target, {**facts, "state": "done", "values": values})

        try:
            keep(row.measure(Setup(self.device, self.tiny, self.out / row.name, keep)))
        except Skipped as reason:
            _write(target, {**facts, "state": "skipped", "reason": str(reason)})

    def _facts(self, row: Row, device: str) -> dict[str, Any]:
        versions = {package: importlib.metadata.version(package) for package in ("torch", "timm")}
        facts = {"row": row.name, "state": "started", "on": self.device, "tiny": self.tiny, "device": device}
        return {**facts, **versions, "commit": commit()}


def _finish(words: list[str], environment: dict[str, str], log: Any, limit: float) -> int | None:
    """The exit status; None if the limit is reached first. All of the row's processes are ended."""
    process = subprocess.Popen(
        words, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
    )
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _environment(cache: str, device: str) -> dict[str, str]:
    """Use this checkout's package and an empty compiler cache, so that compile times are those of a first run."""
    path = os.pathsep.join(filter(None, (str(ROOT / "src"), os.environ.get("PYTHONPATH"))))
    cpu = {"TRITON_INTERPRET": "1"} if device == "cpu" else {}
    return {**os.environ, **cpu, "PYTHONPATH": path, "TORCHINDUCTOR_CACHE_DIR": cache}


def _write(target: Path, value: dict[str, Any]) -> None:
    part = target.with_suffix(".part")
    part.write_text(json.dumps(value, indent=1) + "\n")
    part.replace(target)
