"""Rules of the design that can be read off the source."""

import ast
import re
import statistics
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "cosub"
FILES = sorted(SOURCE.rglob("*.py"))

# A module imports only what stands above it, or beside it in its own row.
LAYERS = [
    {"choices", "errors", "names", "seeds", "signals"},
    {"submodel"},
    {"residual", "losses", "models"},
    {"blocks", "recipes", "machine", "counting"},
    {"removal"},
    {"attachment", "compilation", "compile_choice"},
    {
        "methods",
        "data",
        "network",
        "finetuning",
        "heads",
        "weight_names",
        "published",
        "weights",
        "optim",
        "checkpoint",
        "distributed",
        "logs",
        "progress",
        "cautions",
        "steps",
        "segmentation",
    },
    {"evaluation", "run", "bench", "planning", "teachers", "tasks", "export"},
    {"plot", "sharding", "finite", "few_rows", "analysis"},
    {"trainer"},
    {"launch"},
    {"studies"},
    {"slimming"},
    {"cli"},
    {"__init__", "__main__"},
]
TORCH_ONLY = {"submodel", "residual", "losses"}
NO_TORCH = {"choices", "errors", "names", "seeds", "recipes", "machine", "cli"}


def part(path: Path) -> str:
    relative = path.relative_to(SOURCE)
    return relative.parts[0].removesuffix(".py")


def imports(path: Path, *, inside_functions: bool) -> set[str]:
    """Names of the modules that a file imports."""
    tree = ast.parse(path.read_text())
    functions = {
        id(node) for function in ast.walk(tree) if isinstance(function, ast.FunctionDef) for node in ast.walk(function)
    }
    checking = {
        id(node)
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and "TYPE_CHECKING" in ast.dump(test.test)
        for node in ast.walk(test)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in checking or (not inside_functions and id(node) in functions):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= (
                {f"{node.module}.{alias.name}" for alias in node.names} if node.module == "cosub" else {node.module}
            )
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_go_one_way(path):
    level = {name: index for index, layer in enumerate(LAYERS) for name in layer}
    mine = level[part(path)]
    for module in imports(path, inside_functions=True):
        if module.startswith("cosub."):
            other = module.split(".")[1]
            if other.startswith("__"):
                continue  # the version
            assert level[other] <= mine, f"{part(path)} imports {module}"


@pytest.mark.parametrize("path", [p for p in FILES if part(p) in TORCH_ONLY | NO_TORCH], ids=lambda p: p.name)
def test_light_modules_stay_light(path):
    allowed = {"torch", "jaxtyping"} if part(path) in TORCH_ONLY else {"pydantic", "tyro"}
    heavy = {"torch", "timm", "numpy", "PIL", "torchvision", "datasets", "matplotlib", "sklearn", "rich", "pydantic",
             "tyro", "jaxtyping", "torchmetrics", "safetensors"}  # fmt: skip
    found = {module.split(".")[0] for module in imports(path, inside_functions=False)} & heavy
    assert found <= allowed


def functions():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno is not None
                yield node.end_lineno - node.lineno + 1, f"{path.relative_to(SOURCE)}:{node.lineno} {node.name}"


def test_functions_fit_on_a_screen():
    lengths = sorted(functions())
    numbers = [length for length, _ in lengths]
    assert statistics.median(numbers) <= 12
    assert numbers[int(0.9 * len(numbers))] <= 40
    assert numbers[-1] <= 80, lengths[-1]


def readme() -> str:
    return (ROOT / "README.md").read_text()


def test_the_pages_tree_is_the_tree():
    tree = re.search(r"```text\n(src/cosub/.*?)```", (ROOT / "docs" / "tree.md").read_text(), re.S)
    assert tree
    told, folders = set(), []
    for line in tree[1].splitlines():
        indent = (len(line) - len(line.lstrip())) // 2
        name = line.split()[0]
        folders = folders[:indent]
        if name.endswith("/"):
            folders.append(name)
        else:
            told.add("".join(folders) + name)
            assert len(line.split(maxsplit=1)) == 2, f"{name} has no purpose"
    listed = subprocess.run(["git", "ls-files", "src", "-o", "-c", "--exclude-standard"], cwd=ROOT, text=True,
                            capture_output=True, check=True).stdout.split()  # fmt: skip
    there = {name for name in listed if (ROOT / name).exists()}
    assert told == there


def test_the_readmes_loop_runs(tmp_path):
    """The two lines for one's own loop, with a small model in the place of the big one."""
    block = re.search(r"```python\n(import timm.*?)```", readme(), re.S)
    assert block
    code = block[1].replace('"deit3_base_patch16_224"', '"deit3_small_patch16_224", img_size=32, depth=2')
    preamble = (
        "import torch\n"
        "loader = [(torch.randn(4, 3, 32, 32), torch.randint(0, 1000, (4,))) for _ in range(3)]\n"
        "seen = []\n"
    )
    scope: dict = {}
    exec(preamble + code, scope)
    assert scope["loss"].isfinite()
    assert scope["model"](scope["images"]).shape == (8, 1000)


def test_the_readmes_commands_are_understood(tmp_path, monkeypatch):
    from cosub.cli.train import understand
    from cosub.recipes import get
    from cosub.recipes.files import dump

    commands = re.findall(r"^cosub train (.*?)$", readme(), re.M)
    monkeypatch.chdir(tmp_path)  # with what `make demo` leaves, and nothing else
    (tmp_path / "out" / "demo" / "cosub").mkdir(parents=True)
    (tmp_path / "out" / "demo" / "cosub" / "recipe.json").write_text(dump(get("digits")))
    assert commands
    for command in commands:
        understand([word for word in command.split("#")[0].split() if word != "--json"])
