"""The Hugging Face hub, as far as a model needs it: what a repository holds, and the bytes of its files.

``huggingface_hub`` does the talking (addresses, accounts, proxies, certificates, ``HF_ENDPOINT``, ``HF_TOKEN``). Only the
reading of a file's bytes is done here: the library's download shows them to nobody while they pass, so their sha256 would
need a second reading of many gigabytes, and its resumed files are not checked at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import DownloadFailed, ModelError, ModelRefused
from .manifest import check_relative

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["Hub", "RemoteFile", "RemoteModel"]

_TIMEOUT_S = 30.0
"""Longest silence of the hub, not of a whole file."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository. sha256: of large files; the others have git's object id, a sha1 over size and content."""

    path: str
    bytes: int
    sha256: str | None
    git_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteModel:
    """A repository at one commit. licence: as its page states it, maybe empty."""

    repo: str
    commit: str
    licence: str
    files: Mapping[str, RemoteFile]


class Hub:
    """One hub. endpoint: its address; that of ``HF_ENDPOINT``, else the public one, if None."""

    def __init__(self, endpoint: str | None = None) -> None:
        """Load the library.

        Raises:
            ModelError: it is not installed.
        """
        try:
            from huggingface_hub import HfApi
        except ImportError as error:
            raise ModelError(
                "Downloading models needs the part of Overpaint that runs them: python3 -m pip install "
                "'overpaint[diffusion]'.",
                detail=str(error),
            ) from error
        self._api: HfApi = HfApi(endpoint=endpoint)

    def describe(self, repo: str, revision: str) -> RemoteModel:
        """What the repository holds at a branch, tag or commit; the answer names the commit.

        Raises:
            ModelError: it is not there or not open to this user.
            DownloadFailed: the hub does not answer.
        """
        with _as_sentences(repo, revision):
            info = self._api.model_info(repo, revision=revision, files_metadata=True, timeout=_TIMEOUT_S)
        if not info.sha:
            raise DownloadFailed(f"The hub does not say which version of {repo} it has. Try again later.")
        files: dict[str, RemoteFile] = {}
        for sibling in info.siblings or ():
            if sibling.size is None:
                continue
            try:
                path = check_relative(sibling.rfilename)
            except ValueError:
                continue  # a name no model needs
            sha256 = sibling.lfs.sha256 if sibling.lfs is not None else None
            files[path] = RemoteFile(path, sibling.size, sha256, sibling.blob_id)
        return RemoteModel(repo=repo, commit=info.sha, licence=_licence_of(info.card_data), files=files)

    @contextmanager
    def read(
        self, model: RemoteModel, path: str, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[int, Iterator[bytes]]]:
        """The bytes of a file from ``start`` on, up to ``stop`` (exclusive) if given.

        Yields:
            Where the bytes begin, 0 if the hub ignored ``start``; and the bytes in pieces.

        Raises:
            DownloadFailed: the hub does not answer, or the connection broke.
        """
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

        url = hf_hub_url(model.repo, path, revision=model.commit, endpoint=self._api.endpoint)
        # Packed on the way, neither the length nor a range of it would be the file's.
        headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
        if start or stop is not None:
            headers["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
        with (
            _as_sentences(model.repo, model.commit),
            get_session().stream("GET", url, headers=headers, timeout=_TIMEOUT_S) as answer,
        ):
            if answer.status_code == 416:  # what is here is longer than what is there
                yield 0, iter(())
                return
            hf_raise_for_status(answer)
            yield (
                _first_byte(answer.status_code, answer.headers),
                answer.iter_bytes(),
            )  # as they come: a broken connection loses none

    def read_range(self, model: RemoteModel, path: str, start: int, stop: int) -> bytes:
        """A few bytes out of a file.

        Raises:
            DownloadFailed: the hub does not answer.
        """
        parts = bytearray()
        with self.read(model, path, start, stop) as (first, pieces):
            wanted = stop - first
            for piece in pieces:
                parts += piece
                if len(parts) >= wanted:
                    break
        return bytes(parts[start - first : wanted])


def _first_byte(status: int, headers: Mapping[str, str]) -> int:
    if status != 206:
        return 0
    # "bytes 100-199/200"
    text = headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    if not text.isdigit():
        raise DownloadFailed("The hub answered with a part of a file and did not say which. Try again later.")
    return int(text)


def _licence_of(card: Any) -> str:
    """The licence a model card states; "other" has its name in a field beside."""
    plain = card.to_dict() if card is not None else {}
    name = plain.get("license") or ""
    if isinstance(name, str) and name.lower() == "other":
        name = plain.get("license_name") or name
    return name if isinstance(name, str) else ""


@contextmanager
def _as_sentences(repo: str, revision: str) -> Iterator[None]:
    """The library's errors as ours. Each of its versions builds on another HTTP client, all of them on OSError or not."""
    from huggingface_hub import errors

    try:
        yield
    except (ModelError, GeneratorExit):
        raise
    except errors.HFValidationError as error:
        raise ModelRefused(
            f"“{repo}” cannot be a model on the hub. Write OWNER/NAME.", detail=str(error)
        ) from error
    except errors.GatedRepoError as error:
        raise ModelError(
            f"{repo} asks for your consent first: open its page on the hub, agree there, make a token under Settings ▸ "
            "Access Tokens, and try again with HF_TOKEN set to it.",
            detail=str(error),
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(f"The hub has no model {repo}, or it is private.", detail=str(error)) from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(f"{repo} has no version {revision}.", detail=str(error)) from error
    except errors.OfflineModeIsEnabled as error:
        raise DownloadFailed(
            "HF_HUB_OFFLINE is set, so nothing can be downloaded. Unset it.", detail=str(error)
        ) from error
    except Exception as error:
        if not _is_network_error(error):
            raise
        raise DownloadFailed(
            f"The download of {repo} broke off. Run the same command again: it goes on where it stopped.",
            detail=f"{type(error).__name__}: {error}",
        ) from error


def _is_network_error(error: Exception) -> bool:
    """Whether the HTTP client of huggingface_hub raised it; which client that is depends on the library's version."""
    return isinstance(error, OSError) or any(
        kind.__name__ in ("HTTPError", "StreamError", "InvalidURL") for kind in type(error).__mro__
    )
