# SPDX-License-Identifier: Apache-2.0
"""gazeray: from raw gaze to cross-validated models, saliency maps and a report."""

__version__ = "0.1.0"
