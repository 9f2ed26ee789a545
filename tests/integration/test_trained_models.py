"""Trained models: training from histories, activation, rollback, and the arrays that processes map into memory."""

import re
import threading
from datetime import timedelta
from io import StringIO

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection
from django.urls import reverse

from recommendations.collaborative.item_weights import ItemWeightTable
from recommendations.models import ErasureReceipt, ReactionHistory, TrainedModel, TrainedModelBlock
from recommendations.services import wiring
from recommendations.services.errors import ModelNotUsable, TooFewLikes, UnknownModel
from recommendations.services.extensions import doctor, gauges, maintenance
from recommendations.services.learning import co_likes
from recommendations.services.members import erasure
from recommendations.services.training import co_like_scales, schedule
from recommendations.services.training import train as training
from recommendations.services.training.trained_models import activate_model, roll_back, roll_back_kind
from recommendations.stores import trained_models as store
from recommendations.stores.trained_models import ARRAY_NAMES, ModelFiles, TrainedModels, store_arrays
from tests import factories
from tests.factories import NOW

State = TrainedModel.State
KIND = "item_weights"

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]


def table_of(seed=0):
    """A table of four posts, with every weight."""
    rng = np.random.default_rng(seed)
    targets = [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]
    return ItemWeightTable(
        np.array([10, 20, 30, 40]),
        np.arange(5) * 3,
        np.array(targets, np.int32).ravel(),
        rng.integers(1, 9_000, 12).astype(np.int16),
    )


def model(state=State.EVALUATED, table=None, **fields):
    """Create a model with stored arrays."""
    row = TrainedModel.objects.create(kind=KIND, state=state, created_at=NOW, **fields)
    table = table or table_of(row.pk)
    row.arrays = store_arrays(row.pk, {name: getattr(table, name) for name in ARRAY_NAMES})
    row.save()
    return row


def states():
    return dict(TrainedModel.objects.values_list("pk", "state"))


def to_bytes(table):
    return [getattr(table, name).tobytes() for name in ARRAY_NAMES]


# Activate and roll back


def test_activating_a_model_retires_the_active_one():
    old, new = model(State.ACTIVE), model()
    assert activate_model(model_id=new.pk, now=NOW).state == "active"
    assert states() == {old.pk: "retired", new.pk: "active"}
    old.refresh_from_db(), new.refresh_from_db()
    assert (old.retired_at, new.activated_at) == (NOW, NOW)


def test_activating_the_active_model_changes_nothing():
    active = model(State.ACTIVE, activated_at=NOW)
    assert activate_model(model_id=active.pk, now=NOW + timedelta(hours=1)).activated_at == NOW


@pytest.mark.parametrize("state", [State.TRAINING, State.FAILED])
def test_a_model_that_was_not_evaluated_cannot_be_activated(state):
    with pytest.raises(ModelNotUsable, match=f"is {state.value}"):
        activate_model(model_id=model(state).pk, now=NOW)


def test_a_model_without_arrays_cannot_be_activated():
    retired = model(State.RETIRED)
    retired.blocks.all().delete()
    with pytest.raises(ModelNotUsable, match="have been deleted"):
        activate_model(model_id=retired.pk, now=NOW)


@pytest.mark.parametrize("change", [activate_model, roll_back], ids=["activate", "roll back"])
def test_an_unknown_model_is_an_error(change):
    with pytest.raises(UnknownModel, match="no trained model 99"):
        change(model_id=99, now=NOW)


def test_a_rollback_returns_to_the_model_that_was_active_before_and_then_to_the_one_before_that():
    first, second, third = model(State.RETIRED), model(State.RETIRED), model(State.ACTIVE)
    rejected = model(State.EVALUATED)
    assert roll_back(model_id=third.pk, now=NOW).id == second.pk
    assert states() == {first.pk: "retired", second.pk: "active", third.pk: "retired", rejected.pk: "evaluated"}
    assert roll_back_kind(kind=KIND, now=NOW).id == first.pk


