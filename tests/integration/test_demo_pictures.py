"""The address of the demo's pictures."""

import pytest

from recommendations.services.content.demo.pictures import MAX_NUMBER, draw_picture


def test_a_picture_needs_no_key_and_may_be_cached(client):
    response = client.get("/demo/pictures/moon/12.svg")
    assert response.status_code == 200 and response.content.decode() == draw_picture("moon", 12)
    assert response.headers["Content-Type"] == "image/svg+xml"
    assert "public" in response.headers["Cache-Control"]
    assert "script-src 'self'" in response.headers["Content-Security-Policy"]
    assert client.post("/demo/pictures/moon/12.svg").status_code == 405


@pytest.mark.parametrize("name", ["room/1.svg", "moon/1.png", f"moon/{MAX_NUMBER + 1}.svg", f"moon/{'9' * 5000}.svg"])
def test_another_address_is_not_found(client, name):
    assert client.get(f"/demo/pictures/{name}").status_code == 404
