"""Buckets of S3, Google and Azure, with the credentials each cloud's users expect to be found.

obstore itself reads the environment variables, web identities and instance metadata of all three, and Google's
application default credentials. What it does not read is added here: AWS profiles, endpoints over plain http, and
the variables of the Azure command line.
"""

from __future__ import annotations

import configparser
import importlib
import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from obstore.store import AzureStore, GCSStore, S3Store

from gbdtlr.buckets.urls import place_of
from gbdtlr.errors import ConfigError
from gbdtlr.times import check_length, parse_duration

if TYPE_CHECKING:
    from obstore.store import ObjectStore

TIMEOUT = "30s"  # of one request, a part of a large object at most; GBDTLR_STORE_TIMEOUT overrides it
_CONNECT = timedelta(seconds=5)
_RETRIES = 5
_KEYS = ("aws_access_key_id", "aws_secret_access_key")


def open_bucket(kind: str, bucket: str, prefix: str | None, account: str = "") -> ObjectStore:
    """obstore's store for ``s3``, ``gs`` or ``az``, with time limits and bounded retries.

    Parameters
    ----------
    account : Azure's, where the environment does not tell it

    Raises
    ------
    ConfigError
        Credentials or settings in the environment that cannot be right.
    """
    try:
        timeout = check_length("it", parse_duration(os.environ.get("GBDTLR_STORE_TIMEOUT") or TIMEOUT))
    except ConfigError as error:
        raise ConfigError(f"GBDTLR_STORE_TIMEOUT: {error}") from error
    retries: Any = {
        "max_retries": _RETRIES,
        "retry_timeout": 3 * timeout,
        "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=5), "base": 2},
    }
    client: Any = {"timeout": timeout, "connect_timeout": min(_CONNECT, timeout)}
    config: dict[str, Any]
    if kind == "s3":
        config = s3_config(os.environ)
        client["allow_http"] = _is_http(config.get("endpoint"))
        # The log stands on put-if-absent; nothing in the environment may switch it off.
        config["conditional_put"] = "etag"
        return S3Store(bucket, prefix=prefix, client_options=client, retry_config=retries, **config)
    if kind == "gs":
        config = google_config(os.environ)
        client["allow_http"] = _is_http(config.get("base_url") or os.environ.get("GOOGLE_BASE_URL"))
        return GCSStore(bucket, prefix=prefix, client_options=client, retry_config=retries, **config)
    config = azure_config({"AZURE_STORAGE_ACCOUNT_NAME": account, **os.environ} if account else os.environ)
    client["allow_http"] = _is_http(config.get("endpoint") or os.environ.get("AZURE_STORAGE_ENDPOINT"))
    return AzureStore(bucket, prefix=prefix, client_options=client, retry_config=retries, **config)


def shared_settings(url: str) -> dict[str, str]:
    """What :func:`open_bucket` would open the bucket of a URL with, for other libraries that read the same settings.

    Raises
    ------
    ConfigError
        Credentials or settings in the environment that cannot be right, or that only obstore can be given.
    """
    place, environ = place_of(url), os.environ
    config: dict[str, Any]
    if place.kind == "s3":
        config = s3_config(environ)
    elif place.kind == "gs":
        config = google_config(environ)
    else:
        account = place.account
        config = azure_config({"AZURE_STORAGE_ACCOUNT_NAME": account, **environ} if account else environ)
    if config.pop("credential_provider", None) is not None and place.kind == "s3":
        raise ConfigError(
            f"{url}: a table's log cannot be read with the role, single sign-on or process of an AWS profile; run "
            "first: eval $(aws configure export-credentials --format env)"
        )
    endpoint = config.get("endpoint") or config.get("base_url")
    timeout = environ.get("GBDTLR_STORE_TIMEOUT") or TIMEOUT
    allowed = {"allow_http": "true"} if _is_http(endpoint) else {}
    return {**{key: str(value) for key, value in config.items()}, **allowed, "timeout": timeout}