def test_two_rollbacks_from_the_same_model_go_back_once():
    model(State.RETIRED)
    second, third = model(State.RETIRED), model(State.ACTIVE)
    assert [roll_back(model_id=third.pk, now=NOW).id for _ in range(2)] == [second.pk, second.pk]


def test_a_rollback_skips_models_whose_arrays_have_been_deleted():
    first, second, third = model(State.RETIRED), model(State.RETIRED), model(State.ACTIVE)
    second.blocks.all().delete()
    assert roll_back(model_id=third.pk, now=NOW).id == first.pk


def test_without_an_earlier_model_a_rollback_is_an_error():
    only = model(State.ACTIVE)
    with pytest.raises(ModelNotUsable, match="no earlier model"):
        roll_back(model_id=only.pk, now=NOW)
    assert states() == {only.pk: "active"}


def test_without_an_active_model_a_rollback_is_an_error():
    with pytest.raises(ModelNotUsable, match="is active"):
        roll_back(model_id=model(State.RETIRED).pk, now=NOW)
    with pytest.raises(ModelNotUsable, match="is active"):
        roll_back_kind(kind=KIND, now=NOW)


# The command and the admin


def output_of(*words):
    out = StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


def test_the_command_lists_activates_and_rolls_back(monkeypatch):
    first, second = model(State.ACTIVE, problem=""), model(metrics={"ndcg10": 0.25, "popularity": {"ndcg10": 0.125}})
    listed = output_of("models")
    assert "evaluated" in listed and "0.25" in listed and "0.125" in listed
    assert output_of("models", "--activate", str(second.pk)).startswith(f"Model {second.pk} is active")
    assert output_of("models", "--roll-back", KIND).startswith(f"Model {first.pk} is active")
    with pytest.raises(CommandError, match="no trained model 99"):
        call_command("models", "--activate", "99")


@pytest.fixture
def run_action(admin_client):
    """Return a function that runs an action of the admin page on models, and returns the message."""

    def run(action, *rows):
        url = reverse("admin:recommendations_trainedmodel_changelist")
        data = {"action": action, "_selected_action": [row.pk for row in rows]}
        return [str(message) for message in admin_client.post(url, data, follow=True).context["messages"]]

    return run


def test_an_operator_activates_and_rolls_back_in_the_admin(run_action):
    first, second = model(State.ACTIVE), model()
    assert run_action("activate", second) == [f"Model {second.pk} is active. Feeds use it within seconds."]
    assert run_action("roll_back", second) == [f"Model {first.pk} is active. Feeds use it within seconds."]
    assert run_action("roll_back", first) == [f"There is no earlier model to go back to from model {first.pk}."]
    assert run_action("activate", first, second) == ["Select one model."]


def test_the_admin_shows_the_metrics_of_a_model(admin_client):
    metrics = {"cases": 3, "ndcg10": 0.25, "popularity": {"ndcg10": 0.125, "ndcg10_difference": [0.125, -0.00001]}}
    row = model(metrics=metrics, scales={"co_liked": 0.123456789})
    page = admin_client.get(reverse("admin:recommendations_trainedmodel_change", args=[row.pk])).content.decode()
    shown = dict(re.findall(r'<td class="px-2">([^<]*)</td><td class="px-2">([^<]*)</td>', page))
    assert shown == {
        "cases": "3",
        "ndcg10": "0.2500",
        "popularity: ndcg10": "0.1250",
        "popularity: ndcg10_difference": "0.1250; -0.0000",
        "co_liked": "0.1235",
    }
    listed = admin_client.get(reverse("admin:recommendations_trainedmodel_changelist")).content.decode()
    assert "0.2500" in listed and "0.1250" in listed


# Old arrays


def models_with_blocks():
    return set(TrainedModelBlock.objects.values_list("model_id", flat=True))


