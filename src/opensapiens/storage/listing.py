"""What a folder holds of the files that are wanted, and what is passed over."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ADVICE = {
    **dict.fromkeys((".heic", ".heif", ".jxl", ".jp2", ".psd", ".svg", ".tga"), "convert to JPEG or PNG"),
    **dict.fromkeys((".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"), "develop to JPEG or PNG"),
    **dict.fromkeys((".mpg", ".mpeg", ".wmv", ".flv", ".mts", ".m2ts", ".ts", ".3gp", ".ogv"), "convert to MP4"),
    **dict.fromkeys((".tgz", ".gz", ".bz2", ".xz", ".zst", ".zip", ".7z", ".rar"), "unpack it"),
}


@dataclass(frozen=True)
class Listing:
    """files: in the order of their paths. passed_over: how many others, by what they are."""

    files: list[Path] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)


def list_files(folder: Path, endings: tuple[str, ...], below: bool = True) -> Listing:
    """The files of a folder, and of those below it, whose names have one of some endings, in any case.

    Hidden files and folders are left out without a word: systems and programs put them there.
    """
    listing = Listing()
    for path in sorted(folder.rglob("*") if below else folder.iterdir()):
        if any(part[0] == "." for part in path.relative_to(folder).parts) or path.is_dir():
            continue
        if reason := why_passed_over(path, endings):
            listing.passed_over[reason] += 1
        else:
            listing.files.append(path)
    return listing


def why_passed_over(path: Path, endings: tuple[str, ...]) -> str | None:
    """What a file is that is not taken; None for one that is."""
    if path.is_symlink() and not path.exists():
        return "broken link"
    ending = path.suffix.lower()
    if ending not in endings:
        advice = f" ({ADVICE[ending]})" if ending in ADVICE else ""
        return f"{ending or 'without an ending'}{advice}"
    return None if path.is_file() else "not a regular file"


def passed_over_sentence(passed_over: Counter[str]) -> str:
    """For example "3 files skipped: 2 .heic (convert to JPEG or PNG), 1 broken link"; "" of none."""
    total = passed_over.total()
    listed = ", ".join(f"{count} {reason}" for reason, count in passed_over.most_common())
    return f"{counted(total, 'file')} skipped: {listed}" if total else ""


def counted(number: int, noun: str) -> str:
    """For example "1 person", "2 people", "0 photos"."""
    return f"{number} {noun if number == 1 else {'person': 'people'}.get(noun, noun + 's')}"
