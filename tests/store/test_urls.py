"""Where a store is and with which credentials: what each cloud's users expect to work, or what is said instead."""

from __future__ import annotations

import json
import sys
import uuid
from pathlib import Path

import pytest
from store_kit import publish, put_trees, verified

from gbdtlr.buckets.clouds import azure_config, google_config, s3_config
from gbdtlr.errors import ConfigError, StoreUnavailable
from gbdtlr.store import Store


@pytest.mark.parametrize("url", ["ftp://x/y", "http://x/y", "hdfs://x", "", "\0"])
def test_other_places_are_refused_with_a_list_of_those_that_are_not(url):
    with pytest.raises(ConfigError, match=r"s3://bucket/prefix, gs://bucket/prefix, az://container/prefix"):
        Store.open(url)


@pytest.mark.parametrize("url", ["s3://", "s3:///x", "gs://b/../x", "s3://b/x//y", "az://b/./x", "file://host/x"])
def test_no_place(url, bare_environment):  # noqa: ARG001
    with pytest.raises(ConfigError, match="write"):
        Store.open(url)


def test_paths(tmp_path, monkeypatch, bare_environment):  # noqa: ARG001
    monkeypatch.chdir(tmp_path)
    places = [
        "a b/store",
        f"{tmp_path}/a b/store",
        f"file://{tmp_path}/a%20b/store",
        f"file://localhost{tmp_path}/a b/store",
    ]
    live = publish(Store.open(places[0]))
    for place in (*places, Path("a b") / "store", "~/a b/store"):
        assert Store.open(str(place)).live() == live
    assert Store.open("a b/store").url == "a b/store"


def test_memory_is_shared_by_name_within_the_process():
    name = uuid.uuid4().hex
    live = publish(Store.open(f"memory://{name}"))
    assert Store.open(f"memory://{name}").live() == live
    assert Store.open(f"memory://{name}2").live() is None


def test_nothing_is_asked_or_made_by_opening(tmp_path, s3):
    Store.open(str(tmp_path / "x"))
    assert not (tmp_path / "x").exists()
    Store.open("s3://bucket/x")
    assert s3.fault() == 0


class TestS3:
    @pytest.fixture
    def home(self, bare_environment, tmp_path, clouds):  # noqa: ARG002
        folder = tmp_path / ".aws"
        folder.mkdir()
        (folder / "config").write_text(
            f"[default]\nregion = eu-west-1\n[profile minio]\nendpoint_url = {clouds.endpoint}/\n"
            f"[profile role]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = minio\n"
            f"[profile process]\nendpoint_url = {clouds.endpoint}\n"
            f"credential_process = {sys.executable} {tmp_path / 'keys.py'}\n"
        )
        (folder / "credentials").write_text(
            "[minio]\naws_access_key_id = AK\naws_secret_access_key = SK%1\naws_session_token = ST\n"
        )
        keys = json.dumps({"Version": 1, "AccessKeyId": "AK", "SecretAccessKey": "SK"})
        (tmp_path / "keys.py").write_text(f"print({keys!r})")
        return {"HOME": str(tmp_path)}

    def test_works_with_a_profile(self, home, monkeypatch):  # noqa: ARG002
        monkeypatch.setenv("AWS_PROFILE", "minio")
        store = Store.open(f"s3://bucket/{uuid.uuid4().hex}")
        assert publish(store) == verified(store)

    def test_works_with_what_only_boto3_understands(self, home, monkeypatch):  # noqa: ARG002
        monkeypatch.setenv("AWS_PROFILE", "process")
        store = Store.open(f"s3://bucket/{uuid.uuid4().hex}")
        assert publish(store) == verified(store)

    def test_works_for_all_services_at_one_endpoint(self, s3, monkeypatch):
        monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint + "/")
        store = Store.open(f"s3://bucket/{uuid.uuid4().hex}/a b/ü")
        assert publish(store) == verified(store)

    def test_profile(self, home, clouds):
        keys = {"access_key_id": "AK", "secret_access_key": "SK%1", "session_token": "ST"}
        expected = {"region": "us-east-1", "endpoint": clouds.endpoint, **keys}
        assert s3_config({**home, "AWS_PROFILE": "minio"}) == expected
        assert s3_config({**home, "AWS_DEFAULT_PROFILE": "minio"}) == expected

    def test_environment_goes_before_the_profile(self, home):
        environ = {**home, "AWS_PROFILE": "minio", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}
        assert set(s3_config(environ)) == {"region", "endpoint"}
        environ |= {"AWS_ENDPOINT_URL": "https://all", "AWS_REGION": "r"}
        assert s3_config(environ) == {"region": "r", "endpoint": "https://all"}
        assert s3_config({**environ, "AWS_ENDPOINT_URL_S3": "https://s3"})["endpoint"] == "https://s3"

    def test_ignored_endpoints(self, home):
        environ = {**home, "AWS_PROFILE": "minio", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}
        assert "endpoint" not in s3_config(environ)

    def test_default_profile(self, home):
        assert s3_config(home) == {"region": "eu-west-1"}
        assert s3_config({**home, "AWS_DEFAULT_REGION": "x"}) == {"region": "x"}
        assert s3_config({"HOME": "/nowhere"}) == {"region": "us-east-1"}

    def test_identity_of_the_machine_is_left_to_obstore(self, home):
        assert set(s3_config({**home, "AWS_WEB_IDENTITY_TOKEN_FILE": "/x", "AWS_ROLE_ARN": "y"})) == {"region"}

    def test_no_such_profile(self, home):
        with pytest.raises(ConfigError, match="AWS_PROFILE is 'nobody'"):
            s3_config({**home, "AWS_PROFILE": "nobody"})

    def test_roles_without_boto3(self, home, monkeypatch):
        monkeypatch.setitem(sys.modules, "boto3", None)
        with pytest.raises(ConfigError, match=r"pip install boto3, or run: eval \$\(aws configure export-credentials"):
            s3_config({**home, "AWS_PROFILE": "role"})

    def test_files_elsewhere_and_files_that_are_none(self, tmp_path):
        (tmp_path / "c").write_text("[x]\naws_access_key_id=1\naws_secret_access_key=2\n")
        environ = {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "c"), "AWS_PROFILE": "x", "HOME": "/nowhere"}
        assert s3_config(environ)["access_key_id"] == "1"
        (tmp_path / "c").write_bytes(b"\xff nonsense")
        with pytest.raises(ConfigError, match="cannot read"):
            s3_config(environ)

    def test_put_if_absent_cannot_be_switched_off(self, s3, monkeypatch):  # noqa: ARG002
        monkeypatch.setenv("AWS_CONDITIONAL_PUT", "disabled")
        store = Store.open(f"s3://bucket/{uuid.uuid4().hex}")
        assert publish(store).number == 1