def test_the_arrays_of_old_models_are_deleted_and_those_of_a_rollback_or_an_approval_are_kept():
    old, *retired = (model(State.RETIRED, retired_at=NOW + timedelta(hours=hour)) for hour in range(3))
    rejected, active, waiting = model(), model(State.ACTIVE), model()
    result = maintenance.delete_old_models(NOW)
    assert (result.rows, models_with_blocks()) == (2, {row.pk for row in (*retired, active, waiting)})
    assert {old.pk, rejected.pk} <= set(states())


def test_an_interrupted_training_is_failed_after_a_day():
    row = model(State.TRAINING)
    maintenance.delete_old_models(NOW + timedelta(hours=23))
    assert states() == {row.pk: "training"} and models_with_blocks() == {row.pk}
    maintenance.delete_old_models(NOW + timedelta(hours=25))
    assert states() == {row.pk: "failed"} and not models_with_blocks()


# Monitoring


def test_the_doctor_reports_a_missing_and_an_old_model():
    assert "No model of item_weights is active" in doctor.check_trained_models(NOW).message
    model(State.ACTIVE)
    assert doctor.check_trained_models(NOW + timedelta(days=1)).message.endswith("active and recent")
    assert "is 4 days old" in doctor.check_trained_models(NOW + timedelta(days=4)).message


def test_the_age_the_size_and_the_training_time_of_the_active_model_are_gauges():
    model(State.ACTIVE, size_bytes=64, metrics={"training_seconds": 2.5})
    model(State.RETIRED, size_bytes=32, metrics={"training_seconds": 1.5})
    values = gauges.trained_model_gauges(NOW + timedelta(hours=1))
    assert [list(value.items()) for value in values.values()] == [[((KIND,), 3600)], [((KIND,), 64)], [((KIND,), 2.5)]]


# Arrays in files


def test_arrays_are_stored_in_blocks_and_read_back_equal(monkeypatch):
    monkeypatch.setattr(store, "BLOCK_BYTES", 100)
    row, table = model(table=table_of(3)), table_of(3)
    assert row.blocks.filter(name="targets").count() > 1
    assert to_bytes(store.read_item_weights(row.pk)) == to_bytes(table)


def test_storing_again_replaces_the_blocks_of_an_earlier_attempt(monkeypatch):
    row = model()
    store_arrays(row.pk, {"weights": np.arange(3)})
    assert set(row.blocks.values_list("name", flat=True)) == {"weights"}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "models"


def test_the_active_model_is_mapped_from_files(folder):
    row = model(State.ACTIVE, table_of(1), scales={KIND: 0.5})
    active = TrainedModels(folder).item_weights()
    assert (active.model_id, active.scales) == (row.pk, {KIND: 0.5})
    assert to_bytes(active.table) == to_bytes(table_of(1))
    assert not active.table.weights.flags.writeable  # a mapped file
    assert sorted(path.stem for path in folder.iterdir()) == sorted(a["digest"] for a in row.arrays.values())


def test_without_an_active_model_there_is_none(folder):
    model(State.EVALUATED)
    assert TrainedModels(folder).item_weights() is None


@pytest.mark.parametrize("content", [b"", b"x" * 200], ids=["too short", "wrong"])
def test_a_damaged_file_is_written_again(folder, content):
    row = model(State.ACTIVE, table_of(1))
    damaged = row.arrays["weights"]
    folder.mkdir()
    padded = content.ljust(damaged["size"], b"x") if content else content
    (folder / f"{damaged['digest']}.npy").write_bytes(padded)
    assert to_bytes(TrainedModels(folder).item_weights().table) == to_bytes(table_of(1))


def test_a_second_process_does_not_read_the_arrays_from_the_database(folder, django_assert_num_queries):
    model(State.ACTIVE, table_of(1))
    TrainedModels(folder).item_weights()
    TrainedModelBlock.objects.all().delete()
    assert to_bytes(TrainedModels(folder).item_weights().table) == to_bytes(table_of(1))


def test_an_interrupted_write_leaves_no_file(folder, monkeypatch):
    row = model(State.ACTIVE)

    def fail(*args):
        raise DatabaseError("gone")

    monkeypatch.setattr(store, "read_content", fail)
    with pytest.raises(DatabaseError):
        ModelFiles(folder).open_item_weights(row)
    assert list(folder.iterdir()) == []


