"""The documents: their links, the code on their pages, and what stands beside the code."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import test_attach as contract
import torch
import yaml

import cosub
from cosub.twins import TWINS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
BUILT = ("commands.md", "tree.md")  # by the site's build


def blocks(page: str, language: str = "python") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (DOCS / page).read_text(), re.S | re.M)


def prose(text: str) -> str:
    """Text without code, where brackets mean something else."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_exist(page):
    for target in re.findall(r"\]\(([^)#\s]+)", prose(page.read_text())):
        if not re.match(r"[a-z]+:", target) and target not in BUILT:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_a_page_links_to_pages_and_does_not_name_their_files(page):
    assert not re.findall(r"\bdocs/[\w-]+\.md\b", page.read_text())


def test_the_public_names_are_on_the_page_of_the_reference():
    told = re.findall(r"^::: ([\w.]+)$", (DOCS / "api.md").read_text(), re.M)
    assert {f"{cosub._PUBLIC[name]}.{name}" for name in cosub.__all__} <= set(told)


def commands(page: Path) -> list[list[str]]:
    """The words after `cosub` of each command on a page, without comments."""
    code = re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.S | re.M)
    code += re.findall(r"(?:^    \S.*\n)+", page.read_text(), re.M)
    lines = "".join(code).replace("\\\n", "").splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.strip().startswith("cosub ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_have_verbs_and_options_that_there_are(page):
    from cosub.cli.completion import vocabulary

    known = vocabulary()
    for verb, *words in commands(page):
        for word in words:
            if word.startswith("--"):
                assert word.split("=")[0] in known[verb].options, f"cosub {verb} {' '.join(words)}"


@pytest.mark.parametrize("page", ["index.md", "finetune.md", "training.md"])
def test_the_commands_that_train_are_understood(page, tmp_path, monkeypatch):
    from cosub.cli.train import understand
    from cosub.recipes import get
    from cosub.recipes.files import dump

    monkeypatch.chdir(tmp_path)
    (tmp_path / "out" / "digits-cosub-0").mkdir(parents=True)
    (tmp_path / "out" / "digits-cosub-0" / "recipe.json").write_text(dump(get("digits")))
    found = [words for verb, *words in commands(DOCS / page) if verb == "train"]
    assert len(found) >= 2
    for words in found:
        understand(words)


@pytest.fixture
def mixnet():
    """What the page on adding an architecture defines, run from its first line to its last."""
    before, scope = dict(TWINS), {"__name__": "adding"}
    torch.manual_seed(0)
    first, *rest = blocks("adding.md")
    exec(first, scope)
    with pytest.raises(ValueError, match="blocks without a twin: MixBlock"):
        cosub.attach(scope["MixNet"](), drop_rate=0.5)
    for block in rest:
        exec(block, scope)
    yield scope
    TWINS.clear()
    TWINS.update(before)


def test_the_page_on_adding_an_architecture_holds(mixnet, images, table):
    assert mixnet["loss"].isfinite()

    def build() -> torch.nn.Module:
        torch.manual_seed(0)
        return mixnet["MixNet"]()

    contract.test_keys_do_not_change_and_full_network_is_timm_to_the_bit(build, images)
    for rate, training, operation in [(0.2, True, "efficient"), (0.8, True, "plain"), (0.5, False, "efficient")]:
        contract.test_submodel_equals_timm_with_an_explicit_mask(
            build, "mixnet", images, table, rate, training, operation
        )
    contract.test_copies_equal_the_repeated_input(build, images, table)
    contract.test_train_gives_copies_and_eval_the_full_network(build, images)
    contract.test_every_parameter_gets_a_gradient(build, images)
    contract.test_tables_follow_seed_and_step(build, images)
    contract.test_detach_restores_the_timm_model(build, images)


def test_the_two_lines_of_the_method_equal_the_mask():
    """Efficient stochastic depth as the page on the method writes it."""
    (code,) = blocks("method.md")
    torch.manual_seed(0)
    x, weight, rows, kept = torch.randn(8, 3), torch.randn(3, 3), 8, 4
    scope: dict[str, Any] = {"torch": torch, "x": x, "R": rows, "K": kept, "branch": lambda h: h @ weight}
    exec(code, scope)
    passes = torch.zeros(rows, 1).index_fill(0, scope["keep"], rows / kept)
    assert passes.count_nonzero() == kept
    torch.testing.assert_close(scope["x"], x + passes * (x @ weight))


@pytest.mark.slow
def test_the_page_on_python_runs(tmp_path, monkeypatch):
    """As a notebook would, from top to bottom: on small images, and with weights that need no network."""
    from finished import finished
    from pictures import picture

    monkeypatch.chdir(tmp_path)
    for index in range(40):
        place = tmp_path / "FOLDER" / ("cat", "dog")[index % 2]
        place.mkdir(parents=True, exist_ok=True)
        picture(index).save(place / f"{index}.png")
    picture(40).save(tmp_path / "IMAGE.jpg")
    finished(tmp_path / "weights", "convnext_tiny")
    changes = {
        "pretrained=True": "weights='weights', epochs=1, batch_size=8, group_size=8",
        "keep=4,": "keep=2, unit='layer', images=9,",  # one block per stage
    }
    scope: dict[str, Any] = {}
    for block in blocks("python.md"):
        for before, after in changes.items():
            block = block.replace(before, after)
        exec(block, scope)
    assert scope["run"].recipe.model == "convnext_tiny"
    assert scope["small"].summary["slim"]["layers"] == 2
    index = int(scope["logits"].argmax())
    assert scope["found"].label == scope["run"].classes[index]
    assert len(scope["curve"].accuracy) == 3
    assert len(scope["curve"].loss) > 20


# --- files that other programs read


def load(path: Path) -> dict[Any, Any]:
    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize(
    "path", [*sorted((ROOT / ".github").rglob("*.yml")), ROOT / "mkdocs.yml"], ids=lambda p: p.name
)
def test_yaml_parses(path):
    assert isinstance(load(path), dict)


def test_the_citation_is_whole():
    citation = load(ROOT / "CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["version"] == cosub.__version__
    paper = citation["preferred-citation"]
    assert [author["family-names"] for author in paper["authors"]] == [
        *("Touvron", "Cord", "Oquab", "Bojanowski", "Verbeek", "Jégou")
    ]
    assert paper["year"] == 2023
    assert paper["identifiers"][0]["value"] == "arXiv:2212.04884"


def test_continuous_integration_runs_make_alone():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    (job,) = load(ROOT / ".github" / "workflows" / "ci.yml")["jobs"].values()
    rows = job["strategy"]["matrix"]["include"]
    assert {row["python"] for row in rows} >= {"3.11", "3.12", "3.13"}
    assert {target for row in rows for target in row["targets"].split()} <= targets
    assert all(step["run"].startswith("make ") for step in job["steps"] if "run" in step)


def test_the_oldest_versions_are_the_stated_bounds():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = dict(re.findall(r"^([\w-]+)==([\d.]+)$", (ROOT / "constraints-oldest.txt").read_text(), re.M))
    for needed in project["dependencies"] + project["optional-dependencies"]["hub"]:
        name, bound = needed.split(",")[0].split(">=")
        assert f"{oldest[name]}.".startswith(f"{bound}."), needed


def test_the_pages_of_the_site_exist():
    pages = [page for part in load(ROOT / "mkdocs.yml")["nav"] for entry in part.values() for one in entry
             for page in one.values()]  # fmt: skip
    assert len(pages) == len(set(pages)) > 10
    for page in pages:
        assert (DOCS / page).exists() or page in BUILT, page
