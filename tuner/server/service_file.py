"""The service file: YAML that declares more base models.

base_models:
  qwen3-0.6b:
    source: Qwen/Qwen3-0.6B      # a hub name, a folder (relative to this file), package:NAME
    display_name: Qwen3 0.6B     # optional, like all that follows
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import yaml

from tuner.errors import InvalidInput, Problem
from tuner.server.settings import MODEL_ID, SOURCES, new_base_model, source_problem

if TYPE_CHECKING:
    from pathlib import Path

    from tuner.engine import BaseModel

_FORM = "write `base_models: {NAME: {source: FOLDER or hub name}}`"
_KINDS: dict[str, tuple[type, ...]] = {
    "source": (str,),
    "display_name": (str,),
    "description": (str,),
    "version": (str,),
    "input_token_limit": (int,),
    "output_token_limit": (int,),
    "methods": (list,),
    "temperature": (int, float),
    "top_p": (int, float),
    "top_k": (int,),
}


def read(path: Path) -> dict[str, BaseModel]:
    """The base models a service file declares, by name.

    Raises:
        InvalidInput: Everything that is wrong with it, with lines.
    """
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        what, fix = f"cannot be read: {error.strerror}", "name a file that this account may read"
        raise InvalidInput([Problem(str(path), 0, 0, what, fix)]) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInput([_syntax(path, error)]) from error
    problems: list[Problem] = []
    found: dict[str, BaseModel] = {}
    for key, models in _pairs(path, root, problems):
        if key.value != "base_models":
            problems.append(
                _problem(path, key, f"unknown key {key.value!r}", "base_models is known")
            )
            continue
        for name, fields in _pairs(path, models, problems):
            model = _base_model(path, name, fields, problems)
            if model is not None:
                found[model.name] = model
    if problems:
        raise InvalidInput(problems)
    return found


def _base_model(
    path: Path, name: yaml.Node, node: yaml.Node, problems: list[Problem]
) -> BaseModel | None:
    model_id = str(name.value).removeprefix("models/")
    if not MODEL_ID.fullmatch(model_id):
        fix = "lower-case letters, digits, . _ - and a letter or digit first"
        problems.append(_problem(path, name, f"{model_id!r} is no name for a model", fix))
    before = len(problems)
    fields = {
        key.value: _value(path, key, value, problems) for key, value in _pairs(path, node, problems)
    }
    if not fields.get("source"):
        fix = "source: a folder, a hub name, or package:NAME"
        problems.append(_problem(path, name, f"{model_id} has no source", fix))
    if len(problems) > before:
        return None
    source = _source(path, fields.pop("source"))
    if missing := source_problem(source):
        problems.append(_problem(path, name, f"{model_id}: {missing}", SOURCES))
    if "methods" in fields:
        fields["methods"] = tuple(fields["methods"])
    return replace(new_base_model(model_id, source), **fields)


def _value(path: Path, key: yaml.Node, node: yaml.Node, problems: list[Problem]) -> Any:
    kinds = _KINDS.get(key.value)
    if kinds is None:
        what = f"unknown key {key.value!r}"
        problems.append(_problem(path, key, what, f"these are known: {', '.join(_KINDS)}"))
        return None
    value = yaml.SafeLoader("").construct_object(node, deep=True)
    if str in kinds and isinstance(node, yaml.ScalarNode):
        return node.value
    if not isinstance(value, kinds) or isinstance(value, bool):
        what = f"{key.value} must be {' or '.join(kind.__name__ for kind in kinds)}"
        problems.append(_problem(path, node, what))
    return value


def _pairs(
    path: Path, node: yaml.Node | None, problems: list[Problem]
) -> list[tuple[yaml.Node, yaml.Node]]:
    if node is None:
        return []
    if not isinstance(node, yaml.MappingNode):
        problems.append(_problem(path, node, "keys with values belong here", _FORM))
        return []
    seen: set[str] = set()
    for key, _ in node.value:
        if key.value in seen:
            problems.append(_problem(path, key, f"{key.value} stands here twice", "keep one"))
        seen.add(key.value)
    return list(node.value)


def _source(path: Path, source: str) -> str:
    folder = path.parent / source
    return str(folder.resolve()) if folder.is_dir() else source


def _problem(path: Path, node: yaml.Node, what: str, fix: str = "") -> Problem:
    mark = node.start_mark
    return Problem(str(path), mark.line + 1, mark.column + 1, what, fix)


def _syntax(path: Path, error: Exception) -> Problem:
    mark = getattr(error, "problem_mark", None)
    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    return Problem(str(path), line, column, f"is not YAML: {getattr(error, 'problem', error)}")
