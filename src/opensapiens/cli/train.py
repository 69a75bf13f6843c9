"""`opensapiens train RECIPE`: the recipe's arguments, and any plain field of the run that it returns."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
import os
import pkgutil
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, get_type_hints, is_typeddict

import docstring_parser
import tyro

from opensapiens.cli.failures import exit_code
from opensapiens.storage.listing import counted

if TYPE_CHECKING:
    from opensapiens.training.run import Run

# Not options of the command; to change these, write a recipe.
OF_THE_RECIPE = {"model", "tasks", "data", "validation", "output", "augmentation", "backgrounds", "distillation"}


def train(arguments: Sequence[str]) -> int:
    """Pretrain a backbone, fine-tune one, or train nano, by a recipe.

    Takes the arguments after `opensapiens train`; returns the exit code.
    """
    recipes = find_recipes()
    if not arguments or arguments[0] in ("-h", "--help"):
        print(overview(recipes))
        return 0 if arguments else 2
    name = arguments[0].replace("-", "_")
    if name not in recipes:
        matches = difflib.get_close_matches(name, recipes, n=1)
        hint = f" Did you mean {matches[0]}?" if matches else ""
        print(f"opensapiens train: no recipe {arguments[0]!r}.{hint} There are: {', '.join(recipes)}", file=sys.stderr)
        return 2
    import torch.distributed as dist

    from opensapiens.tasks.detection import DetectionTask
    from opensapiens.training.loader import UNREADABLE, noted_unreadable
    from opensapiens.training.loop import train as run_training

    try:
        run = read_run(recipes[name], arguments[1:], prog=f"opensapiens train {arguments[0]}")
    except (ValueError, OSError) as error:
        print(f"opensapiens train: {error}", file=sys.stderr)
        return 2
    folder = run_training(run)
    unreadable = noted_unreadable(run.output)
    if os.environ.get("RANK", "0") == "0":
        role = "detector" if DetectionTask.name in run.model.heads else "model"
        use = (
            f"train pose --pretrained {folder} ..."
            if run.masked
            else f"predict photo.jpg --output out --{role} {folder}"
        )
        print(f"the model is in {folder}; use it with: opensapiens {use}")
        exit_code(unreadable, f"{counted(len(unreadable), 'picture')} could not be read", run.output / UNREADABLE)
    if dist.is_initialized():
        dist.barrier()  # torchrun ends the other ranks when one exits with 1
    return 1 if unreadable else 0


class UnknownOption(ValueError):
    """An option that neither the recipe nor the run has; the message names similar ones."""


def find_recipes() -> dict[str, Callable[..., Run]]:
    """The recipes by name: the functions of opensapiens.recipes that return a Run and are named after their file."""
    import opensapiens.recipes
    from opensapiens.training.run import Run

    recipes: dict[str, Callable[..., Run]] = {}
    for module_info in pkgutil.iter_modules(opensapiens.recipes.__path__, "opensapiens.recipes."):
        module = importlib.import_module(module_info.name)
        for name, function in inspect.getmembers(module, inspect.isfunction):
            file = module_info.name.rpartition(".")[2]
            is_named = function.__module__ == module.__name__ and (name == file or name.startswith(f"{file}_"))
            if is_named and get_type_hints(function).get("return") is Run:
                recipes[name] = function
    return recipes


def overview(recipes: dict[str, Callable[..., Run]]) -> str:
    """The help of `opensapiens train`."""
    width = max(map(len, recipes))
    rows = [f"  {name:<{width}}  {(inspect.getdoc(recipe) or '').splitlines()[0]}" for name, recipe in recipes.items()]
    return "\n".join(
        ["usage: opensapiens train RECIPE [OPTIONS]", "", "Train a model. Recipes:", *rows, "",
         "Options of a recipe:  opensapiens train nano --help",
         "Example:  opensapiens train nano --data shards/train --output runs/nano",
         "A picture that cannot be read is replaced by another; at the end it is named, and the exit code is 1.",
         "Several GPUs:  torchrun --nproc-per-node 8 -m opensapiens train pose --data ..."]
    )  # fmt: skip


def read_run(recipe: Callable[..., Run], arguments: Sequence[str], prog: str) -> Run:
    """The run of a recipe for command-line arguments: those of the recipe, and changes of the run that it returns.

    Raises UnknownOption; what the recipe raises; SystemExit where tyro has already reported a wrong value.
    """
    from opensapiens.training.run import Run

    parameters = inspect.signature(recipe).parameters
    about = docstring_parser.parse(inspect.getdoc(recipe) or "")
    changes = _all_optional(Run, OF_THE_RECIPE | set(parameters))
    options = dataclasses.make_dataclass(
        "Options", [*_own_options(recipe), ("changes", Annotated[changes, tyro.conf.arg(name="")])], kw_only=True
    )
    given: Any
    given, rest = tyro.cli(
        options, prog=prog, description=about.description, args=list(arguments), return_unknown_args=True
    )
    if rest:  # reported before the recipe opens the data
        names = [*parameters, *_option_names(changes)]
        matches = " or ".join(difflib.get_close_matches(rest[0], [f"--{name.replace('_', '-')}" for name in names]))
        raise UnknownOption(f"no option {rest[0]}." + (f" Did you mean {matches}?" if matches else ""))
    run = recipe(**{name: getattr(given, name) for name in parameters})
    return _changed(run, given.changes)


def _own_options(recipe: Callable[..., Run]) -> Iterator[tuple[Any, ...]]:
    """The parameters of a recipe as fields of a dataclass, documented by its docstring."""
    hints, help_texts = get_type_hints(recipe), _help_texts(recipe)
    for name, parameter in inspect.signature(recipe).parameters.items():
        kind: Any = Annotated[hints[name], tyro.conf.arg(help=help_texts[name])]
        if parameter.default is inspect.Parameter.empty:
            yield name, kind
        else:
            yield name, kind, dataclasses.field(default=parameter.default)


def _all_optional(settings: type, left_out: Collection[str] = ()) -> Any:
    """The type of a dictionary of those fields of `settings` that are given on the command line."""
    hints, help_texts = get_type_hints(settings), _help_texts(settings)
    kinds: dict[str, Any] = {}
    for name in hints:
        if name not in left_out:
            inside = dataclasses.is_dataclass(hints[name])
            kind = _all_optional(hints[name]) if inside else hints[name]
            kinds[name] = Annotated[kind, tyro.conf.arg(help=help_texts[name])]
    return TypedDict(settings.__name__, kinds, total=False)  # type: ignore[operator]


def _help_texts(documented: Any) -> dict[str, str]:
    """The entries of the Args section of a docstring by name."""
    parsed = docstring_parser.parse(inspect.getdoc(documented) or "")
    return {entry.arg_name: (entry.description or "").replace("\n", " ") for entry in parsed.params}


def _option_names(changes: Any) -> Iterator[str]:
    for name, kind in get_type_hints(changes).items():
        if is_typeddict(kind):
            yield from (f"{name}.{inside}" for inside in _option_names(kind))
        else:
            yield name


def _changed(settings: Any, changes: dict[str, Any]) -> Any:
    """Settings with other values, also in nested settings."""
    values = {
        name: _changed(getattr(settings, name), value) if isinstance(value, dict) else value
        for name, value in changes.items()
    }
    return dataclasses.replace(settings, **values)