def test_the_loaded_model_stays_in_use_if_the_next_one_cannot_be_loaded(folder, caplog):
    first = model(State.ACTIVE)
    models = TrainedModels(folder)
    assert models.item_weights().model_id == first.pk
    second = model()
    second.blocks.filter(name="weights").delete()
    activate_model(model_id=second.pk, now=NOW)
    models.refresh()
    assert models.item_weights().model_id == first.pk
    assert "trained_model_not_loaded" in caplog.text


def test_a_process_follows_an_activation_and_a_rollback(folder):
    first, second = model(State.ACTIVE), model()
    models = TrainedModels(folder)
    seen = [models.item_weights().model_id]
    for change in (activate_model, roll_back):
        change(model_id=second.pk, now=NOW)
        models.refresh()
        seen.append(models.item_weights().model_id)
    assert seen == [first.pk, second.pk, first.pk]


def test_a_process_follows_a_retirement_without_a_successor(folder):
    row = model(State.ACTIVE)
    models = TrainedModels(folder)
    models.item_weights()
    TrainedModel.objects.filter(pk=row.pk).update(state=State.RETIRED)
    models.refresh()
    assert models.item_weights() is None


def test_files_of_models_beyond_the_last_retired_are_deleted(folder):
    rows = [model(State.ACTIVE)]
    models = TrainedModels(folder)
    models.item_weights()
    (folder / "0123.abc.part").write_bytes(b"left by a crash")
    for hour in range(1, 4):
        rows.append(model())
        activate_model(model_id=rows[-1].pk, now=NOW + timedelta(hours=hour))
        models.refresh()
    kept = {array["digest"] for row in rows[1:] for array in row.arrays.values()}
    assert {path.stem for path in folder.iterdir()} == kept


def test_a_file_that_another_process_deletes_at_the_same_time_is_no_error(folder, monkeypatch):
    model(State.ACTIVE)
    models = TrainedModels(folder)
    folder.mkdir()
    gone = folder / "0123.npy"
    monkeypatch.setattr("pathlib.Path.iterdir", lambda path: iter([gone]))
    assert models.item_weights() is not None


@pytest.mark.django_db(transaction=True)
def test_a_request_does_not_wait_for_the_next_model(folder, monkeypatch):
    """The check runs in a thread. Until it ends, calls return the model that is loaded, and start no second check."""
    first = model(State.ACTIVE)
    models = TrainedModels(folder)
    models.item_weights()
    second = model()
    activate_model(model_id=second.pk, now=NOW)
    monkeypatch.setattr(store, "CHECK_SECONDS", 0.0)
    may_load, load = threading.Event(), models._load
    monkeypatch.setattr(models, "_load", lambda: (may_load.wait(60), load()))
    assert [models.item_weights().model_id for _ in range(3)] == [first.pk] * 3
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "trained-models")
    may_load.set()
    thread.join()
    monkeypatch.setattr(store, "CHECK_SECONDS", 60.0)
    assert models.item_weights().model_id == second.pk


@pytest.mark.django_db(transaction=True)
def test_calls_during_the_first_load_wait_for_it(folder, monkeypatch):
    row = model(State.ACTIVE)
    models = TrainedModels(folder)
    may_load, load, found = threading.Event(), models._load, []

    def call():
        found.append(models.item_weights())
        connection.close()

    monkeypatch.setattr(models, "_load", lambda: (may_load.wait(60), load()))
    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    may_load.set()
    for thread in threads:
        thread.join()
    assert [active.model_id for active in found] == [row.pk] * 3
    assert len({id(active) for active in found}) == 1


# Training


def history(member, likes, rejections=(), *, at=NOW):
    """Give *member* reactions, one a minute, oldest first."""
    signed = np.array([*(post.pk for post in likes), *(-post.pk for post in rejections)], "<i8")
    times = at.timestamp() + np.arange(len(signed)) * 60.0
    return ReactionHistory.objects.create(
        member=member, reactions=signed.tobytes(), reacted_at=times.astype("<f8").tobytes()
    )


