"""Candidate packs: whose posts they contain, how large they are, who can verify them, and how they are ranked."""

import json
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from access import keys
from access.scopes import Scope
from monitoring import clock
from recommendations.contracts import Policy
from recommendations.models import FeedRequest, Post
from recommendations.services import wiring
from recommendations.services.errors import FactsUnavailable, InactiveMember, UnknownMember
from recommendations.services.serving import candidate_pack, preview, rank_pack, records
from recommendations.services.serving.candidate_pack import LIFETIME, PACK_SIZE, build_pack, create_pack
from recommendations.services.serving.pack_format import (
    MAX_PACK_BYTES,
    PackedPost,
    PackError,
    decode_pack,
    encode_pack,
    quantize,
)
from recommendations.services.serving.rank_pack import DeviceProfile
from recommendations.services.serving.ranking import NoSlateError
from recommendations.services.serving.recommend import recommend
from recommendations.stores.signer import Signer
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]
TOPICS = ("bread", "war", "space")


@pytest.fixture
def ann():
    """Create Ann, and posts about three topics by authors whom she does not know."""
    ann = factories.member("ann")
    authors = [factories.member(f"author-{number}") for number in range(6)]
    for number in range(12):
        topic, created_at = TOPICS[number % 3], NOW - timedelta(hours=number + 1)
        text = f"{topic} number {number}"
        factories.post(authors[number // 2], f"p{number}", text=text, tags=[topic], created_at=created_at)
    factories.embed_all_posts()
    return ann


def open_pack():
    return decode_pack(create_pack(member_id="ann", now=NOW), wiring.signer())


def open_pack_by_score():
    """Return the pack with settings that do not vary the order by score."""
    pack = open_pack()
    return replace(pack, header=replace(pack.header, diversity=0.0, author_cap=1000))


def ids(pack):
    return [post.id for post in pack.header.posts]


def profile(pack, **interests):
    return DeviceProfile(
        format="recsys-device-profile", version=1, embedding_model=pack.header.embedding_model, **interests
    )


def order(pack, **interests):
    ranked = rank_pack.rank_pack(pack, profile(pack, **interests))
    return [pack.header.posts[position].id for position in ranked.order]


def interest(pack, position):
    return {"vector": pack.vectors[position].tolist()}


# What a pack contains


def test_a_pack_has_the_posts_features_and_vectors_of_the_non_personalized_feed(ann):
    pack, page = open_pack(), recommend(member_id="ann", feed="non_personalized", explain=True, now=NOW)
    header = pack.header
    assert ids(pack) == [pick.post.id for pick in page.picks]
    assert (header.member_id, header.created_at, header.expires_at) == ("ann", NOW, NOW + LIFETIME)
    assert header.posts[0] == PackedPost("p0", "author-0", page.picks[0].post.kind, ("bread",), "bread number 0")
    assert list(header.weights) == ["taste", "dislike", "topic", *page.picks[0].parts]
    weights = np.array([header.weights[name] for name in header.columns], np.float32)
    for row, pick in enumerate(page.picks):
        np.testing.assert_array_equal(pack.columns[row] * weights, np.float32(list(pick.parts.values())))
    pks = dict(Post.objects.values_list("external_id", "pk"))
    rows = wiring.catalogue().rows_of(np.array([pks[name] for name in ids(pack)]))
    unit = pack.vectors / np.linalg.norm(pack.vectors.astype(float), axis=1, keepdims=True)
    assert ((unit * wiring.engine("plain").vectors(rows)).sum(axis=1) > 0.999).all()


def test_a_pack_has_only_posts_that_the_member_may_see(ann):
    p = {name: Post.objects.get(external_id=name) for name in ids(open_pack())}
    factories.block(ann, p["p0"].author)  # p0, p1
    factories.block(p["p2"].author, ann)  # p2, p3
    factories.mute(ann, p["p4"].author)  # p4, p5
    Post.objects.filter(external_id="p6").update(visibility=1, changed_at=NOW)
    Post.objects.filter(external_id="p7").update(removed_at=NOW, changed_at=NOW)
    assert sorted(ids(open_pack())) == ["p10", "p11", "p8", "p9"]
    factories.follow(ann, p["p6"].author)
    assert "p6" in ids(open_pack())


def test_a_post_that_is_hidden_while_the_pack_is_built_is_not_in_it(ann, monkeypatch):
    def hide_and_rank(*args, original=preview.build_slate):
        slate = original(*args)
        Post.objects.filter(external_id="p5").update(visibility=3, changed_at=NOW)
        return slate

    monkeypatch.setattr(preview, "build_slate", hide_and_rank)
    assert len(ids(open_pack())) == 11 and "p5" not in ids(open_pack())


def test_building_a_pack_reads_no_interest_and_records_nothing(ann):
    before = create_pack(member_id="ann", now=NOW)
    factories.interaction(ann, Post.objects.get(external_id="p7"))
    assert create_pack(member_id="ann", now=NOW) == before
    records.record_served(now=NOW)
    assert not FeedRequest.objects.exists()


def test_a_member_without_posts_gets_an_empty_pack():
    factories.member("ann")
    pack = open_pack()
    assert (ids(pack), pack.columns.shape[0], pack.vectors.shape) == ([], 0, (0, pack.header.dimension))
    assert order(pack) == []


def test_an_unknown_or_inactive_member_and_a_feed_that_cannot_be_ranked_are_refused(ann, monkeypatch):
    factories.member("gone", is_active=False)
    with pytest.raises(UnknownMember):
        build_pack(member_id="nobody", now=NOW)
    with pytest.raises(InactiveMember):
        build_pack(member_id="gone", now=NOW)

    def fail(*args):
        raise NoSlateError

    monkeypatch.setattr(preview, "build_slate", fail)
    with pytest.raises(FactsUnavailable):
        build_pack(member_id="ann", now=NOW)


# Size and signature


@pytest.mark.parametrize(("dimension", "count"), [(256, PACK_SIZE), (4096, 22)])
def test_a_pack_is_at_most_100_kb_however_long_its_vectors_and_texts_are(ann, dimension, count):
    pack, rng = open_pack(), np.random.default_rng(3)
    post = replace(pack.header.posts[0], text="t" * candidate_pack.TEXT_LENGTH)
    large = replace(
        pack,
        header=replace(pack.header, dimension=dimension, posts=(post,) * PACK_SIZE),
        columns=np.ones((PACK_SIZE, len(pack.header.columns)), np.float32),
        vectors=quantize(rng.normal(size=(PACK_SIZE, dimension)).astype(np.float32)),
    )
    file = encode_pack(large, wiring.signer())
    fitted = decode_pack(file, wiring.signer())
    assert len(file) <= MAX_PACK_BYTES
    assert count <= len(fitted.header.posts) <= PACK_SIZE
    np.testing.assert_array_equal(fitted.vectors, large.vectors[: len(fitted.header.posts)])
    assert fitted.columns.shape == (len(fitted.header.posts), len(pack.header.columns))


def test_quantizing_keeps_the_direction_and_a_zero_row():
    vectors = np.array([[0.5, -0.25, 0.0], [0, 0, 0], [1e-9, 0, -1e-9]], np.float32)
    assert quantize(vectors).tolist() == [[127, -64, 0], [0, 0, 0], [127, 0, -127]]


def test_a_changed_pack_is_refused_wherever_it_was_changed(ann):
    file, signer = create_pack(member_id="ann", now=NOW), wiring.signer()
    for position in (0, 9, 12, 40, len(file) // 2, len(file) - 65, len(file) - 1):
        changed = bytearray(file)
        changed[position] ^= 1
        with pytest.raises(PackError):
            decode_pack(bytes(changed), signer)
    for part in (b"", file[:70], file[:-1], b"[]" * 50, b"RECPACK1\x02\0\0\0[]" + bytes(64)):
        with pytest.raises(PackError):
            decode_pack(part, signer)


def test_a_pack_is_verified_by_the_newest_secret_and_by_earlier_ones(ann):
    old, new = Signer(["o" * 32]), Signer(["n" * 32, "o" * 32])
    file = encode_pack(open_pack(), old)
    assert ids(decode_pack(file, new)) == ids(open_pack())
    assert [key["kid"] for key in new.public_keys()][1] == old.key_id != new.key_id
    with pytest.raises(PackError, match="unknown key"):
        decode_pack(file, Signer(["n" * 32]))


def test_the_api_sends_the_pack_and_the_keys_that_verify_it(ann):
    client, path = Client(), "/api/v1/members/ann/candidate-pack"
    _, secret = keys.create(name="app", scopes=[Scope.FEEDS_READ], now=clock.now())
    _, other = keys.create(name="other", scopes=[Scope.PROFILE_READ], now=clock.now())
    headers = {"Authorization": f"Bearer {secret}"}
    response = client.get(path, headers=headers)
    assert (response["Content-Type"], response["Cache-Control"]) == ("application/octet-stream", "no-store")
    assert len(decode_pack(response.content, wiring.signer()).header.posts) == 12
    assert client.get("/api/v1/candidate-pack-keys", headers=headers).json() == {"keys": wiring.signer().public_keys()}
    assert client.get(path).status_code == 401
    assert client.get(path, headers={"Authorization": f"Bearer {other}"}).status_code == 403
    assert client.get("/api/v1/members/nobody/candidate-pack", headers=headers).status_code == 404
    assert client.get(f"{path}?limit=3", headers=headers).status_code == 400


# The order


def test_without_interests_the_order_is_by_the_packs_columns(ann):
    assert order(open_pack_by_score()) == [f"p{number}" for number in range(12)]  # newest first


def test_a_liked_post_raises_similar_ones_and_a_disliked_one_lowers_them(ann):
    pack = open_pack_by_score()
    bread = [post.id for post in pack.header.posts if post.tags == ("bread",)]
    position = ids(pack).index(bread[-1])
    assert order(pack, likes=[interest(pack, position)])[0] == bread[-1]
    assert set(order(pack, tags={"bread": 1.0})[:3]) <= set(bread)
    assert set(order(pack, dislikes=[interest(pack, position)], tags={"bread": -1.0})[-4:]) == set(bread)


def test_scores_are_the_sums_of_their_weighted_parts(ann):
    pack = open_pack()
    ranked = rank_pack.rank_pack(pack, profile(pack, likes=[interest(pack, 1)], tags={"war": 0.5, "unknown": 1}))
    assert ranked.part_names == ("taste", "dislike", "topic", *pack.header.columns)
    np.testing.assert_allclose(ranked.scores, ranked.parts.sum(axis=1), rtol=1e-6)
    assert sorted(ranked.order) == list(range(12))
    assert ranked.parts[1, 0] == pytest.approx(Policy().taste)


def test_a_profile_of_other_vectors_is_refused(ann):
    pack = open_pack()
    other = profile(pack).model_copy(update={"embedding_model": "other"})
    with pytest.raises(PackError, match="other"):
        rank_pack.rank_pack(pack, other)
    with pytest.raises(PackError, match="numbers"):
        order(pack, likes=[{"vector": [1.0]}])


def test_the_command_creates_a_pack_and_ranks_it(ann, tmp_path, capsys):
    file, own = tmp_path / "pack", tmp_path / "profile.json"
    call_command("candidate_pack", "create", "ann", str(file))
    pack = decode_pack(file.read_bytes(), wiring.signer())
    own.write_text(profile(pack, likes=[interest(pack, 3)]).model_dump_json())
    call_command("candidate_pack", "rank", str(file), str(own))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == order(pack, likes=[interest(pack, 3)])
    assert float(lines[0].split()[0]) > 1
    own.write_text(json.dumps({"format": "recsys-device-profile"}))
    for arguments, problem in (
        (("create", "nobody", str(file)), "There is no member"),
        (("rank", str(tmp_path / "missing"), str(own)), "cannot be read"),
        (("rank", str(own), str(own)), "not a candidate pack"),
        (("rank", str(file), str(own)), "profile is invalid"),
    ):
        with pytest.raises(CommandError, match=problem):
            call_command("candidate_pack", *arguments)
