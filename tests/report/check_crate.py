# SPDX-License-Identifier: Apache-2.0
"""What roc-validator finds wrong with run folders, a line each. Runs in an environment of its own: see test_crate.py.

The context of RO-Crate 1.1 is read from a file, wherever the validator would fetch it: no network is needed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from rocrate_validator import services

CONTEXT = "https://w3id.org/ro/crate/1.1/context"


def main(context: str, *folders: str) -> None:
    """context: the file. folders: of the runs."""

    def answer(_: HTTPAdapter, request: PreparedRequest, **__: Any) -> Response:
        assert request.url == CONTEXT, f"nothing else is to be fetched: {request.url}"
        response = Response()
        response.status_code, response.url, response.request = 200, request.url, request
        response.headers["Content-Type"] = "application/ld+json"
        response._content = Path(context).read_bytes()
        return response

    HTTPAdapter.send = answer  # type: ignore[method-assign]
    for folder in folders:
        settings = {"rocrate_uri": folder, "profile_identifier": "process-run-crate", "no_cache": True}
        found = services.validate({**settings, "requirement_severity": "REQUIRED"})
        for issue in found.get_issues():
            print(f"{folder}: {issue.check.identifier}: {issue.message}")
        assert len(found.executed_checks) > 30


if __name__ == "__main__":
    main(*sys.argv[1:])