@pytest.fixture
def few_members(monkeypatch):
    """Train with ten members."""
    monkeypatch.setattr(training, "MIN_MEMBERS", 10)


@pytest.fixture
def platform(few_members):
    """
    Two groups of 15 members, each with 10 posts that only its members like, and like in a random order.

    A table ranks the group's posts first; the number of likes does not tell the groups apart.
    """
    rng = np.random.default_rng(5)
    author = factories.member("author")
    groups = [factories.posts(author, 10) for _ in range(2)]
    for number in range(30):
        liked = rng.permutation(10)[:7]
        history(factories.member(), [groups[number % 2][at] for at in liked], [groups[1 - number % 2][0]])
    return groups


def train(now=NOW, **options):
    return training.train(kind=KIND, now=now, **options)


def test_the_first_model_is_trained_measured_stored_and_activated(platform):
    view = train()
    row = TrainedModel.objects.get()
    assert (view.state, row.state, row.problem, row.parent) == ("active", State.ACTIVE, "", None)
    assert (row.member_count, row.post_count, row.like_count, row.reaction_count) == (30, 20, 210, 240)
    assert (row.data_from, row.data_until) == (NOW, NOW + timedelta(minutes=6))
    assert row.settings["min_members"] == 2 and NOW < row.trained_at <= row.activated_at
    assert row.metrics["cases"] == 30
    assert row.metrics["ndcg10"] > row.metrics["popularity"]["ndcg10"]
    assert row.metrics["popularity"]["ndcg10_difference"][1] > 0
    assert row.size_bytes == sum(len(block.data) for block in row.blocks.all())
    table = store.read_item_weights(row.pk)
    ids = [[post.pk for post in group] for group in platform]
    assert table.post_ids.tolist() == sorted([*ids[0], *ids[1]])
    assert row.scales[KIND] > 0
    positive = table.weights > 0
    sources = np.repeat(table.post_ids, np.diff(table.starts))[positive]
    assert (np.isin(sources, ids[0]) == np.isin(table.post_ids[table.targets[positive]], ids[0])).all()


def test_the_same_likes_give_the_same_bytes(platform):
    first, second = (TrainedModel.objects.get(pk=train().id) for _ in range(2))
    assert first.arrays == second.arrays
    assert second.metrics["active"] == {"model": first.pk, "compared": "equal settings"}
    assert states() == {first.pk: "retired", second.pk: "active"}


def test_a_removed_or_erased_post_is_in_no_model(platform):
    removed, erased = platform[0][0], platform[1][3]
    removed.removed_at = NOW
    removed.save()
    erased_pk = erased.pk
    erased.delete()
    table = store.read_item_weights(train().id)
    assert len(table.post_ids) == 18 and not np.isin([removed.pk, erased_pk], table.post_ids).any()


def test_a_member_without_a_history_is_in_no_model(platform):
    """Members who do not let the service learn have no history, so a model equals one that was trained without them."""
    before = TrainedModel.objects.get(pk=train().id).arrays
    opted_out = factories.member("opted-out", is_personalized=False)
    for post in platform[0][:5]:
        factories.interaction(opted_out, post)
    assert TrainedModel.objects.get(pk=train().id).arrays == before


def test_a_training_after_an_erasure_equals_one_without_the_member(platform):
    """Bit for bit. The models that contain the member are deleted once the new one is active."""
    before = TrainedModel.objects.get(pk=train().id).arrays
    erased = factories.member("erased")
    history(erased, [*platform[0][:4], *platform[1][:4]])
    second = train(now=NOW + timedelta(minutes=1))
    assert TrainedModel.objects.get(pk=second.id).arrays != before, "the member is in the model"
    erased_at = NOW + timedelta(minutes=2)
    erasure.erase_members(member_ids=[erased.pk], now=erased_at)
    third = train(now=NOW + timedelta(hours=1))
    assert TrainedModel.objects.get(pk=third.id).arrays == before
    erasure.finish_erasures(now=NOW + timedelta(hours=2))
    assert set(TrainedModelBlock.objects.values_list("model_id", flat=True)) == {third.id}
    assert ErasureReceipt.objects.get().active_model_id == third.id


