"""Lists the wanted files of a folder and counts the others."""

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ADVICE = {
    **dict.fromkeys((".heic", ".heif", ".jxl", ".jp2", ".psd", ".svg", ".tga"), "convert to JPEG or PNG"),
    **dict.fromkeys((".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"), "develop to JPEG or PNG"),
    **dict.fromkeys((".mpg", ".mpeg", ".wmv", ".flv", ".mts", ".m2ts", ".ts", ".3gp", ".ogv"), "convert to MP4"),
    **dict.fromkeys((".tgz", ".gz", ".bz2", ".xz", ".zst", ".zip", ".7z", ".rar"), "unpack it"),
}
NO_PICTURES = {
    *(".md", ".txt", ".rst", ".log", ".pdf", ".html", ".css", ".js", ".py", ".ipynb", ".sh", ".bat", ".lnk", ".db"),
    *(".json", ".jsonl", ".csv", ".tsv", ".xml", ".yml", ".yaml", ".toml", ".ini", ".cfg", ".npz", ".npy", ".parquet"),
    *(".pkl", ".pt", ".pth", ".onnx", ".safetensors", ".ply", ".obj", ".mtl"),
}
"""Endings of files beside pictures that are ignored silently."""


@dataclass(frozen=True)
class Listing:
    """files: sorted by path. passed_over: number of other files by reason."""

    files: list[Path] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)


def list_files(folder: Path, endings: tuple[str, ...], below: bool = True) -> Listing:
    """The files of a folder and its subfolders with some endings, in any case; hidden ones are ignored silently."""
    listing = Listing()
    for path in sorted(folder.rglob("*") if below else folder.iterdir()):
        if any(part[0] == "." for part in path.relative_to(folder).parts):
            continue
        if path.is_dir():
            with suppress(OSError):
                if not below and (wanted := sum(is_taken(inside, endings, Counter()) for inside in path.iterdir())):
                    listing.passed_over["in a subfolder (give it as an input)"] += wanted
        elif is_taken(path, endings, listing.passed_over):
            listing.files.append(path)
    return listing


def is_taken(path: Path, endings: tuple[str, ...], passed_over: Counter[str]) -> bool:
    """Whether a file is wanted, also one that reading will refuse: a broken link or a pipe. Others are counted by
    ending, unless nobody would expect a picture or video."""
    ending = path.suffix.lower()
    if ending not in endings and ending not in NO_PICTURES:
        passed_over[(ending or "without an ending") + (f" ({ADVICE[ending]})" if ending in ADVICE else "")] += 1
    return ending in endings


def passed_over_sentence(passed_over: Counter[str]) -> str:
    """For example "3 files skipped: 2 .heic (convert to JPEG or PNG), 1 broken link"; "" of none."""
    total = passed_over.total()
    listed = ", ".join(f"{count} {reason}" for reason, count in passed_over.most_common())
    return f"{counted(total, 'file')} skipped: {listed}" if total else ""


def counted(number: int, noun: str) -> str:
    """For example "1 person", "2 people", "0 photos"."""
    return f"{number} {noun if number == 1 else {'person': 'people'}.get(noun, noun + 's')}"
