"""
How the code writes rows. `monitoring/transactions.py` states why; `tests/integration/test_concurrent_writes.py` runs
the services against each other.
"""

import re

from tests.write_calls import APPS, ROOT, find_write_calls

WHOLE_ROW_SAVES = {
    ("access/staff_admin.py", "save"): "sets the password of a form that does not save",
    ("flags/models/append_only.py", "save"): "adds a row: it refuses an existing one",
    ("monitoring/models/maintenance.py", "save"): "adds a row: it refuses an existing one",
    ("monitoring/row_forms.py", "save"): "a form that is saved without its row, or adds a row",
    ("recommendations/models/policies.py", "save"): "passes on the arguments of its caller",
    ("recommendations/services/evaluating/rank_cases.py", "rank_cases"): "writes arrays to a file",
    ("recommendations/services/serving/recommend.py", "check_page"): "puts a slate into the cache",
    ("recommendations/services/serving/refresh.py", "rebuild_slate"): "puts a slate into the cache",
    ("recommendations/stores/trained_models.py", "store_arrays"): "NumPy's function, which writes to memory",
}
"""Calls of `save` without `update_fields` or `force_insert`, each with the reason."""
BULK_UPDATES = {
    ("flags/models/guarded.py", "bulk_update"): "refuses the call",
    ("recommendations/services/content/importing/write_rows.py", "save_changes"): "of rows that the caller has locked",
}
PLAIN_TRANSACTIONS = {
    "monitoring/transactions.py": "the transactions of all services",
    "recommendations/services/content/generate.py": "fills an empty database",
    "recommendations/services/content/import_movielens.py": "fills an empty database",
    "recommendations/stores/bulk.py": "a part of the caller's transaction",
}
"""Modules with `transaction.atomic`, each with the reason why it is not run again after a write conflict."""


def test_an_existing_row_is_saved_with_its_changed_columns_only():
    """`save` without them would write back every column as it was read, and undo what others have written since."""
    saves = {
        (call.file, call.function)
        for call in find_write_calls()
        if call.name == "save" and not call.keywords & {"update_fields", "force_insert"}
    }
    assert saves == WHOLE_ROW_SAVES.keys()


def test_rows_are_updated_by_one_statement_or_under_a_lock():
    """`update_or_create` writes a row that was read before, and `bulk_update` rows that were read at any time."""
    calls = list(find_write_calls())
    assert [call for call in calls if call.name == "update_or_create"] == []
    assert {(call.file, call.function) for call in calls if call.name == "bulk_update"} == BULK_UPDATES.keys()


def test_transactions_are_run_again_after_a_write_conflict():
    files = (path for app in APPS for path in (ROOT / app).rglob("*.py") if "migrations" not in path.parts)
    plain = {str(path.relative_to(ROOT)) for path in files if re.search(r"transaction\.atomic\b", path.read_text())}
    assert plain == PLAIN_TRANSACTIONS.keys()
