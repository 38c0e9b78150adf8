"""What the documents say that can be tried: lines, links, files, commands, settings, variables."""

from __future__ import annotations

import functools
import importlib
import re
import shlex
import tomllib
from typing import Any

import pytest
from pydantic import BaseModel

from docs.generate import api, gallery, keywords
from docs.generate import commands as made
from docs.generate.__main__ import OUTSIDE
from experiments.command import DOORS
from qframe_rl import catalog
from qframe_rl.config import Ref
from qframe_rl.evaluate.splits import SPLITS
from qframe_rl.gym.market import MarketConfig
from qframe_rl.interface import SCHEMES
from qframe_rl.runner.arena.experiment import ArenaExperiment
from qframe_rl.runner.experiment import Experiment
from qframe_rl.runner.study.plan import Study
from qframe_rl.runner.tune.plan import Tune
from tests.docs.documents import NAMES, ROOT, anchors, blocks, commands, prose, spans

LIMIT = 120
COMMANDS = [name for group in DOORS.values() for name in group if name != "completion"]
PLACEHOLDERS = {"...", "…"}
parser_of = functools.cache(made.parser_of)


@functools.cache
def _generated() -> set[str]:
    """Pages that are made have no file; the strict build of the site looks after links into them."""
    return {*api.pages(), *keywords.pages(), *made.pages(), *OUTSIDE.values()}


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < 150


