"""`opensapiens train RECIPE`: the recipe's own arguments first, then any plain field of the run that it returns."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
import inspect
import os
import pkgutil
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, get_type_hints

import tyro

if TYPE_CHECKING:
    from opensapiens.training.run import Run

# What a recipe is made of; to change these, write a recipe.
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
        near = difflib.get_close_matches(name, recipes, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        print(f"opensapiens train: no recipe {arguments[0]!r}.{hint} There are: {', '.join(recipes)}", file=sys.stderr)
        return 2
    from opensapiens.training.loop import train as run_training

    try:
        run = read_run(recipes[name], arguments[1:], prog=f"opensapiens train {arguments[0]}")
    except (ValueError, OSError) as error:
        print(f"opensapiens train: {error}", file=sys.stderr)
        return 2
    folder = run_training(run)
    if os.environ.get("RANK", "0") == "0":
        use = (
            f"train pose --pretrained {folder} ..."
            if run.masked
            else f"predict photo.jpg --output out --model {folder}"
        )
        print(f"the model is in {folder}; use it with: opensapiens {use}")
    return 0


class UnknownOption(ValueError):
    """An option that neither the recipe nor the run has; the message names the near misses."""


def _fields(kind: Any) -> tuple[dataclasses.Field[Any], ...]:
    """The fields of settings that are a dataclass, none of any other type."""
    return dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()


def find_recipes() -> dict[str, Callable[..., Run]]:
    """The recipes by name: the functions of opensapiens.recipes that return a Run and are named after their file."""
    import opensapiens.recipes
    from opensapiens.training.run import Run

    found: dict[str, Callable[..., Run]] = {}
    for module_info in pkgutil.iter_modules(opensapiens.recipes.__path__, "opensapiens.recipes."):
        module = importlib.import_module(module_info.name)
        for name, function in inspect.getmembers(module, inspect.isfunction):
            file = module_info.name.rpartition(".")[2]
            own = function.__module__ == module.__name__ and (name == file or name.startswith(f"{file}_"))
            if own and get_type_hints(function).get("return") is Run:
                found[name] = function
    return found


def overview(recipes: dict[str, Callable[..., Run]]) -> str:
    """The help of `opensapiens train`."""
    width = max(map(len, recipes))
    rows = [f"  {name:<{width}}  {(inspect.getdoc(recipe) or '').splitlines()[0]}" for name, recipe in recipes.items()]
    return "\n".join(
        ["usage: opensapiens train RECIPE [OPTIONS]", "", "Train a model. Recipes:", *rows, "",
         "The options of a recipe:  opensapiens train nano --help",
         "Example:  opensapiens train nano --data shards/train --output runs/nano",
         "Several GPUs:  torchrun --nproc-per-node 8 -m opensapiens train pose --data ..."]
    )  # fmt: skip


def read_run(recipe: Callable[..., Run], arguments: Sequence[str], prog: str) -> Run:
    """The run of a recipe for command-line arguments, with the run's own fields overridden by what the recipe did not
    take.

    Raises UnknownOption; what the recipe raises; SystemExit where tyro has already said what is wrong with a value.
    """
    from opensapiens.training.run import Run

    taken = set(inspect.signature(recipe).parameters) | OF_THE_RECIPE
    hints = get_type_hints(Run)
    names = [field.name for field in dataclasses.fields(Run) if field.name not in taken]
    fields = ", ".join(f"--{name.replace('_', '-')}" for name in names)
    description = f"{inspect.getdoc(recipe)}\n\nFurther options change the run that the recipe returns: {fields}"

    @functools.wraps(recipe)
    def bound(*positional: Any, **named: Any) -> Callable[[], Run]:
        return functools.partial(recipe, *positional, **named)

    make, rest = tyro.cli(bound, prog=prog, description=description, args=list(arguments), return_unknown_args=True)
    nested = [f"{name}.{field.name}" for name in names for field in _fields(hints[name])]
    known = [f"--{name.replace('_', '-')}" for name in [*inspect.signature(recipe).parameters, *names, *nested]]
    for word in rest:  # before the recipe opens the data
        option = word.partition("=")[0].replace("_", "-")
        if option.startswith("--") and option not in known and option.replace("--no-", "--", 1) not in known:
            near = " or ".join(difflib.get_close_matches(option, known))
            raise UnknownOption(f"no option {word}." + (f" Did you mean {near}?" if near else ""))
    run = make()
    if not rest:
        return run
    values = [(name, hints[name], dataclasses.field(default=getattr(run, name))) for name in names]
    settings: Any = dataclasses.make_dataclass("RunSettings", values, frozen=True)
    changed = tyro.cli(settings, prog=prog, args=rest)
    return dataclasses.replace(run, **{name: getattr(changed, name) for name in names})
