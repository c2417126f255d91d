# SPDX-License-Identifier: Apache-2.0
"""Example maps for people who have none yet: the local contrast of each picture, the simplest saliency model."""

from __future__ import annotations

from pathlib import PurePosixPath

import cv2
import numpy as np

from gazeray.storage import Folder
from gazeray.synth.files import picture_bytes


def contrast_map(picture: np.ndarray) -> np.ndarray:
    """The contrast of a picture (H, W, 3) uint8, (H, W) float32 from 0 to 1.

    The distance in Lab of a small Gaussian average from one three times as wide, summed over three scales (shares of
    the longer side): centre and surround (Itti, Koch & Niebur 1998, IEEE PAMI 20:1254-1259), without orientation and
    without normalisation.
    """
    lab = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    total = np.zeros(picture.shape[:2], np.float32)
    for share in (0.01, 0.02, 0.04):
        sigma = share * max(picture.shape[:2])
        centre, surround = (cv2.GaussianBlur(lab, (0, 0), scale) for scale in (sigma, 3 * sigma))
        total += np.linalg.norm(centre - surround, axis=2)
    return np.asarray(total / max(float(total.max()), 1e-12), np.float32)


def write_contrast_maps(root: Folder, folder: Folder) -> None:
    """One PNG per picture in root/stimuli, into `folder`; those that are there are kept."""
    there = {stat.path for stat in folder.list()}
    for stat in root.list("stimuli"):
        name = f"{PurePosixPath(stat.path).stem}.png"
        if name not in there:
            data = np.frombuffer(root.read_bytes(stat.path), np.uint8)
            picture = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
            drawn = np.round(contrast_map(picture) * 255).astype(np.uint8)
            folder.write_bytes(name, picture_bytes(".png", drawn))