@pytest.mark.parametrize("name", NAMES)
def test_lines_are_short(name: str) -> None:
    """A row of a table cannot be cut, and so is let be; so is an address."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    assert [
        (number, line)
        for number, line in enumerate(lines, 1)
        if len(line) > LIMIT and not line.lstrip().startswith("|") and "://" not in line
    ] == []


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    here = ROOT / name
    generated = _generated()
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(name)):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        there = here if not path else (here.parent / path).resolve()
        if there.is_relative_to(ROOT / "docs") and str(there.relative_to(ROOT / "docs")) in generated:
            continue
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there), target


@pytest.mark.parametrize("name", NAMES)
def test_files_that_are_named_are_there(name: str) -> None:
    """Whole paths from the root, below folders that hold nothing else; a name in capitals stands for any."""
    pattern = r"((?:qframe_rl|tests|experiments|agents|envs|docs|checkpoints)/[\w./-]*[\w/])(?:$|[ ,:])"
    for span in spans(name):
        for path in re.findall(rf"^{pattern}", span):
            if re.search(r"[A-Z]{2,}|my_|envs/calm", path) or path.startswith(("checkpoints/", "agents/NAME", "runs/")):
                continue
            # A decision may tell of what was then; the others tell of what is.
            if not name.startswith("docs/decisions"):
                assert (ROOT / path).exists(), path


def parsed(command: str) -> None:
    """Fail if a command names a door, an option, a module, a test or a target that is not there."""
    command = re.sub(r"^(\w+=\S+\s+)+", "", command.strip())
    if found := re.match(r"(?:python -m experiments\.|qframe )([a-z]+)\b(.*)", command):
        door, rest = found.groups()
        if door in ("completion", "rl"):
            return
        assert door in COMMANDS, command
        known = {option for action in parser_of(door)._actions for option in action.option_strings}
        for option in re.findall(r"(?<![\w-])(--?[a-z][a-z-]*)", rest):
            assert option in known, f"{command}: {door} has no {option}"
        for assignment in re.findall(r"--set '?\"?([\w.\"]+)=", rest):
            assert key_exists(assignment), f"{command}: {assignment}"
    elif found := re.match(r"python -m (tests\.[\w.]+)(.*)", command):
        module, rest = found.groups()
        path = ROOT / module.replace(".", "/")
        sources = [path.with_suffix(".py"), *path.glob("*.py")]
        text = "".join(source.read_text() for source in sources if source.is_file())
        assert text, f"{command}: no such module"
        # Options that another module adds for it are found by its imports.
        for inner in re.findall(r"from (tests\.[\w.]+) import", text):
            text += "".join(p.read_text() for p in [(ROOT / inner.replace(".", "/")).with_suffix(".py")] if p.is_file())
        for option in re.findall(r"(?<![\w-])(--[a-z][a-z-]*)", rest):
            assert f'"{option}"' in text or option in door_options(text), f"{command}: no {option}"
    elif found := re.match(r"pytest ((?:tests/[\w/.]+ ?)+)", command):
        for path in found[1].split():
            assert (ROOT / path).exists(), command
    elif found := re.match(r"make ([a-z]+)\b", command):
        assert re.search(rf"^{found[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), command


def door_options(text: str) -> set[str]:
    """Options of the doors that a module hands arguments on to."""
    named = set(re.findall(r"experiments[. ]([a-z]+)", text)) & set(COMMANDS)
    return {option for door in named for action in parser_of(door)._actions for option in action.option_strings}


@pytest.mark.parametrize("name", NAMES)
def test_commands_can_be_given(name: str) -> None:
    for command in commands(name):
        for part in re.split(r"&&|;|\|\s", command):
            parsed(part)


@pytest.mark.parametrize("name", NAMES)
def test_whole_commands_of_blocks_are_accepted(name: str) -> None:
    """Commands on lines of their own pass their parser as they stand, names in capitals aside."""
    for block in blocks(name):
        if block.language not in ("", "bash", "sh"):
            continue
        for line in re.sub(r"\\\n\s*", "", block.text).splitlines():
            line = re.sub(r"(^|\s)#.*", "", line).strip()
            found = re.match(r"(?:python -m experiments\.|qframe )([a-z]+)( .*|$)", line)
            if found is None or found[1] not in COMMANDS or PLACEHOLDERS & set(line.split()) or "$" in line:
                continue
            words = shlex.split(re.sub(r"\s*(\d?>|[|&]).*", "", found[2]))
            try:
                parser_of(found[1]).parse_args(words)
            except SystemExit:
                pytest.fail(f"{name}: {line}")


def key_exists(dotted: str) -> bool:
    """Whether a dotted setting is one: of train, a study, a search or many agents."""
    keys = list(_keys(dotted))
    return any(_below(model, keys) for model in (Experiment, Study, Tune, ArenaExperiment))


def _keys(dotted: str) -> list[str]:
    below: Any = tomllib.loads(f"{dotted} = 0")
    keys = []
    while isinstance(below, dict):
        ((key, below),) = below.items()
        keys.append(key)
    return keys


def _below(model: type[BaseModel], keys: list[str]) -> bool:
    first, *rest = keys
    if first not in model.model_fields:
        return False
    if not rest or rest == ["name"]:
        return True
    kind = model.model_fields[first].annotation
    if rest[0] == "params":
        rest = rest[1:]
    if first == "agent":
        if "." in rest[0] or rest[0] in ("NAME", "LABEL"):
            return True
        if rest[0] not in catalog.names("agents"):
            return False
        return len(rest) == 1 or _in(catalog.load("agents", rest[0]).Config, rest[1:])
    if first == "env":
        return any(_in(catalog.load("envs", env).Config, rest) for env in catalog.names("envs"))
    if first == "split":
        return any(_in(config, rest) for config in SPLITS.values())
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _below(kind, rest)
    return kind is Ref


OF_PROGRAMS = {
    "QFRAME_DECISIONS_KEY", "QFRAME_CHAT_TOKEN", "QFRAME_CHAT_TOTP_SECRET",
    "QFRAME_DATA", "QFRAME_STORE", "QFRAME_RELAY_FROM", "QFRAME_RELAY_TO",
    "QFRAME_DATA_PASSWORD", "QFRAME_STORE_PASSWORD", "QFRAME_RELAY_FROM_PASSWORD", "QFRAME_RELAY_TO_PASSWORD",
    "QFRAME_SERVICE_TOKEN", "QFRAME_SERVICE_PASSWORD", "QFRAME_ACCOUNT_MAIN_API_KEY",
    "QFRAME_ACCOUNT_MAIN_SECRET", "QFRAME_ACCOUNT_NAME_API_KEY", "QFRAME_ACCOUNT_NAME_SECRET",
    "QFRAME_ACCOUNT_NAME_PASSWORD", "QFRAME_ALLOW",
}  # fmt: skip
"""Variables of the environment that are no settings."""


def _in(config: type[BaseModel], keys: list[str]) -> bool:
    """Whether a configuration has a key; what lies in a reference or a table is looked up by name elsewhere."""
    return keys[0] in config.model_fields or keys[0] in ("KEY", "NAME")


@pytest.mark.parametrize("name", NAMES)
def test_settings_that_are_named_exist(name: str) -> None:
    if name.startswith("docs/decisions"):
        return
    for span in spans(name):
        found = re.match(r"(?:--set )?((?:env|agent|split|data|risk)\.[a-z_0-9.]+)(?:=.*)?$", span)
        if found and not found[1].endswith(".py"):
            assert key_exists(found[1]), span


@pytest.mark.parametrize("name", NAMES)
def test_variables_of_the_environment_exist(name: str) -> None:
    for variable in re.findall(r"\bQFRAME_[A-Z_]+[A-Z]\b", (ROOT / name).read_text()):
        if variable not in OF_PROGRAMS:
            keys = variable.removeprefix("QFRAME_").lower().split("__")
            assert key_exists(".".join(keys)), variable


def test_keys_of_json_are_written_somewhere() -> None:
    """Keys in the first column of the tables below JSON in docs/cli.md; test_doors.py runs the commands themselves."""
    text = (ROOT / "docs" / "cli.md").read_text().partition("\n## JSON")[2]
    sources = [*(ROOT / "experiments").glob("*.py"), *(ROOT / "qframe_rl").rglob("*.py")]
    written = "\n".join(path.read_text() for path in sources)
    for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE):
        for key in re.findall(r"`(\w+)`", row):
            assert re.search(rf'"{key}"|^    {key}:|\b{key}=', written, re.MULTILINE), key


def test_the_map_of_contributing_names_what_is_there() -> None:
    """Every room and module of the library is named by the map, or its room is, and nothing that is gone."""
    (text,) = (block.text for block in blocks("CONTRIBUTING.md") if block.text.startswith("qframe_rl/"))
    rooms = re.findall(r"^  ([\w.]+/?) ", text, re.MULTILINE)
    for room in rooms:
        assert (ROOT / "qframe_rl" / room).exists(), room
    there = {path.name for path in (ROOT / "qframe_rl").iterdir() if not path.name.startswith("__")}
    missing = {name for name in there if not re.search(rf"\b{re.escape(name)}(/|\b)", text)}
    assert missing <= {"catalog.py", "versions.py"}, missing
    for file in re.findall(r"\b(\w+\.(?:py|toml))\b", text):
        assert list(ROOT.glob(f"*/{file}")) or list((ROOT / "qframe_rl").rglob(file)), file


def test_the_wall_that_contributing_tells_of_stands() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (wall,) = (contract for contract in contracts if contract["type"] == "allowed")
    text = (ROOT / "CONTRIBUTING.md").read_text().partition("names what is let")[2].partition(";")[0]
    assert set(re.findall(r"`(\w+)`", text)) == {name.removeprefix("qframe_rl.") for name in wall["allowed"]}


def test_words_of_the_house_are_at_most_forty_lines() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text().partition("\n## Words\n")[2].partition("\n## ")[0]
    assert len(text.strip().splitlines()) <= 40


def test_every_command_is_in_the_table() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", text.partition("\n## ")[0], re.MULTILINE)) == set(COMMANDS)


def test_what_the_environments_say_of_themselves_is_on_the_page() -> None:
    """The pages that are made name every environment, scheme, strategy and option."""
    importlib.invalidate_caches()
    page = keywords.environments()
    for env in catalog.names("envs"):
        assert (f"## `{env}`" if env in catalog.games() else catalog.env_id(env)) in page
        for key in catalog.load("envs", env).Config.model_fields:
            assert f"`{key}`" in page
    listed = keywords.strategies()
    assert all(f"## `{agent}`" in listed for agent in catalog.names("agents"))
    ((_, options),) = made.pages().values()
    for door in COMMANDS:
        for action in parser_of(door)._actions:
            if action.option_strings and action.dest != "help":
                assert f"`{action.option_strings[-1]}" in options


def test_where_action_schemes_are_listed_they_all_are() -> None:
    fields = [catalog.load("envs", env).Config.model_fields for env in catalog.names("envs")]
    texts = [field["actions"].description or "" for field in [MarketConfig.model_fields, *fields] if "actions" in field]
    texts += [(ROOT / "experiments" / "templates" / "env.py.txt").read_text().partition("Action scheme:")[2]]
    for text in texts:
        if "exposure" in text:
            listed = text.partition('"""')[0]
            assert {name for name in (*SCHEMES, "weights") if re.search(rf"\b{name}\b", listed)} == set(SCHEMES), listed


@pytest.mark.parametrize(
    "command",
    [
        "python -m experiments.trian",
        "qframe train --sybmols BTC/USDT",
        "python -m experiments.train --set env.half_spread=2",
        "qframe train --set agent.ppo.steps=3",
        "python -m tests.fuzz --coutn 3",
        "python -m tests.nowhere",
        "pytest tests/nowhere.py",
        "make nothing",
    ],
)
def test_what_is_not_there_is_noticed(command: str) -> None:
    with pytest.raises(AssertionError):
        parsed(command)


def test_the_gallery_names_pictures_that_are_there_and_commands_that_can_be_given() -> None:
    listed = gallery.pictures()
    assert len(listed) >= 8
    for entry in listed:
        assert (ROOT / "docs" / "images" / entry["image"]).is_file(), entry["image"]
        parsed(entry["command"])
        door, *words = shlex.split(entry["command"].removeprefix("qframe "))
        parser_of(door).parse_args(words)
