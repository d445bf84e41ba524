"""Rules of the design that can be read off the source."""

import ast
import graphlib
import re
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "cosub"
FILES = sorted(SOURCE.rglob("*.py"))

# Each room imports from those above it in this list, and from nothing below or beside it.
ROOMS = [
    {"errors"},
    {"choices"},
    {"seeds"},
    {"submodel"},
    {"losses"},
    {"residual"},
    {"architectures"},
    {"twins"},
    {"attachment"},
    {"weights"},
    {"recipes"},
    {"data"},
    {"runs"},
    {"evaluation"},
    {"train"},
    {"slimming", "export", "analysis", "bench"},
    {"segmentation"},
    {"paper"},
    {"comparison"},
    {"api"},
    {"cli"},
    {"__init__", "__main__"},
]
TORCH_ONLY = {"submodel", "residual", "losses"}
NO_TORCH = {"choices", "errors", "seeds", "recipes", "api", "cli"}


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
def test_imports_follow_the_order_of_the_rooms(path):
    level = {name: index for index, rooms in enumerate(ROOMS) for name in rooms}
    mine = part(path)
    for module in imports(path, inside_functions=True):
        if module.startswith("cosub.") and module != "cosub.__version__":
            other = module.split(".")[1]
            assert other == mine or level[other] < level[mine], f"{mine} imports {module}"


def test_no_file_imports_in_a_circle():
    names = {_module(path): path for path in FILES}
    graph = {name: _files(imports(path, inside_functions=True), names) for name, path in names.items()}
    graphlib.TopologicalSorter({name: others - {name} for name, others in graph.items()}).prepare()


def _module(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")


def _files(modules: set[str], names: dict[str, Path]) -> set[str]:
    return {name for name in modules if name in names}


def test_one_module_alone_imports_other_rooms_by_name():
    places = {str(path.relative_to(SOURCE)) for path in FILES if "import_module" in path.read_text()}
    others = {"data/decoding.py", "bench/coverage.py"}  # modules of Pillow's plug-in and of timm
    assert places - others == {"__init__.py", "cli/__init__.py", "recipes/plugins.py"}


def test_every_file_and_room_says_what_it_is_for():
    for path in FILES:
        first = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0]
        assert first, f"{path.relative_to(SOURCE)} has no docstring"
        assert len(first) <= 120, f"{path.relative_to(SOURCE)}: {first}"


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


def test_files_and_classes_are_short():
    for path in FILES:
        text, name = path.read_text(), str(path.relative_to(SOURCE))
        lines = len(text.splitlines())
        assert lines <= 350, f"{name}: {lines} lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef):
                assert node.end_lineno is not None
                assert node.end_lineno - node.lineno < 200, f"{name}: {node.name}"


def test_tasks_methods_and_sources_are_asked_and_not_known_by_name():
    kinds, classes = {"segmentation", "miou", "mean-teacher", "peer", "teacher"}, {"Segmentation", "Scenes"}
    for path in FILES:
        if part(path) in ("segmentation", "recipes"):  # the plug-in itself, and where the facts of a kind are stated
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare):
                constants = {inner.value for inner in ast.walk(node) if isinstance(inner, ast.Constant)}
                assert not kinds & constants, f"{path}: {ast.unparse(node)}"
                asks = re.search(r"\b(task|data|method)\.kind\b", ast.unparse(node))
                assert not (asks and constants), f"{path}: {ast.unparse(node)}"
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
                names = {inner.id for inner in ast.walk(node.args[1]) if isinstance(inner, ast.Name)}
                assert not classes & names, f"{path}: {ast.unparse(node)}"
                part_of_recipe = re.search(r"\.(task|data|method)$", ast.unparse(node.args[0]))
                assert not part_of_recipe, f"{path}: {ast.unparse(node)}"


def readme() -> str:
    return (ROOT / "README.md").read_text()


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


def test_tests_lie_in_the_room_that_they_test():
    rooms = {path.parent.name for path in SOURCE.glob("*/__init__.py")} | {"scripts"}
    tests = list((ROOT / "tests").rglob("test_*.py"))
    assert {path.parent.name for path in tests} == rooms | {"tests"}
    assert len({path.name for path in tests}) == len(tests)  # pytest imports them by their base names
