"""The command of a small segmentation run."""

from pathlib import Path

TINY = {"patch_size": 8, "embed_dim": 24, "depth": 4, "num_heads": 3, "init_values": 0.1}


def words(scenes: Path, out: Path, *more: str) -> list[str]:
    size = ["--model", "deit3_small_patch16_224", "--model-args", *(f"{key}={value}" for key, value in TINY.items())]
    size += ["--resolution", "32", "--task.short-side", "32", "--task.width", "8", "--epochs", "2"]
    size += ["--batch-size", "4", "--group-size", "4", "--drop-rate", "0.25", "--device", "cpu"]
    return ["train", "camvid", "--data.path", str(scenes), "--out", str(out), *size, *more]
