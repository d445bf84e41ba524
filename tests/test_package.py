"""The package: what the wheel holds, that it trains where it is installed, and how a version is published."""

import email
import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

import cosub

ROOT = Path(__file__).parents[1]
INSTALL = "pip install '.[test]'"


def output(*words: str | Path, where: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(word) for word in words], cwd=where, env=environment or None, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the source archive and of the wheel that is built from it."""
    for tool in ("build", "hatchling"):
        pytest.importorskip(tool, reason=f"{tool} is not installed: {INSTALL}")
    folder = tmp_path_factory.mktemp("dist")
    output(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, where=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    return built / f"cosub-{cosub.__version__}-py3-none-any.whl"


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    source = ROOT / "src"
    files = [path for path in (source / "cosub").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    about = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
    expected = {path.relative_to(source).as_posix() for path in files}
    expected |= {f"cosub-{cosub.__version__}.dist-info/{name}" for name in about}
    assert "cosub/py.typed" in expected
    with zipfile.ZipFile(wheel) as inside:
        assert set(inside.namelist()) == expected


@pytest.mark.slow
def test_the_metadata_are_whole(built, wheel):
    with zipfile.ZipFile(wheel) as inside:
        told = email.message_from_bytes(inside.read(f"cosub-{cosub.__version__}.dist-info/METADATA"))
    assert (told["Name"], told["Version"]) == ("cosub", cosub.__version__)
    assert (told["License-Expression"], told["Requires-Python"]) == ("Apache-2.0", ">=3.11")
    assert told["Summary"]
    assert told["Author"]
    assert "Typing :: Typed" in told.get_all("Classifier", [])
    assert told.get_payload().startswith("# cosub\n")
    pytest.importorskip("twine", reason=f"twine is not installed: {INSTALL}")
    archives = sorted(built.iterdir())
    assert len(archives) == 2
    output(sys.executable, "-m", "twine", "check", "--strict", *archives, where=built)


@pytest.mark.slow
def test_the_wheel_trains_the_digits_where_it_is_installed(wheel, tmp_path):
    """In an environment of its own that sees this one's dependencies, but neither this checkout nor its path."""
    venv.create(tmp_path / "fresh", symlinks=True)
    python = tmp_path / "fresh" / "bin" / "python"
    (packages,) = (tmp_path / "fresh" / "lib").glob("python*/site-packages")
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"]
    output(*install, wheel, where=tmp_path)
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    told = output(python, "-c", "import cosub; print(cosub.__file__)", where=tmp_path, **clean)
    assert Path(told.strip()) == packages / "cosub" / "__init__.py"
    command = python.with_name("cosub")
    assert output(command, "--version", where=tmp_path, **clean) == f"cosub {cosub.__version__}\n"
    output(command, "train", "digits", "--epochs", "2", "--out", "digits", where=tmp_path, **clean)
    steps = [json.loads(line) for line in (tmp_path / "digits" / "metrics.jsonl").read_text().splitlines()]
    losses = [step["loss"] for step in steps if "loss" in step]
    assert losses[-1] < 0.7 * losses[0]
    summary = json.loads((tmp_path / "digits" / "summary.json").read_text())
    assert summary["version"] == cosub.__version__
    assert 0 <= summary["top1"] <= 1


def test_the_newest_version_of_the_changelog_is_this_one():
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert headings[0].split()[0] in (cosub.__version__, "Unreleased")
    versions = [re.fullmatch(r"(\d+\.\d+\.\d+) \(\d{4}-\d\d-\d\d\)", heading) for heading in headings]
    assert cosub.__version__ in [found[1] for found in versions if found]
    assert all(versions[1:])


def test_pages_name_this_version():
    named = re.findall(r"\bcosub-([\d.]+)-py3|@v([\d.]+)'", (ROOT / "docs" / "install.md").read_text())
    assert {one or other for one, other in named} == {cosub.__version__}


def test_a_tag_publishes_what_was_checked_and_no_password_is_kept():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "publish.yml").read_text())
    assert workflow[True] == {"push": {"tags": ["v*"]}}  # YAML reads the key `on` as true
    assert workflow["permissions"] == {}
    build, publish = workflow["jobs"]["build"], workflow["jobs"]["publish"]
    assert build["permissions"] == {"contents": "read"}
    assert publish["permissions"] == {"id-token": "write"}
    assert publish["needs"] == "build"
    assert not any("run" in step or "password" in step.get("with", {}) for step in publish["steps"])
    commands = [step["run"] for step in build["steps"] if "run" in step]
    assert commands[0].split()[:4] == ["make", "check", "test", "dist"]
    assert "${GITHUB_REF_NAME#v}" in commands[1]