def test_a_pair_of_too_few_members_has_no_positive_weight(platform, settings):
    author = factories.member("other-author")
    rare = factories.posts(author, 2)
    for _ in range(2):
        history(factories.member(), rare)
    by_limit = {}
    for limit in (2, 3):
        settings.ENV = settings.ENV.model_copy(update={"co_like_min_members": limit})
        table = store.read_item_weights(train().id)
        row, column = np.searchsorted(table.post_ids, sorted(post.pk for post in rare))
        entries = slice(table.starts[row], table.starts[row + 1])
        by_limit[limit] = column in table.targets[entries][table.weights[entries] > 0]
    assert by_limit == {2: True, 3: False}


def test_too_few_likes_fail_with_the_number_that_is_needed(few_members):
    post = factories.post(factories.member("author"))
    history(factories.member(), [post])
    with pytest.raises(TooFewLikes, match="0 members have 3 likes or more, and a training needs 10"):
        train()
    row = TrainedModel.objects.get()
    assert row.state == State.FAILED and row.problem.startswith("0 members have 3 likes")


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (MemoryError(), "The training needs more memory than TRAINING_MEMORY_LIMIT."),
        (ValueError("member 7"), "ValueError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
    ],
    ids=["memory", "another error", "Ctrl-C"],
)
def test_a_training_that_fails_keeps_the_active_model_and_leaves_no_arrays(platform, error, problem):
    active = train().id

    def fail(stage, done, total):
        if stage == "storing" and done:
            raise error

    with pytest.raises(type(error)):
        train(progress=fail)
    failed = TrainedModel.objects.exclude(pk=active).get()
    assert (failed.state, failed.problem) == (State.FAILED, problem)
    assert states()[active] == "active" and not failed.blocks.exists()


def test_while_the_flag_is_on_a_model_waits_for_approval(platform):
    factories.flag("approve_models", is_enabled=True)
    waiting = train()
    assert waiting.state == "evaluated" and TrainedModel.objects.get().state == State.EVALUATED
    assert activate_model(model_id=waiting.id, now=NOW).state == "active"


def test_a_model_that_ranks_worse_than_the_number_of_likes_is_not_activated(platform, monkeypatch):
    first, others = training.held_out.rank_targets, training.held_out.rank_targets_by_likes
    monkeypatch.setattr(training.held_out, "rank_targets", lambda cases, weights: np.full(len(cases), 99))
    monkeypatch.setattr(training.held_out, "rank_targets_by_likes", lambda cases: np.ones(len(cases), np.int64))
    view = train()
    assert (view.state, view.problem) == ("evaluated", "It is worse than ranking by the number of likes.")
    assert view.metrics["popularity"]["ndcg10_difference"] == [-1, -1, -1]
    monkeypatch.setattr(training.held_out, "rank_targets", first)
    monkeypatch.setattr(training.held_out, "rank_targets_by_likes", others)
    assert train().state == "active"


@pytest.fixture
def newer_likes(platform, monkeypatch):
    """Train a model, then let half of the members like another post, so that their held-out likes are newer."""
    monkeypatch.setattr(training, "MIN_FAIR_CASES", 10)
    active = train()
    for row in ReactionHistory.objects.order_by("pk")[:14]:
        own = next(group for group in platform if abs(np.frombuffer(bytes(row.reactions), "<i8"))[0] in ids_of(group))
        known = np.frombuffer(bytes(row.reactions), "<i8")
        new = next(pk for pk in ids_of(own) if pk not in known)
        row.reactions = bytes(row.reactions) + np.array([new], "<i8").tobytes()
        row.reacted_at = bytes(row.reacted_at) + np.array([NOW.timestamp() + 9_000]).astype("<f8").tobytes()
        row.save()
    return active


