# SPDX-License-Identifier: Apache-2.0
"""A small set of pictures, written into a folder by the tests."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from PIL import Image

from gazeray.config import validate
from gazeray.stimuli.dataset import PictureSet, open_pictures
from gazeray.stimuli.declaration import PictureSetSpec
from gazeray.storage import Folder
from gazeray.tables import Reject

TABLE = {
    "reader": "table",
    "path": "fixations.csv",
    "columns": {"stimulus": "image", "observer": "who", "x_px": "x", "y_px": "y"},
}
CSV = "image,who,x,y\na.jpg,2,1.5,2.5\nb.jpg,10,3,4\na.jpg,1,5.25,6\n"
SALICON = {"reader": "salicon", "path": "fixations.json"}


def encoded(picture: np.ndarray | Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(buffer, form, **options)
    return buffer.getvalue()


def photo(height: int = 12, width: int = 20, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def mat(**variables: Any) -> bytes:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, variables)
    return buffer.getvalue()


def write(folder: Path, files: dict[str, str | bytes]) -> Folder:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return Folder(folder)


def jpegs(*names: str) -> dict[str, str | bytes]:
    return {f"pictures/{name}": encoded(photo(), "JPEG") for name in names}


def declared(**changes: Any) -> PictureSetSpec:
    values: dict[str, Any] = {"name": "tiny", "pictures": {"path": "pictures/{stimulus}.jpg"}, "fixations": TABLE}
    values |= changes
    return validate(PictureSetSpec, {key: value for key, value in values.items() if value is not None})


def opened(folder: Path, files: dict[str, str | bytes], **changes: Any) -> PictureSet:
    return open_pictures(declared(**changes), write(folder, files))


def reasons(rejects: list[Reject]) -> list[tuple[str, int, str]]:
    return [(reject.source, reject.row, reject.reason) for reject in rejects]


def salicon_json(annotations: list[Any], images: dict[int, str] | None = None) -> str:
    named = images if images is not None else {7: "a.jpg", 8: "b.jpg"}
    listed = [{"id": image, "file_name": name, "height": 12, "width": 20} for image, name in named.items()]
    whole = {"info": {}, "images": listed, "licenses": [], "type": "fixations", "annotations": annotations}
    return json.dumps(whole)


def annotation(image: int, worker: int, points: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": image, "worker_id": worker, "fixations": points}