def s3_config(environ: Mapping[str, str]) -> dict[str, Any]:
    """Settings of S3 that obstore would not find: endpoint, region and keys of the AWS profile.

    As with AWS's own tools, keys in the environment go before those of a profile, and the variable for S3 alone
    before that for all services.

    Raises
    ------
    ConfigError
        ``AWS_PROFILE`` names no profile, or one whose keys need AWS's own library, which is not installed.
    """
    config: dict[str, Any] = {}
    name = environ.get("AWS_PROFILE") or environ.get("AWS_DEFAULT_PROFILE")
    profile = _profile(environ, name or "default")
    if profile is None and name:
        raise ConfigError(f"AWS_PROFILE is {name!r}, but there is no such profile in ~/.aws/config or credentials")
    profile = profile or {}
    ignored = environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true"
    endpoint = (
        environ.get("AWS_ENDPOINT_URL_S3")
        or environ.get("AWS_ENDPOINT_URL")
        or environ.get("AWS_ENDPOINT")
        or ("" if ignored else profile.get("endpoint_url", ""))
    )
    if endpoint:
        config["endpoint"] = endpoint.rstrip("/")
    config["region"] = (
        environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or profile.get("region") or "us-east-1"
    )
    if environ.get("AWS_ACCESS_KEY_ID") or environ.get("AWS_SKIP_SIGNATURE", "").lower() in ("1", "true"):
        return config
    if not name and (environ.get("AWS_WEB_IDENTITY_TOKEN_FILE") or environ.get("AWS_ROLE_ARN")):
        return config
    if all(key in profile for key in _KEYS):
        config["access_key_id"], config["secret_access_key"] = (profile[key] for key in _KEYS)
        if profile.get("aws_session_token"):
            config["session_token"] = profile["aws_session_token"]
    elif name or set(profile) & {"role_arn", "sso_session", "sso_start_url", "credential_process"}:
        config["credential_provider"] = _boto3_provider(name or "default")
    return config


def google_config(environ: Mapping[str, str]) -> dict[str, Any]:
    """Settings of Google's emulators, under the name its own libraries read."""
    host = environ.get("STORAGE_EMULATOR_HOST")
    if not host:
        return {}
    base_url = host.rstrip("/") if "://" in host else f"http://{host}"
    # Any token does, but without one obstore would ask the machine's metadata service before writing.
    return {"base_url": base_url, "credential_provider": lambda: {"token": "emulator", "expires_at": None}}


def azure_config(environ: Mapping[str, str]) -> dict[str, Any]:
    """Settings of Azure under the names of its command line, which obstore does not read.

    Raises
    ------
    ConfigError
        A connection string that is none.
    """
    config: dict[str, Any] = {}
    text = environ.get("AZURE_STORAGE_CONNECTION_STRING")
    if text:
        pairs = (part.partition("=") for part in text.strip().strip(";").split(";"))
        parts = {name.strip().lower(): value.strip() for name, _, value in pairs}
        if "accountname" not in parts and "blobendpoint" not in parts:
            raise ConfigError("AZURE_STORAGE_CONNECTION_STRING has neither AccountName nor BlobEndpoint")
        suffix = parts.get("endpointsuffix", "core.windows.net")
        if "blobendpoint" not in parts and suffix != "core.windows.net":
            parts["blobendpoint"] = f"https://{parts['accountname']}.blob.{suffix}"
        for key, part in (
            ("account_name", "accountname"),
            ("account_key", "accountkey"),
            ("sas_key", "sharedaccesssignature"),
            ("endpoint", "blobendpoint"),
        ):
            if parts.get(part):
                config[key] = parts[part].rstrip("/") if key == "endpoint" else parts[part]
        return config
    for key, *variables in (
        ("account_name", "AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT"),
        ("account_key", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_KEY"),
    ):
        if value := next((environ[name] for name in variables if environ.get(name)), None):
            config[key] = value
    if "account_name" not in config and not environ.get("AZURE_STORAGE_USE_EMULATOR"):
        raise ConfigError(
            "az:// needs AZURE_STORAGE_ACCOUNT_NAME, or AZURE_STORAGE_CONNECTION_STRING, in the environment"
        )
    return config


def _profile(environ: Mapping[str, str], name: str) -> dict[str, str] | None:
    """Settings of an AWS profile in both of AWS's files, the credentials' file last; None if in neither."""
    home = Path(environ.get("HOME") or Path.home())
    files = (
        (
            environ.get("AWS_CONFIG_FILE") or home / ".aws" / "config",
            "default" if name == "default" else f"profile {name}",
        ),
        (environ.get("AWS_SHARED_CREDENTIALS_FILE") or home / ".aws" / "credentials", name),
    )
    found: dict[str, str] | None = None
    for path, section in files:
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read(Path(path).expanduser(), encoding="utf-8")
        except (OSError, ValueError, configparser.Error) as error:
            raise ConfigError(f"cannot read {path}: {error}") from error
        if parser.has_section(section):
            found = {**(found or {}), **parser[section]}
    return found


def _boto3_provider(profile: str) -> Any:
    """Roles, single sign-on and credential processes: what only AWS's own library can turn into keys."""
    try:
        boto3: Any = importlib.import_module("boto3")
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        raise ConfigError(
            f"the AWS profile {profile!r} holds no keys but a role, single sign-on or a process to get them from; "
            f"pip install boto3, or run: eval $(aws configure export-credentials --profile {profile} --format env)"
        ) from None
    return Boto3CredentialProvider(boto3.Session(profile_name=profile))


def _is_http(endpoint: str | None) -> bool:
    return (endpoint or "").lower().startswith("http://")
