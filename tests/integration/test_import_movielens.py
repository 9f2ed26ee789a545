"""The MovieLens sample is complete, mapped as documented, ends yesterday, and is unchanged by a second import."""

from datetime import UTC, date, datetime, timedelta

import pytest
from django.db.models import Min

from recommendations.models import Interaction, Member, Post
from recommendations.services.content.films import Film, Rating, restore_article
from recommendations.services.content.import_movielens import (
    SAMPLE_FOLDER,
    SampleMissingError,
    days_to_yesterday,
    import_movielens,
)

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)


@pytest.fixture(scope="module")
def sample(django_db_setup, django_db_blocker):
    """The sample, imported once for all tests that only read it."""
    with django_db_blocker.unblock():
        yield import_movielens(now=NOW)
        Member.objects.all().delete()


@pytest.mark.django_db
class TestImported:
    def test_all_rows_are_imported(self, sample):
        assert (sample.members, sample.posts, sample.interactions) == (671, 9_066, 100_004)
        assert Member.objects.count() == 671 + sample.studios
        assert 100 < sample.studios < 250

    def test_a_second_import_adds_nothing(self, sample):
        second = import_movielens(now=NOW + timedelta(days=3))
        assert (second.members, second.studios, second.posts, second.interactions) == (0, 0, 0, 0)

    def test_the_newest_rating_is_from_yesterday(self, sample):
        newest = Interaction.objects.latest("occurred_at").occurred_at
        assert newest.date() == date(2026, 11, 22)

    def test_a_film_is_published_before_its_first_rating(self, sample):
        first = Post.objects.annotate(first=Min("interactions__occurred_at"))
        assert {post.first - post.created_at for post in first} == {timedelta(minutes=1)}

    def test_members_join_before_their_first_rating(self, sample):
        raters = Member.objects.filter(external_id__startswith="movielens:")
        firsts = raters.annotate(first=Min("interactions__occurred_at"))
        assert all(member.created_at < member.first for member in firsts)

    def test_all_accounts_are_open(self, sample):
        assert not Member.objects.exclude(privacy__is_private=False).exists()

    def test_a_film_is_a_post(self, sample):
        film = Post.objects.select_related("author").get(external_id="film:1")
        assert film.text == "Toy Story (1995). Adventure, Animation, Children, Comedy, Fantasy"
        assert film.tags == ["adventure", "animation", "children", "comedy", "fantasy"]
        assert (film.kind, film.language, film.author.external_id) == ("film", "en", "studio:adventure-1990s")

    @pytest.mark.parametrize("film", ["film:108583", "film:143410"])
    def test_a_film_without_title_or_genre_has_a_text(self, sample, film):
        assert Post.objects.get(external_id=film).text.startswith("Untitled film")

    def test_primary_keys_grow_with_time(self, sample):
        times = list(Interaction.objects.order_by("id").values_list("occurred_at", flat=True))
        assert times == sorted(times)


@pytest.mark.parametrize(
    "stars, kind",
    [(0.5, "not_interested"), (2, "not_interested"), (2.5, "view"), (3.5, "view"), (4, "like"), (5, "like")],
)
def test_stars_decide_the_kind_of_interaction(stars, kind):
    assert Rating("1", "1", stars, 0).kind.value == kind


@pytest.mark.parametrize(
    "title, expected",
    [
        ("Matrix, The", "The Matrix"),
        ("Misérables, Les", "Les Misérables"),
        ("Avventura, L'", "L'Avventura"),
        ("City of Lost Children, The (Cité des enfants perdus, La)",
         "The City of Lost Children (Cité des enfants perdus, La)"),
        ("Good, the Bad and the Ugly, The", "The Good, the Bad and the Ugly"),
        ("Girl, Interrupted", "Girl, Interrupted"),
        ("Corrina, Corrina", "Corrina, Corrina"),
    ],
)  # fmt: skip
def test_the_article_moves_to_the_start_of_a_title(title, expected):
    assert restore_article(title) == expected


def test_a_film_of_unknown_year_and_genre_has_a_studio():
    assert Film("1", "", "", ()).studio_id == "studio:unsorted-undated"


@pytest.mark.parametrize("hour", [0, 12, 23])
def test_the_newest_time_moves_to_yesterday_at_any_hour(hour):
    now = datetime(2030, 3, 1, hour, tzinfo=UTC)
    newest = datetime(2016, 10, 16, 17, 57, tzinfo=UTC)
    assert (newest + days_to_yesterday(int(newest.timestamp()), now)).date() == date(2030, 2, 28)


def test_a_missing_file_is_named_with_what_to_do(tmp_path):
    with pytest.raises(SampleMissingError, match=r"films\.csv\.gz is missing.*import_data"):
        import_movielens(now=NOW, folder=tmp_path)


def test_the_license_terms_are_next_to_the_data():
    terms = (SAMPLE_FOLDER / "README.md").read_text()
    for fact in ("No commercial use", "Redistribution under the same terms", "GroupLens", "10.1145/2827872"):
        assert fact in terms
