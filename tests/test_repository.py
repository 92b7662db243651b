"""What the documents and the packaging promise about the repository."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pins}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", document.read_text())
    local = [target for target in targets if "://" not in target]
    missing = [target for target in local if not (document.parent / target).exists()]
    assert missing in ([], ["sheet.png"])


def test_the_paper_map_names_files_that_exist() -> None:
    text = (ROOT / "docs" / "paper.md").read_text()
    paths = re.findall(r"`((?:pipeline|jobs|deployments)/[^`]*)`", text)
    assert len(paths) > 12
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_readme_commands_are_verbs() -> None:
    from jobs.cli import VERBS

    used = re.findall(
        r"^ {4}headsplat ([a-z]+(?: [a-z]+)?)", (ROOT / "README.md").read_text(), re.M
    )
    assert len(used) > 5
    assert [name for name in used if name not in VERBS and name.split()[0] not in VERBS] == []


def test_make_targets_in_documents_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    told = {
        target
        for document in DOCUMENTS
        for target in re.findall(r"(?:`| {4})make ([a-z]+)", document.read_text())
    }
    assert {"demo", "test", "check", "setup"} <= told
    assert [target for target in told if f"\n{target}:" not in makefile] == []


def test_every_dependency_has_a_tested_version_within_its_bounds() -> None:
    metadata = project()
    extras = metadata["optional-dependencies"].values()
    wanted = [*metadata["dependencies"], *(text for extra in extras for text in extra)]
    pins = pinned()
    for requirement in map(Requirement, wanted):
        if requirement.name == metadata["name"]:
            continue
        version = pins.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not in constraints.txt"
        assert requirement.specifier.contains(version), f"{requirement} excludes {version}"


def test_the_package_stays_small_enough_to_ship() -> None:
    shipped = [path for path in (ROOT / "pipeline").rglob("*") if path.suffix != ".pyc"]
    weights = sum(p.stat().st_size for p in shipped if p.suffix in (".safetensors", ".onnx"))
    assert weights <= 80e6
    pickles = (".pt", ".pth", ".ckpt", ".pkl", ".bin")
    assert [path for path in shipped if path.suffix in pickles] == []
