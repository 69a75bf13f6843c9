"""The local folders of published models, which are downloaded and converted on first use.

Weights are taken from an earlier conversion; else from a published file in OPENSAPIENS_WEIGHTS (single files, or a copy
of Meta's tree); else from the hub, with the settings of huggingface_hub (HF_HOME, HF_HUB_OFFLINE, HF_ENDPOINT,
HF_TOKEN).
"""

import os
import re
import sys
from pathlib import Path

from opensapiens.storage.files import sha256_of, written_folder
from opensapiens.storage.folders import clear, identity_of, mark
from opensapiens.storage.hub import hub_file

from .convert import convert
from .model_folder import CONFIG_FILE, weights_digest
from .published_table import HOST_OF_FORM, HUB_FILE, PUBLISHED_MODELS, TERMS, PublishedModel
from .strict_loading import CheckpointError

CONVERTED = "a converted model"  # the kind of the folder
CACHE_VARIABLE = "OPENSAPIENS_CACHE"
WEIGHTS_VARIABLE = "OPENSAPIENS_WEIGHTS"


def cache_folder() -> Path:
    """The folder of converted models: OPENSAPIENS_CACHE, or opensapiens in the user's cache folder."""
    if folder := os.environ.get(CACHE_VARIABLE):
        return Path(folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "opensapiens"


def weights_folder() -> Path:
    """The folder of downloaded published files: OPENSAPIENS_WEIGHTS, or "published" in cache_folder."""
    folder = os.environ.get(WEIGHTS_VARIABLE)
    return Path(folder).expanduser() if folder else cache_folder() / "published"


def converted_folder(name: str) -> Path:
    """The folder of a converted published model, whether it exists or not."""
    return cache_folder() / "models" / name


def local_file(model: PublishedModel) -> Path | None:
    """A published file of the model in weights_folder, flat or in a published tree; None without one."""
    root = weights_folder()
    for form, file in model.files.items():
        for path in (root / file, root / model.folder / file, root / HOST_OF_FORM[form] / model.folder / file):
            if path.is_file():
                return path
    copied = root / Path(model.repo).name / HUB_FILE  # a repository of Sapiens2, under its own name
    return copied if model.repo and copied.is_file() else None


def on_disk(model: PublishedModel) -> bool:
    """Whether load() of this model needs no network."""
    return _is_whole(converted_folder(model.name)) or local_file(model) is not None


def resolve(name: str) -> Path:
    """The model folder of a published model, downloaded and converted on first use.

    Raises:
        CheckpointError: an unknown name, unpublished weights, no network (it says which file to put where), or a file
            that is damaged, has another hash or holds another model.
    """
    model = PUBLISHED_MODELS.get(name)
    if model is None:
        raise CheckpointError(f"no published model {name!r}; there are {', '.join(PUBLISHED_MODELS)}")
    folder = converted_folder(name)
    if _is_whole(folder):
        return folder
    file = local_file(model)
    path, origin = (file, str(file)) if file is not None else _download(model)
    return convert_into_cache(path, folder, origin, model)


def resolve_file(path: Path) -> Path:
    """The model folder of a local published file, converted on first use and when the file changes."""
    stat = path.stat()
    key = f"{abs(stat.st_mtime_ns):x}{stat.st_size:x}{stat.st_ino:x}"
    folder = cache_folder() / "files" / f"{path.stem}-{key}"
    return folder if _is_whole(folder) else convert_into_cache(path, folder, path.name)


def _is_whole(folder: Path) -> bool:
    """Whether a folder holds a model and, if it was converted here, its weights are unchanged."""
    if not (folder / CONFIG_FILE).is_file():
        return False
    marker = identity_of(folder, CONVERTED)
    try:
        return marker is None or marker.get("weights") == weights_digest(folder)
    except OSError:
        return False


def convert_into_cache(path: Path, folder: Path, origin: str, expected: PublishedModel | None = None) -> Path:
    """Converts a published file; the folder appears only when it is complete.

    Raises:
        CheckpointError: it is not a published file, or not of the expected model.
    """
    print(f"converting {path} to {folder}", file=sys.stderr)
    if folder.is_dir() and not _is_whole(folder):
        clear(folder, CONVERTED)
    with written_folder(folder) as part:
        description = convert(path, part, origin, (expected.task if expected and expected.head else None))
        mark(part, CONVERTED, {"weights": weights_digest(part)})
        if expected and description.name != expected.name:
            raise CheckpointError(f"{path} holds {description.name}, not {expected.name}: it is in the wrong place")
    return folder


def _download(model: PublishedModel) -> tuple[Path, str]:
    """Prints the license; returns the model's file in the hub's cache, checked against the hub's hash, and its URL."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    locations = model.locations()
    if not locations:
        raise CheckpointError(
            f"no published location of the weights of {model.name} is known; if you have a file of them, convert it: "
            f"opensapiens convert FILE {converted_folder(model.name)}"
        )
    print(f"{model.name}: the weights are Meta's, under {model.license} ({TERMS[model.license]})", file=sys.stderr)
    missing = []
    for repo, file in locations:
        try:
            path = hub_file(repo, file)
        except LocalEntryNotFoundError as error:
            raise CheckpointError(_no_network(model, error)) from error
        except (EntryNotFoundError, RepositoryNotFoundError) as error:
            missing.append(f"{repo}/{file} ({type(error).__name__})")
        except (HfHubHTTPError, OSError) as error:
            raise CheckpointError(_no_network(model, error)) from error
        else:
            return path, f"https://huggingface.co/{repo}/blob/{_check_hash(path, repo, file)}/{file}"
    raise CheckpointError(
        f"{model.name}: not found at {', '.join(missing)}; where the hub asks to accept a license first, do so and set "
        f"HF_TOKEN. {_by_hand(model)}"
    )


def _check_hash(path: Path, repo: str, file: str) -> str:
    """Compares a downloaded file with the hash that the hub states; returns the file's revision.

    Raises:
        CheckpointError: they differ; the file is removed, so that the next attempt downloads it again.
    """
    # In the hub's cache a file is a link, in a folder named by its revision, to a blob named by its hash.
    blob = path.resolve()
    sha256 = blob.name
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):  # a disk without links
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        sha256 = str(get_hf_file_metadata(hf_hub_url(repo, file)).etag)
    if sha256_of(blob) != sha256:
        blob.unlink()
        raise CheckpointError(f"{repo}/{file} is not what the hub says it is (SHA-256 {sha256}); removed, try again")
    return next((folder.name for folder in path.parents if re.fullmatch(r"[0-9a-f]{40}", folder.name)), "main")


def _no_network(model: PublishedModel, error: Exception) -> str:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return f"{model.name} is not on this disk and could not be downloaded ({reason}). {_by_hand(model)}"


def _by_hand(model: PublishedModel) -> str:
    repo, file = model.locations()[0]
    return (
        f"Put {Path(file).name} from https://huggingface.co/{repo} into {weights_folder()} (or into a folder "
        f"of your own, named by {WEIGHTS_VARIABLE})"
    )
