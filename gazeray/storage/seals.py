# SPDX-License-Identifier: Apache-2.0
"""Files that are known again: JSON that carries the digest of its content, and files whose size and SHA-256 are noted.

A disk that lost its last writes, a copy that was cut short or a file put in another's place would else be taken for
what was written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gazeray.config import digest, masked
from gazeray.storage import Folder

Json = dict[str, Any]

Files = dict[str, Json]
"""What was written, by path: {"size": bytes, "sha256": hex}."""


class DamagedError(ValueError):
    """A file is not what was written. The message says in what way; whoever asked knows which file it is."""


def plain(value: Json) -> Json:
    """A JSON object as it is read again once it is written: keys are text, credentials are masked."""
    read: Json = json.loads(masked(json.dumps(value, allow_nan=False)))
    return read


def write_sealed(folder: Folder, path: str, value: Json) -> None:
    """Write a JSON object with the digest of its content beside its keys."""
    own = plain(value)
    folder.write_json(path, {**own, "digest": digest(own)})


def read_sealed(folder: Folder, path: str) -> Json:
    """What `write_sealed` wrote. Raises FileNotFoundError, DamagedError."""
    try:
        value = folder.read_json(path)
    except ValueError as error:
        raise DamagedError("cut short, or no JSON") from error
    return unsealed(value)


def unsealed(value: object) -> Json:
    """The content of sealed JSON, without its digest. Raises DamagedError."""
    if not isinstance(value, dict):
        raise DamagedError("not a JSON object")
    content = {key: one for key, one in value.items() if key != "digest"}
    try:
        known = digest(content)
    except ValueError:  # NaN, which is never written
        known = None
    if known is None or value.get("digest") != known:
        raise DamagedError("not as it was written: its digest differs")
    return content


def damages(
    folder: Folder, files: Mapping[str, Json], sizes: Mapping[str, int], by_size: Sequence[str] = ()
) -> Iterator[tuple[str, str]]:
    """(path, what is wrong with it) of each file that is not what was written.

    sizes: of what lies in the folder, path -> bytes. by_size: beginnings of paths whose content is not read.
    """
    for path, noted in files.items():
        size = sizes.get(path)
        if size is None:
            yield path, "missing"
        elif size != noted["size"]:
            yield path, f"{size} bytes, {noted['size']} were written"
        elif not path.startswith(tuple(by_size)) and folder.sha256(path) != noted["sha256"]:
            yield path, "its SHA-256 differs from what was written"
