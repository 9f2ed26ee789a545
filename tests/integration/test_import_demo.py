"""The demo is imported completely and once, with times that end at the first import, and resumes if interrupted."""

from datetime import timedelta

import pytest

from recommendations.models import Interaction, Member, Post, Relationship
from recommendations.services.content import import_demo as service
from recommendations.services.content.import_demo import DemoSummary, import_demo
from recommendations.services.content.import_sample import find_sample, import_sample
from tests.factories import NOW

pytestmark = pytest.mark.django_db
LATER = NOW + timedelta(days=3, seconds=0.5)


def test_all_rows_are_imported_once():
    assert find_sample() is None
    assert import_sample("demo", now=NOW) == {
        "members": 400,
        "posts": 1_636,
        "relationships": 2_655,
        "interactions": 27_003,
    }
    assert find_sample() == "demo"
    assert (Member.objects.count(), Post.objects.count(), Interaction.objects.count()) == (400, 1_636, 27_003)
    assert set(Relationship.objects.values_list("kind", flat=True)) >= {"follow", "block", "mute"}
    newest = Interaction.objects.latest("occurred_at").occurred_at
    assert NOW - timedelta(hours=1) < newest <= NOW
    assert import_demo(now=LATER) == DemoSummary(0, 0, 0, 0)
    assert Interaction.objects.latest("occurred_at").occurred_at == newest
    Member.objects.filter(external_id="demo:ana").delete()
    assert import_demo(now=LATER) == DemoSummary(0, 0, 0, 0), "an erased member stays erased"


def test_an_interrupted_import_is_completed_with_its_first_times(monkeypatch):
    real_import = service.import_file

    def interrupt(*, kind, **options):
        if kind == "posts":
            raise KeyboardInterrupt
        return real_import(kind=kind, **options)

    with monkeypatch.context() as patch:
        patch.setattr(service, "import_file", interrupt)
        with pytest.raises(KeyboardInterrupt):
            import_demo(now=NOW)
    assert import_demo(now=LATER) == DemoSummary(0, 1_636, 2_655, 27_003)
    assert NOW - timedelta(hours=1) < Post.objects.latest("created_at").created_at <= NOW
