"""What the READMEs tell a reader to type works."""

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from lrsweep import app
from lrsweep.config import CONF_DIR

ROOT = Path(__file__).parents[1]
READMES = ["README.md", "README.ko.md"]


def blocks(readme: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / readme).read_text(encoding="utf-8"), re.S)


@pytest.mark.parametrize("readme", READMES)
def test_the_pandas_recipe_runs(readme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (recipe,) = blocks(readme, "python")
    *lines, last = recipe.strip().splitlines()
    names: dict[str, object] = {}
    exec("\n".join(lines), names)
    assert 1e-3 < eval(last, names) < 1e-2
    assert len(names["curves"]) > len(names["runs"])  # type: ignore[arg-type]


@pytest.mark.parametrize("readme", READMES)
def test_every_lrsweep_command_composes(readme: str) -> None:
    app.register()
    commands = [line for block in blocks(readme, "sh") for line in block.splitlines() if line.startswith("lrsweep ")]
    assert len(commands) == 4
    for command in commands:
        overrides = [word for word in shlex.split(command)[1:] if not word.startswith("-")]
        single = [re.sub(r"=([^,]*),.*", r"=\1", word) for word in overrides]  # the first of what is swept
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            app.to_app_config(compose("config", single))


@pytest.mark.parametrize("readme", READMES)
def test_every_file_that_is_linked_is_there(readme: str) -> None:
    for target in re.findall(r"\]\(([^)#:]+)[)#]", (ROOT / readme).read_text(encoding="utf-8")):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("readme", READMES)
def test_every_make_target_is_there(readme: str) -> None:
    targets = re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(), re.M)
    for named in re.findall(r"make ([a-z]+)", "\n".join(blocks(readme, "sh"))):
        assert named in targets
