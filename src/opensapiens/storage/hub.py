"""Files of the Hugging Face hub, from its local cache or downloaded.

Fails fast without a network, where the hub's own client retries for a minute or more.
"""

from pathlib import Path

SECONDS = 5.0  # to wait for the hub's first answer


class HubUnreachable(ConnectionError):
    """A file is not in the local cache and cannot be downloaded; the message says why."""


def hub_file(repo: str, file: str) -> Path:
    """One file of a repository, in the hub's cache. Raises HubUnreachable, and what hf_hub_download raises."""
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(huggingface_hub.hf_hub_download(repo, file, local_files_only=True))
    except LocalEntryNotFoundError:
        check_reachable()
        return Path(huggingface_hub.hf_hub_download(repo, file))


def hub_folder(repo: str, patterns: list[str]) -> Path:
    """The files of a repository that match patterns, in the hub's cache, which is complete if each pattern has a file.

    Raises HubUnreachable, and what snapshot_download raises.
    """
    import huggingface_hub

    cached = cached_folder(repo, patterns)
    if cached is not None:
        return cached
    check_reachable()
    return Path(huggingface_hub.snapshot_download(repo, allow_patterns=patterns))


def cached_folder(repo: str, patterns: list[str]) -> Path | None:
    """The same if it is in the hub's cache, else None."""
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(huggingface_hub.snapshot_download(repo, allow_patterns=patterns, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    return folder if all(any(folder.glob(pattern)) for pattern in patterns) else None


def check_reachable() -> None:
    """Raises HubUnreachable if the hub, or the mirror in HF_ENDPOINT, does not answer within 5 seconds."""
    import huggingface_hub
    from huggingface_hub import constants

    try:
        huggingface_hub.get_session().head(constants.ENDPOINT, timeout=SECONDS)
    except Exception as error:  # of any HTTP library, or by HF_HUB_OFFLINE
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise HubUnreachable(f"no connection to {constants.ENDPOINT}: {reason}") from error
