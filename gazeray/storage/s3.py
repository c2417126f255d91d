# SPDX-License-Identifier: Apache-2.0
"""S3 by pyarrow: what a URI, the environment and a profile say of the store, and the client made of it."""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow as pa
import pyarrow.fs

CONNECT_TIMEOUT_S, REQUEST_TIMEOUT_S = 5.0, 20.0
"""How long an object store may take to accept a connection, and to send nothing, before a request counts as failed."""

S3_OPTIONS = {
    *("access_key", "secret_key", "session_token", "anonymous", "region", "scheme", "endpoint_override"),
    *("force_virtual_addressing", "tls_ca_file_path"),
}
"""What may stand behind the "?" of an s3:// URI; the names are those of pyarrow.fs.S3FileSystem."""


class PatientS3(pa.fs.S3FileSystem):
    """An S3 file system that keeps its retries when it is pickled (pyarrow's own forgets them)."""

    def __reduce__(self) -> Any:
        return patient_s3, super().__reduce__()[1]


def patient_s3(options: Mapping[str, Any], attempts: int = 9) -> PatientS3:
    """A client with these options; 9 attempts take about a minute. Small files are written in one request each."""
    fixed = {"connect_timeout": CONNECT_TIMEOUT_S, "request_timeout": REQUEST_TIMEOUT_S, "allow_delayed_open": True}
    return PatientS3(**{**options, **fixed}, retry_strategy=pa.fs.AwsStandardS3RetryStrategy(max_attempts=attempts))


def s3_options(uri: str, endpoint: str | None = None) -> tuple[str, dict[str, Any]]:
    """(bucket/prefix, options of pyarrow.fs.S3FileSystem) of an s3:// URI; `endpoint` goes before the environment's.

    Only Amazon's S3 is contacted, for the bucket's region where none is set. Raises ValueError, OSError.
    """
    parts = urlsplit(uri)
    if parts.fragment or re.search(r"\s", uri) or not re.fullmatch(r"(.*@)?[^@:]+", parts.netloc):
        raise ValueError("it must look like s3://bucket/prefix, without blanks and #; in a secret write / as %2F")
    options: dict[str, Any] = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    unknown = sorted(set(options) - S3_OPTIONS)
    if unknown:
        raise ValueError(f"unknown options {', '.join(unknown)} (allowed: {', '.join(sorted(S3_OPTIONS))})")
    for flag in ("anonymous", "force_virtual_addressing"):
        if options.get(flag, "true") not in ("true", "false"):
            raise ValueError(f"{flag} must be true or false")
        options[flag] = options.get(flag) == "true"
    user, _, bucket = parts.netloc.rpartition("@")
    if user:
        options["access_key"], options["secret_key"] = (unquote(part) for part in user.partition(":")[::2])
    if bool(options.get("access_key")) != bool(options.get("secret_key")):
        raise ValueError("an access key and its secret belong together")
    known, profile = os.environ.get, _aws_profile()
    region = known("AWS_REGION") or known("AWS_DEFAULT_REGION") or profile.get("region")
    endpoint = endpoint or known("AWS_ENDPOINT_URL_S3") or known("AWS_ENDPOINT_URL") or profile.get("endpoint_url")
    found = {"region": region, "endpoint_override": endpoint and endpoint.rstrip("/")}
    root, options = f"{bucket}{unquote(parts.path)}".rstrip("/"), {k: v for k, v in found.items() if v} | options
    if "region" not in options:
        amazon = "endpoint_override" not in options
        options["region"] = pa.fs.resolve_s3_region(root.split("/")[0]) if amazon else "us-east-1"
    return root, options


def _aws_profile() -> Mapping[str, str]:
    """The settings of the chosen AWS profile in the AWS config file; {} where there is none. Raises ValueError."""
    path, parser = os.environ.get("AWS_CONFIG_FILE", "~/.aws/config"), configparser.RawConfigParser(strict=False)
    try:
        parser.read(Path(path).expanduser(), encoding="utf-8")
    except configparser.Error as error:
        raise ValueError(f"{path}: not a valid AWS config file: {type(error).__name__}") from None
    name = os.environ.get("AWS_PROFILE", "default")
    section = name if name == "default" else f"profile {name}"
    return dict(parser[section]) if parser.has_section(section) else {}


def credentials_of(options: Mapping[str, Any]) -> str:
    """Where the credentials come from, for messages about denied access."""
    if options["anonymous"] or options.get("access_key"):
        return "anonymous access" if options["anonymous"] else "with the credentials of the URI"
    named = [name for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE") if os.environ.get(name)]
    files = [os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"), "~/.aws/config"]
    if named or any(Path(path).expanduser().is_file() for path in files):
        return f"with the credentials of {named[0] if named else 'the default AWS profile'}"
    return "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, for job and workers"
