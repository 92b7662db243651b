"""Connections to object stores: filesystems for listing and writing, and bounded reads.

pyarrow asks for an object's facts (HEAD) before it reads it, which doubles the requests of a run
over millions of photos. So remote files are read through fsspec, which sends one GET, and the
reads of its asynchronous filesystems (s3, gs, abfs) end at a deadline.
"""

import os
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pipeline.errors import SourceTimeout, SourceUnavailable, UnreadableSource, UsageError

READ_TIMEOUT_S = 60.0
"""For one object, retries included."""
_CONNECT_TIMEOUT_S, _SILENCE_TIMEOUT_S = 5, 20
_ATTEMPTS = 4
_OPTIONS = frozenset({"region", "endpoint_override", "scheme", "anonymous"})
_YES = ("1", "true", "yes")


def open_filesystem(scheme: str, query: str = "") -> Any:
    """A picklable ``pyarrow.fs.FileSystem`` for a scheme; nothing is contacted.

    Args:
        scheme: ``s3`` or any that fsspec knows.
        query: connection options of an s3 URI, as in ``region=eu-west-1&anonymous=true``.

    Raises:
        UsageError: the scheme or an option is unknown, or a package is missing.
    """
    from pyarrow import fs

    if scheme != "s3":
        return fs.PyFileSystem(fs.FSSpecHandler(_fsspec(scheme, query)))
    options = _s3_options(query)
    return fs.S3FileSystem(
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
        allow_delayed_open=True,  # a small file is one PUT instead of three requests
        anonymous=options.pop("anonymous", "") in _YES,
        **options,
    )


def read_remote(
    address: str, query: str, start: int, stop: int, timeout_s: float = READ_TIMEOUT_S
) -> bytes:
    """Read bytes ``start`` to ``stop`` of a remote file with one request; fewer at its end.

    Raises:
        UnreadableSource: it does not exist.
        SourceTimeout: it took more than ``timeout_s``.
        SourceUnavailable: the store refused or failed, also after retries.
    """
    from fsspec.asyn import sync
    from fsspec.exceptions import FSTimeoutError

    scheme, _, path = address.partition("://")
    filesystem = _fsspec(scheme, query)
    try:
        if not filesystem.async_impl:
            # local-like ones make room for all that they are asked for before they read
            stop = min(stop, filesystem.size(path))
            data: bytes = filesystem.cat_file(path, start=start, end=stop)
        else:
            data = sync(
                filesystem.loop,
                filesystem._cat_file,
                path,
                start=start,
                end=stop,
                timeout=timeout_s,
            )
    except FileNotFoundError:
        raise UnreadableSource(f"{address} does not exist") from None
    except FSTimeoutError:
        raise SourceTimeout(
            f"{address} was not read within {timeout_s:g} s; run again, it is tried again"
        ) from None
    except Exception as error:  # the libraries below raise exceptions of a dozen families
        if "not satisfiable" in str(error):  # HTTP's words for a range after the end
            return b""
        raise SourceUnavailable(f"{address} cannot be read: {first_line(error)}") from error
    return data


def first_line(error: Exception) -> str:
    """The first line of an error's text, or its type if it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _fsspec(scheme: str, query: str) -> Any:
    import fsspec

    keywords: dict[str, Any] = {}
    if scheme == "s3":
        options = _s3_options(query)
        endpoint = options.get("endpoint_override")
        keywords = {
            "anon": options.get("anonymous", "") in _YES,
            "endpoint_url": f"{options.get('scheme', 'https')}://{endpoint}" if endpoint else None,
            "client_kwargs": {"region_name": options.get("region") or _region()},
            "config_kwargs": {
                "connect_timeout": _CONNECT_TIMEOUT_S,
                "read_timeout": _SILENCE_TIMEOUT_S,
                "retries": {"max_attempts": _ATTEMPTS - 1, "mode": "standard"},
            },
        }
    try:
        return fsspec.filesystem(scheme, **keywords)  # fsspec keeps one for equal keywords
    except (ValueError, ImportError) as error:
        raise UsageError(f"{scheme}://: {first_line(error)}") from error


def _s3_options(query: str) -> dict[str, str]:
    options = {key: values[-1] for key, values in parse_qs(query).items()}
    if unknown := sorted(set(options) - _OPTIONS):
        raise UsageError(f"s3 option {unknown[0]!r} is unknown; known are {sorted(_OPTIONS)}")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint and "endpoint_override" not in options:
        address = urlsplit(endpoint)
        options |= {"endpoint_override": address.netloc, "scheme": address.scheme}
    return options


def _region() -> str | None:
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
