"""Attacks in which a member reads or writes as another member."""


def test_a_token_reads_only_its_own_member(server):
    server.add_members("reader", "victim")
    server.add_posts("victims-post", author_id="victim")
    token = server.token("reader")
    assert server.send("GET", "/api/v1/members/reader/feed", credential=token).status == 200
    assert server.send("GET", "/api/v1/members/victim/feed", credential=token).status == 403
