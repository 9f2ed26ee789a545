"""Management commands."""

import json
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from pydantic import SecretStr

from monitoring.clock import now
from recommendations.management.commands import submit_job
from recommendations.models import Job, Member, Post, PrivacySettings
from recommendations.services import wiring, work

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]


def run(*arguments):
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


@pytest.fixture
def ann(monkeypatch, fresh_wiring):
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"embedder": "tiny"}))
    wiring.reset_parts()
    then = now() - timedelta(hours=1)
    row = Member.objects.create(external_id="ann", created_at=then, changed_at=then)
    PrivacySettings.objects.create(member=row, changed_at=then)
    yield row
    wiring.reset_parts()


@pytest.fixture
def post(ann):
    then = now() - timedelta(hours=1)
    bob = Member.objects.create(external_id="bob", created_at=then, changed_at=then)
    PrivacySettings.objects.create(member=bob, changed_at=then)
    return Post.objects.create(external_id="p1", author=bob, text="[b]bread[/b]", created_at=then, changed_at=then)


def test_recommend_shows_scores_and_reasons(post):
    output = run("recommend", "ann")
    assert "[b]bread[/b]" in output
    assert "recency" in output


def test_recommend_prints_json(post):
    page = json.loads(run("recommend", "ann", "--json", "--feed", "trending"))
    assert [pick["post_id"] for pick in page["picks"]] == ["p1"]


def test_recommend_prints_a_message_without_posts(ann):
    assert "No posts: There is no post that the member may see" in run("recommend", "ann")


def test_recommend_rejects_an_unknown_member_and_an_invalid_limit(ann):
    with pytest.raises(CommandError, match="no member 'nobody'"):
        run("recommend", "nobody")
    with pytest.raises(CommandError, match="--limit"):
        run("recommend", "ann", "--limit", "0")


@pytest.mark.parametrize("params", ["{", "3", '{"color": 1}'])
def test_submit_job_rejects_invalid_parameters(params):
    with pytest.raises(CommandError):
        run("submit_job", "batch_feeds", "--params", params)
    assert not Job.objects.exists()


def test_a_submitted_job_is_not_waited_for_unless_asked(ann):
    output = run("submit_job", "batch_feeds")
    job = Job.objects.get()
    assert output == f"Job {job.pk}: batch_feeds, queued\n"


def test_waiting_for_a_job_fails_unless_it_succeeds(ann, monkeypatch):
    monkeypatch.setattr(submit_job.time, "sleep", lambda _: work.cancel_job(job_id=Job.objects.get().pk, now=now()))
    with pytest.raises(CommandError, match="cancelled"):
        run("submit_job", "batch_feeds", "--wait")


def test_a_job_without_items_succeeds_at_once(db):
    assert "done, 0 done, 0 failed of 0" in run("submit_job", "batch_feeds", "--wait")


def test_the_settings_page_is_the_output_of_the_command():
    page = Path(settings.BASE_DIR, "docs", "settings.md").read_text()
    assert page == run("print_settings"), "run: manage.py print_settings > docs/settings.md"
    assert str(settings.BASE_DIR) not in page


def test_ensure_admin_creates_the_user_once(monkeypatch):
    def set_password(text):
        monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"admin_password": SecretStr(text)}))

    for weak in ("", "short"):
        set_password(weak)
        with pytest.raises(CommandError, match="ADMIN_PASSWORD"):
            run("ensure_admin")
    set_password("correct horse battery")
    run("ensure_admin")
    set_password("another horse battery")
    assert "already" in run("ensure_admin")
    assert get_user_model().objects.get().check_password("correct horse battery")
