"""Read from a cache what another caller received: no cache keeps a response that is not for everybody."""

import pytest
from drf_spectacular.generators import SchemaGenerator

from tests.attacks.test_identity import fill

READS = [
    path
    for path, methods in SchemaGenerator().get_schema(request=None, public=True)["paths"].items()
    if "get" in methods
]
PAGES = ["/", "/explore/", "/product/", "/dashboard/", "/main-parameters/", "/admin/", "/account/login/", "/nowhere"]
PUBLIC = ["/api/schema/", "/api/docs/", "/static/access/account.css", "/demo/pictures/moon/1.svg"]


@pytest.mark.parametrize("has_key", [True, False])
def test_no_cache_keeps_a_response_of_the_api_or_a_page(server, has_key):
    """Also none without a header of its own, such as an error: some caches keep what nothing forbids to keep."""
    server.add_members("reader")
    credential = server.key if has_key else None
    paths = [fill(path, "reader") for path in READS]
    paths += [f"{path}?viewer_id=reader" for path in paths] + [f"{path}?member_id=reader" for path in paths]
    answers = {path: server.send("GET", path, credential=credential) for path in [*paths, *PAGES]}
    statuses = {response.status for response in answers.values()}
    assert len(paths) > 60 and ({200, 404} if has_key else {200, 302, 401}) <= statuses
    kept = {path for path, response in answers.items() if "no-store" not in response.headers.get("Cache-Control", "")}
    assert kept == set()
    query = {"query": "{ __typename }"}
    assert server.send("POST", "/graphql", query, credential=server.key).headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", PUBLIC)
def test_what_is_public_may_be_kept(server, path):
    assert "public" in server.send("GET", path).headers["Cache-Control"]