class TestOthers:
    def test_google(self, bare_environment, monkeypatch, tmp_path):  # noqa: ARG002
        assert google_config({}) == {}
        for host in ("localhost:1", "http://localhost:1/"):
            config = google_config({"STORAGE_EMULATOR_HOST": host})
            assert config["base_url"] == "http://localhost:1"
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
        with pytest.raises(ConfigError, match=r"none\.json"):
            Store.open("gs://bucket/x")

    def test_azure(self):
        native = {"AZURE_STORAGE_ACCOUNT_NAME": "a", "AZURE_STORAGE_ACCOUNT_KEY": "k"}
        tools = {"AZURE_STORAGE_ACCOUNT": "a", "AZURE_STORAGE_KEY": "k"}
        assert azure_config(native) == azure_config(tools) == {"account_name": "a", "account_key": "k"}
        assert azure_config({**tools, "AZURE_STORAGE_ACCOUNT_NAME": "b"})["account_name"] == "b"
        assert azure_config({"AZURE_STORAGE_USE_EMULATOR": "true"}) == {}
        with pytest.raises(ConfigError, match="az:// needs AZURE_STORAGE_ACCOUNT_NAME"):
            azure_config({})

    def test_azure_connection_strings(self):
        def config(text):
            return azure_config({"AZURE_STORAGE_CONNECTION_STRING": text})

        whole = "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=k==;EndpointSuffix=core.windows.net;"
        assert config(whole) == {"account_name": "a", "account_key": "k=="}
        china = config(whole.replace("windows.net", "chinacloudapi.cn"))
        assert china["endpoint"] == "https://a.blob.core.chinacloudapi.cn"
        shared = config("BlobEndpoint=https://a.blob.x/;SharedAccessSignature=sv=1&sig=2%3D")
        assert shared == {"endpoint": "https://a.blob.x", "sas_key": "sv=1&sig=2%3D"}
        with pytest.raises(ConfigError, match="neither AccountName nor BlobEndpoint"):
            config("nonsense")

    def test_no_credentials(self, clouds, monkeypatch):
        # The machine's own, where this one has any, are behind an address that the tests do not reach.
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"{clouds.endpoint}/169.254.169.254")
        clouds.fault("kind=denied&times=99")
        with pytest.raises(StoreUnavailable, match=r"no credentials in the environment.*AWS_ACCESS_KEY_ID and"):
            Store.open("s3://bucket/x").live()

    @pytest.mark.parametrize("kind", ["gs", "az"])
    def test_no_such_bucket(self, kind, request):
        request.getfixturevalue(kind)
        store = Store.open(f"{kind}://nobody-made-it/x")
        for ask in (store.live, store.list_versions, lambda: put_trees(store)):
            with pytest.raises(StoreUnavailable, match="there is no such bucket"):
                ask()


def test_timeout_that_is_none(s3, monkeypatch):  # noqa: ARG001
    monkeypatch.setenv("GBDTLR_STORE_TIMEOUT", "soon")
    with pytest.raises(ConfigError, match=r"GBDTLR_STORE_TIMEOUT.*'soon' is not a duration"):
        Store.open("s3://bucket/x")


@pytest.mark.parametrize("url", ["s3:/bucket/x", "S3:bucket", "gs:/b", "abfss:/c@a", "file:/tmp/x", "memory:x"])
def test_a_url_without_its_slashes_is_no_folder_of_that_name(url, tmp_path, monkeypatch):
    """But one that is there is one."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=rf"is no URL; write both slashes: {url.partition(':')[0]}://"):
        Store.open(url)
    Path(url).mkdir(parents=True)
    assert Store.open(url).live() is None
