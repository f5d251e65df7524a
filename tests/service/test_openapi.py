"""What /openapi.json says is valid, whole and true: a client can be made from it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from model import image_io
from model.image_headers import FORMATS
from service import errors
from service.schemas import Options

GENERATOR = "openapi-python-client==0.29.1"
COLOR = """
import io, sys
from pathlib import Path
from made_client import Client
from PIL import Image
from made_client.api.colorizations import (
    create_colorization, erase_colorization, read_artifact, read_colorization, read_result
)
from made_client.models import CreateColorizationFilesBody, CreatedJobView, JobView, ProblemDocument
from made_client.models import CreateColorizationFilesBodyArtifactsItem as Artifacts
from made_client.types import File

client = Client(base_url=sys.argv[1])
photo = File(payload=io.BytesIO(Path(sys.argv[2]).read_bytes()), file_name="a.jpg", mime_type="image/jpeg")
body = CreateColorizationFilesBody(photo=photo, vividness=1.2, artifacts=[Artifacts.COMPARISON])
job = create_colorization.sync(client=client, body=body, prefer="wait=60")
assert isinstance(job, CreatedJobView), job
seen = read_colorization.sync(job.id, client=client)
assert isinstance(seen, JobView) and seen.status == "succeeded", seen
picture = read_result.sync(job.id, client=client).payload
assert isinstance(picture, io.BytesIO), picture
assert (Image.open(picture).format, Image.open(picture).mode) == ("JPEG", "RGB")
assert Image.open(read_artifact.sync(job.id, "comparison", client=client).payload).size == (640, 240)
assert erase_colorization.sync_detailed(job.id, client=client, authorization=f"Bearer {job.secret}").status_code == 204
nothing = read_colorization.sync("0" * 32, client=client)
assert isinstance(nothing, ProblemDocument) and nothing.code == "not_found", nothing
"""


@pytest.fixture
def contract(api) -> dict[str, Any]:
    return api.get("/openapi.json").json()


def operations(contract: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        operation["operationId"]: operation
        for path in contract["paths"].values()
        for operation in path.values()
    }


def test_it_is_valid(contract):
    OpenAPIV31SpecValidator(contract).validate()


def test_every_answer_has_an_example_that_is_one(contract):
    resolver = {"$defs": {}, "components": contract["components"]}
    seen = 0
    for name, operation in operations(contract).items():
        for status, response in operation["responses"].items():
            for kind, content in response.get("content", {}).items():
                if not kind.endswith("json"):
                    continue
                examples = content.get("examples", {})
                assert examples, (name, status)
                for example in examples.values():
                    jsonschema.validate(example["value"], {**resolver, **content["schema"]})
                    seen += 1
    assert seen > 60


def test_the_problems_of_a_photo_are_all_declared_with_their_words(contract):
    responses = operations(contract)["create_colorization"]["responses"]
    declared = {
        code
        for response in responses.values()
        for code in response.get("content", {}).get("application/problem+json", {}).get("examples", {})
    }
    assert {
        *errors.PHOTO_CODES,
        "body_too_large",
        "upload_timeout",
        "queue_full",
        "idempotency_mismatch",
    } <= declared
    examples = responses["413"]["content"]["application/problem+json"]["examples"]
    assert examples["body_too_large"]["value"]["title"] == errors.KINDS["body_too_large"].title
    assert "HTTPValidationError" not in json.dumps(contract)


def test_what_the_server_refuses_before_any_route_is_declared_where_it_may_happen(contract):
    for name, operation in operations(contract).items():
        codes = {
            code
            for response in operation["responses"].values()
            for code in response.get("content", {}).get("application/problem+json", {}).get("examples", {})
        }
        refused = {"request_invalid", "host_unknown", "connections_busy"}
        assert codes & refused == (set() if name in ("livez", "readyz") else refused), name
        changes = name.startswith(("create_", "put_", "erase_"))
        assert ("cross_site" in codes) == changes, name


def test_pictures_are_named_by_their_kinds_and_come_as_bytes_to_who_takes_these_alone(contract):
    known = operations(contract)
    kinds = {image_io.media_type(format) for format in FORMATS}
    for name in ("create_colorization", "put_colorization"):
        content = known[name]["responses"]["200"]["content"]
        assert set(content) == {"application/json", *kinds}
    content = known["read_result"]["responses"]["200"]["content"]
    assert set(content) == {"application/octet-stream", *kinds}
    for name in ("read_result", "read_artifact", "read_batch_result"):
        assert next(iter(known[name]["responses"]["200"]["content"])) == "application/octet-stream"
    answers = [answer for operation in known.values() for answer in operation["responses"].values()]
    assert not [kind for answer in answers for kind in answer.get("content", {}) if "*" in kind]


def test_every_operation_has_a_tag_that_is_described(contract):
    described = {tag["name"]: tag["description"] for tag in contract["tags"]}
    used = [operation["tags"] for operation in operations(contract).values()]
    assert {tag for tags in used for tag in tags} == set(described)
    assert all(len(tags) == 1 for tags in used)
    assert operations(contract)["erase_batch"]["tags"] == ["batches"]
    assert operations(contract)["read_problem"]["tags"] == ["service"]


def test_it_says_what_opens_each_operation(contract, tight):
    assert {scheme["scheme"] for scheme in contract["components"]["securitySchemes"].values()} == {"bearer"}
    key, secret, nobody = {"api_key": []}, {"secret": []}, {}
    opened = {name: operation["security"] for name, operation in operations(contract).items()}
    assert opened["create_colorization"] == [nobody, key]
    assert opened["put_colorization"] == [nobody, key, secret]
    assert opened["erase_colorization"] == opened["erase_batch"] == [key, secret]
    assert opened["read_result"] == opened["create_upload"] == []
    closed = operations(tight(anonymous=False).get("/openapi.json").json())
    for name in ("create_colorization", "put_colorization", "create_batch", "metrics"):
        assert closed[name]["security"] == [key], name
    assert closed["erase_colorization"]["security"] == [key, secret]


@pytest.mark.parametrize(
    ("settings", "server"),
    [
        ({}, "/"),
        ({"root_path": "/color"}, "/color"),
        (
            {"public_url": "https://photos.example/color", "root_path": "/color"},
            "https://photos.example/color",
        ),
    ],
)
def test_it_says_where_this_server_is(tight, settings, server):
    api = tight(**settings)
    assert api.get(f"{settings.get('root_path', '')}/openapi.json").json()["servers"] == [{"url": server}]


def test_links_lead_from_a_photo_to_all_that_can_be_done_with_its_job(contract):
    known = operations(contract)
    for name in ("create_colorization", "put_colorization"):
        for status in ("200", "202"):
            links = known[name]["responses"][status]["links"]
            assert {link["operationId"] for link in links.values()} == {
                *("read_colorization", "follow_colorization", "read_result", "erase_colorization")
            }
            for link in links.values():
                taken = {parameter["name"] for parameter in known[link["operationId"]]["parameters"]}
                assert set(link["parameters"]) <= taken


def test_only_what_this_server_does_is_offered(contract, settings, serve):
    form = operations(contract)["create_colorization"]["requestBody"]["content"]
    offered = form["multipart/form-data"]["schema"]["properties"]
    assert set(offered) == {"photo", *Options.model_fields} - {"webhook"}
    assert offered["temperature"]["maximum"] == 1
    assert offered["keep_for"]["maximum"] == settings.max_keep_for
    assert "null" not in json.dumps(offered), "a form has no such thing"
    revised = form["application/json"]["schema"]
    assert set(revised["properties"]) == {"revise", "secret", *Options.model_fields} - {"webhook"}
    outside = type(settings)(
        redis_url=settings.redis_url,
        store_url=settings.store_url,
        url_hosts="photos.example",
        webhook_hosts="photos.example",
        webhook_secret="whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    )
    form = operations(serve(outside).get("/openapi.json").json())["put_colorization"]["requestBody"][
        "content"
    ]
    _, fetched = form["application/json"]["schema"]["oneOf"]
    assert set(fetched["properties"]) == {"url", *Options.model_fields}
    assert "webhook" in form["multipart/form-data"]["schema"]["properties"]


@pytest.mark.slow
def test_a_client_made_from_it_colors_a_photo(service, gray_photo, tmp_path: Path):
    """Needs a package index."""
    pip = [sys.executable, "-m", "pip", "install", "-q", "--target", str(tmp_path / "lib"), GENERATOR]
    installed = subprocess.run(pip, capture_output=True, text=True, check=False)
    if installed.returncode:
        pytest.skip(f"{GENERATOR} cannot be installed: {installed.stderr[-200:]}")
    (tmp_path / "openapi.json").write_text(httpx.get(f"{service.url}/openapi.json").text)
    (tmp_path / "a.jpg").write_bytes(gray_photo())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(tmp_path / "lib")])}
    for words in (
        [
            *("-m", "openapi_python_client", "generate", "--path", "openapi.json", "--meta", "none"),
            *("--output-path", "made_client"),
        ],
        ["-c", COLOR, service.url, "a.jpg"],
    ):
        done = subprocess.run(
            [sys.executable, *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_reason_for_which_the_model_refuses_a_photo_is_in_the_table():
    model = Path(errors.__file__).parents[1] / "model"
    raised = {
        code for file in model.glob("*.py") for code in re.findall(r'"(photo_[a-z_]+)",', file.read_text())
    }
    assert {"photo_damaged", "photo_in_color"} <= raised, "they were found"
    assert raised <= set(errors.PHOTO_CODES) & set(errors.KINDS)