def ids_of(posts):
    return [post.pk for post in posts]


def test_a_new_model_is_compared_with_the_active_one_on_likes_that_are_newer_than_its_data(newer_likes):
    view = train()
    compared = view.metrics["active"]
    assert (compared["model"], compared["compared"], compared["cases"]) == (newer_likes.id, "model", 14)
    assert compared["ndcg10_difference"][2] >= 0 and view.state == "active"


@pytest.mark.parametrize("has_arrays", [True, False])
def test_a_new_model_that_is_worse_than_the_active_one_is_not_activated(newer_likes, monkeypatch, has_arrays):
    """Without the arrays of the active model, a table with its settings is compared."""
    if not has_arrays:
        TrainedModelBlock.objects.all().delete()
        TrainedModel.objects.update(settings={**TrainedModel.objects.get().settings, "ridge": 25.0})
    calls = []

    def rank(cases, weights):
        calls.append(len(cases))
        return np.full(len(cases), 5 if len(calls) == 1 else 1)

    monkeypatch.setattr(training.held_out, "rank_targets", rank)
    monkeypatch.setattr(training.held_out, "rank_targets_by_likes", lambda cases: np.full(len(cases), 9))
    view = train()
    assert (view.state, view.problem) == ("evaluated", f"It is worse than the active model {newer_likes.id}.")
    assert calls == ([30, 14] if has_arrays else [30, 30])
    assert view.metrics["active"]["compared"] == ("model" if has_arrays else "settings")
    assert states()[newer_likes.id] == "active"


def test_a_training_that_was_set_to_failed_meanwhile_stores_nothing(platform):
    def interrupt(stage, done, total):
        if stage == "storing":
            TrainedModel.objects.update(state=State.FAILED)

    with pytest.raises(RuntimeError, match="was set to failed"):
        train(progress=interrupt)
    assert states() == {TrainedModel.objects.get().pk: "failed"} and not models_with_blocks()


def test_the_command_trains_if_a_training_is_due(platform, monkeypatch):
    monkeypatch.setattr(schedule, "MIN_MEMBERS", 10)
    trained = output_of("train", "--if-due")
    assert "is active: 210 likes" in trained and "on 30 held-out likes" in trained
    assert output_of("train", "--if-due") == "No training is due.\n"


def test_the_command_says_why_a_model_was_not_trained_or_not_activated(platform, monkeypatch):
    monkeypatch.setattr(training.held_out, "rank_targets", lambda cases, weights: np.full(len(cases), 99))
    assert output_of("train").endswith("It was not activated: It is worse than ranking by the number of likes.\n")
    ReactionHistory.objects.all().delete()
    with pytest.raises(CommandError, match="0 members have 3 likes"):
        call_command("train")


def test_the_scale_of_item_weights_contains_their_factor(platform, monkeypatch):
    train()
    plain = TrainedModel.objects.latest("pk")
    monkeypatch.setattr(training, "find_item_factor", lambda cases, weights, min_members: 4.0)
    train(now=NOW + timedelta(hours=1))
    counted_more = TrainedModel.objects.latest("pk")
    assert (plain.metrics["factor"], counted_more.metrics["factor"]) == (1, 4)
    assert counted_more.scales[KIND] == plain.scales[KIND] / 4


def test_the_scales_of_co_likes_are_measured_once_enough_members_have_a_page_of_them(few_members, monkeypatch):
    monkeypatch.setattr(co_like_scales, "MIN_PAGES", 30)
    posts, rng = factories.posts(factories.member("author"), 60), np.random.default_rng(5)
    for _ in range(30):
        history(factories.member(), [posts[at] for at in rng.permutation(60)[:15]])
    train()
    assert set(TrainedModel.objects.get().scales) == {KIND}
    co_likes.count_changes(now=NOW)
    wiring.resident_co_likes().clear()
    train()
    scales = TrainedModel.objects.latest("pk").scales
    assert set(scales) == {KIND, "co_liked", "liked_next"}
    assert 0 < scales["liked_next"] < scales["co_liked"] < 1
