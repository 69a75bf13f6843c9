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

import tyro

from opensapiens.cli.arguments import IN_LINE, option_fields
from opensapiens.cli.failures import exit_code
from opensapiens.storage.listing import counted

if TYPE_CHECKING:
    from opensapiens.training.run import Run

# Not options of the command; to change these, write a recipe.
OF_THE_RECIPE = {"model", "tasks", "data", "validation", "output", "augmentation", "backgrounds"}


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
    """The recipes by name: the functions of opensapiens.recipes that return a Run, and take the folder `data` first."""
    import opensapiens.recipes
    from opensapiens.training.run import Run

    recipes: dict[str, Callable[..., Run]] = {}
    for module_info in pkgutil.iter_modules(opensapiens.recipes.__path__, "opensapiens.recipes."):
        module = importlib.import_module(module_info.name)
        for name, function in inspect.getmembers(module, inspect.isfunction):
            takes_data = next(iter(inspect.signature(function).parameters), None) == "data"
            if takes_data and get_type_hints(function).get("return") is Run:
                recipes[name] = function
    return dict(sorted(recipes.items()))


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

    own = [name for name, _ in option_fields(recipe)]
    changes = _all_optional(Run, OF_THE_RECIPE | set(own))
    options = dataclasses.make_dataclass(
        "Options",
        [*_parameters(recipe), ("changes", Annotated[changes, IN_LINE])],
        kw_only=True,
        namespace={"__doc__": recipe.__doc__},
    )
    given: Any
    given, rest = tyro.cli(options, prog=prog, args=list(arguments), return_unknown_args=True)
    if rest:  # reported before the recipe opens the data
        names = [*own, *_option_names(changes)]
        matches = " or ".join(difflib.get_close_matches(rest[0], [f"--{name.replace('_', '-')}" for name in names]))
        raise UnknownOption(f"no option {rest[0]}." + (f" Did you mean {matches}?" if matches else ""))
    run = recipe(**{name: getattr(given, name) for name in inspect.signature(recipe).parameters})
    return _changed(run, given.changes)


def _parameters(recipe: Callable[..., Run]) -> Iterator[tuple[Any, ...]]:
    """The parameters of a recipe as fields of a dataclass; those of a group of options stand among the others."""
    hints = get_type_hints(recipe, include_extras=True)
    for name, parameter in inspect.signature(recipe).parameters.items():
        kind = hints[name]
        if dataclasses.is_dataclass(kind):
            kind = Annotated[kind, IN_LINE]
        if parameter.default is inspect.Parameter.empty:
            yield name, kind
        else:
            yield name, kind, dataclasses.field(default=parameter.default)


def _all_optional(settings: Any, left_out: Collection[str] = ()) -> Any:
    """The type of a dictionary of those fields of `settings` that are given on the command line."""
    kinds: dict[str, Any] = {
        name: _all_optional(kind) if dataclasses.is_dataclass(kind) else kind
        for name, kind in get_type_hints(settings).items()
        if name not in left_out
    }
    given: Any = TypedDict(settings.__name__, kinds, total=False)  # type: ignore[misc]
    given.__doc__ = settings.__doc__
    return given


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
