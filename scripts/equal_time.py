"""Submodel co-training against supervised training with the same drop rate: at equal epochs, and at equal time.

    python scripts/equal_time.py digits --out out/compare
    python scripts/equal_time.py cifar10 --out out/compare --data.path PATH

Trains three networks in sequence, prints a table, and writes comparison.json and comparison.png to the folder. Further
options are those of `cosub train`. The same command continues after an interruption.
"""

import json
import sys
from pathlib import Path

from cosub.cli import main

TIMED = 6.0  # seconds


def summary_of(run: Path) -> dict:
    return json.loads((run / "summary.json").read_text())


def train(words: list[str], out: Path, *more: str) -> dict:
    status = main(["train", *words, "--out", str(out), *more])
    if status:
        raise SystemExit(status)
    return summary_of(out)


def epochs_at_equal_time(words: list[str], run: Path, seconds: float = TIMED) -> int:
    """Epochs of supervised training that take as long as the recipe's with co-training.

    From steps of both, measured in turns: what else the machine does falls on both. A run that has begun in the folder
    keeps its epochs.
    """
    if (run / "recipe.json").exists():
        return json.loads((run / "recipe.json").read_text())["epochs"]
    from cosub.api.configuring import configure
    from cosub.train.pace import measure

    recipes = {method: configure([*words, "--method", method]) for method in ("cosub", "supervised")}
    step = measure(recipes, seconds).step
    ratio = step["cosub"] / step["supervised"]
    print(f"a step of co-training takes {ratio:.2f} times as long as one without", file=sys.stderr)
    return max(1, round(recipes["cosub"].epochs * ratio))


def compare(words: list[str], out: Path) -> dict:
    longer = epochs_at_equal_time(words, out / "supervised-equal-time")
    cosub = train(words, out / "cosub", "--method", "cosub")
    same_epochs = train(words, out / "supervised-equal-epochs", "--method", "supervised")
    same_time = train(words, out / "supervised-equal-time", "--method", "supervised", "--epochs", str(longer))
    return {"cosub": cosub, "supervised, equal epochs": same_epochs, "supervised, equal time": same_time}


def table(results: dict[str, dict]) -> str:
    lines = [f"{'':<26}{'top-1':>8}{'3/4 depth':>11}{'1/2 depth':>11}{'steps':>8}{'seconds':>9}"]
    for name, summary in results.items():
        shares = summary["top1_submodels"]
        lines.append(
            f"{name:<26}{summary['top1']:>8.2%}{shares['0.75']:>11.2%}{shares['0.5']:>11.2%}"
            f"{summary['steps']:>8}{summary['seconds']:>9.1f}"
        )
    ours, theirs = results["cosub"], results["supervised, equal time"]
    lines.append(
        f"co-training minus supervised at equal time: full network {100 * (ours['top1'] - theirs['top1']):+.2f}, "
        f"half depth {100 * (ours['top1_submodels']['0.5'] - theirs['top1_submodels']['0.5']):+.2f} points"
    )
    return "\n".join(lines)


def run(words: list[str]) -> None:
    if "--out" not in words[:-1]:
        raise SystemExit("usage: python scripts/equal_time.py RECIPE --out FOLDER [--key value ...]")
    place = words.index("--out")
    out = Path(words[place + 1])
    results = compare(words[:place] + words[place + 2 :], out)
    (out / "comparison.json").write_text(json.dumps(results, indent=2) + "\n")
    main(["plot", *(summary["run"] for summary in results.values()), "--out", str(out / "comparison.png")])
    print(table(results))


if __name__ == "__main__":
    run(sys.argv[1:])
