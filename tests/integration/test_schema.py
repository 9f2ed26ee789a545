"""The OpenAPI schema and its page are rendered once per process, and each operation has samples of code."""

import gzip
import json
import shlex

import pytest
from drf_spectacular.generators import SchemaGenerator

from recsys_project import schema_view
from recsys_project.api_description import TAGS
from recsys_project.code_samples import build_code_samples

JSON = "application/vnd.oai.openapi+json"


@pytest.fixture(autouse=True)
def empty_cache():
    schema_view.render_schema.cache_clear()
    schema_view.DocsView.page = None
    yield
    schema_view.render_schema.cache_clear()
    schema_view.DocsView.page = None


@pytest.fixture
def generated(monkeypatch):
    """Return a list that gets an entry each time a schema is generated."""
    calls = []
    generate = SchemaGenerator.get_schema

    def count(self, *args, **kwargs):
        calls.append(self)
        return generate(self, *args, **kwargs)

    monkeypatch.setattr(SchemaGenerator, "get_schema", count)
    return calls


def test_a_schema_is_generated_once_for_all_requests(client, generated):
    responses = [client.get("/api/schema/", HTTP_ACCEPT=JSON) for _ in range(3)]
    assert {response.content for response in responses} == {responses[0].content}
    assert responses[0].json()["openapi"] == "3.1.0" and responses[0]["Content-Type"] == JSON
    assert responses[0]["Content-Disposition"] == 'inline; filename="recsys.json"'
    assert len(generated) == 1
    assert client.get("/api/schema/")["Content-Type"] == "application/vnd.oai.openapi"
    assert len(generated) == 2, "YAML is another document"


def test_a_client_that_has_the_schema_gets_a_304(client, generated):
    etag = client.get("/api/schema/", HTTP_ACCEPT=JSON)["ETag"]
    response = client.get("/api/schema/", HTTP_ACCEPT=JSON, HTTP_IF_NONE_MATCH=etag)
    assert (response.status_code, response.content, response["ETag"]) == (304, b"", etag)
    assert client.get("/api/schema/", HTTP_IF_NONE_MATCH=etag).status_code == 200, "YAML has another ETag"


def test_a_client_that_accepts_gzip_gets_the_stored_compressed_bytes(client, generated):
    plain = client.get("/api/schema/", HTTP_ACCEPT=JSON)
    compressed = client.get("/api/schema/", HTTP_ACCEPT=JSON, HTTP_ACCEPT_ENCODING="gzip")
    assert compressed["Content-Encoding"] == "gzip" and "Content-Encoding" not in plain
    assert gzip.decompress(compressed.content) == plain.content
    assert compressed["ETag"] == plain["ETag"] and compressed["ETag"].startswith("W/")
    assert {name.strip() for name in plain["Vary"].split(",")} >= {"Accept", "Accept-Encoding"}
    assert len(generated) == 1


def test_an_unknown_media_type_is_a_406(client):
    assert client.get("/api/schema/", HTTP_ACCEPT="image/png").status_code == 406


@pytest.mark.parametrize(
    ("url", "text", "content_type"),
    [("/api/docs/", b"/api/docs/script.js", "text/html"), ("/api/docs/script.js", b"/api/schema/", "text/javascript")],
)
def test_the_page_is_rendered_once_and_not_with_the_parameters_of_a_visitor(
    client, monkeypatch, url, text, content_type
):
    first = client.get(f"{url}?version=evil&lang=evil")
    monkeypatch.setattr(schema_view, "render_to_string", None)
    again = client.get(url)
    assert first.status_code == again.status_code == 200
    assert first.content == again.content and text in first.content and b"evil" not in first.content
    assert again["Content-Type"] == f"{content_type}; charset=utf-8"
    assert client.get(url, HTTP_IF_NONE_MATCH=first["ETag"]).status_code == 304
    assert gzip.decompress(client.get(url, HTTP_ACCEPT_ENCODING="gzip").content) == first.content


def test_each_operation_has_samples_of_code_that_can_be_parsed():
    """Each sample of Python compiles, and each sample of curl is one command with the same method and body."""
    schema = SchemaGenerator().get_schema(request=None, public=True)
    operations = [(*item, path) for path, methods in schema["paths"].items() for item in methods.items()]
    assert len(operations) > 50
    for method, operation, path in operations:
        assert set(operation["tags"]) <= set(TAGS), "each group has a place and a description"
        samples = {sample["lang"]: sample["source"] for sample in operation["x-codeSamples"]}
        assert list(samples) == ["curl", "Python", "TypeScript"]
        compile(samples["Python"], path, "exec")
        words = shlex.split(samples["curl"])
        assert words[0] == "curl" and (words[1:3] == ["-X", method.upper()]) == (method != "get")
        contents = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        if examples := contents.get("examples"):
            assert json.loads(words[words.index("-d") + 1]) == examples["Example"]["value"]


def test_a_sample_has_example_values_and_quotes_the_body():
    viewer = {"name": "viewer_id", "in": "query", "required": True}
    operation = {"parameters": [{"name": "limit", "in": "query"}, viewer]}
    samples = build_code_samples("/api/v1/posts/{post_id}/vectors/{space}", "put", operation, {"text": "it's"})
    assert [sample["source"] for sample in samples] == [
        'curl -X PUT "$RECSYS_URL/api/v1/posts/7/vectors/SPACE?viewer_id=42" \\\n'
        '  -H "Authorization: Bearer $RECSYS_KEY" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        "  -d '{\"text\": \"it'\\''s\"}'",
        "import httpx\n\nresponse = httpx.request(\n"
        '    "PUT",\n'
        '    f"{RECSYS_URL}/api/v1/posts/7/vectors/SPACE?viewer_id=42",\n'
        '    headers={"Authorization": f"Bearer {RECSYS_KEY}"},\n'
        "    json={'text': \"it's\"},\n)",
        "const response = await fetch(`${RECSYS_URL}/api/v1/posts/7/vectors/SPACE?viewer_id=42`, {\n"
        '  method: "PUT",\n'
        '  headers: { Authorization: `Bearer ${RECSYS_KEY}`, "Content-Type": "application/json" },\n'
        '  body: JSON.stringify({\n    "text": "it\'s"\n  }),\n});',
    ]
