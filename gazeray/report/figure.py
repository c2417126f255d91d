# SPDX-License-Identifier: Apache-2.0
"""A drawn picture with its words, as the page embeds it."""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A drawn picture with its words."""

    name: str
    png: bytes
    alt: str
    caption: str

    @property
    def uri(self) -> str:
        """The picture as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height) from the PNG header."""
        width, height = struct.unpack(">II", self.png[16:24])
        return width, height
