"""
Records every change of a reaction history, so that co-like counts can follow it (`services/learning/co_likes.py`).

Database triggers write the likes before and after a change in the transaction of the change, whether the ORM, raw SQL
or a cascade made it. So no writer can change a history without the counts following: an erased member leaves them, too.

The same triggers delete the history of a member whose settings turn personalization off, or are deleted. Otherwise a
writer that changes the settings directly would leave the member in the counts. Without settings, the member is learned
from only if PERSONALIZATION_CONSENT is opt_out, and then from nothing: their choice before is gone.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db import connection

from monitoring.transactions import write_transaction
from recommendations.models import CoLikes, HistoryChange, PrivacySettings, ReactionHistory
from recommendations.stores.change_log import postgres_trigger, trigger_name

HISTORY_TABLE, CHANGE_TABLE, COUNT_TABLE = (model._meta.db_table for model in (ReactionHistory, HistoryChange, CoLikes))
PREFIX = "follow"
"""Start of the triggers' names. The change log has a trigger of its own on the privacy settings."""


@write_transaction
def install_triggers(**_: object) -> None:
    """Create the triggers. Runs after every migration: on SQLite, changing a table creates it again without them."""
    statements = sqlite_statements() if connection.vendor == "sqlite" else postgres_statements()
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def sqlite_statements() -> Iterable[str]:
    """Yield the statements that install the triggers on SQLite, where a trigger runs once per row."""
    insert = f"INSERT INTO {CHANGE_TABLE} (before, after) VALUES"
    delete_history = f"DELETE FROM {HISTORY_TABLE} WHERE member_id ="
    for model, event, condition, action in (
        (ReactionHistory, "INSERT", "", f"{insert} (X'', NEW.reactions)"),
        (
            ReactionHistory,
            "UPDATE",
            "WHEN OLD.reactions IS NOT NEW.reactions",
            f"{insert} (OLD.reactions, NEW.reactions)",
        ),
        (ReactionHistory, "DELETE", "", f"{insert} (OLD.reactions, X'')"),
        (PrivacySettings, "INSERT", "WHEN NOT NEW.is_personalized", f"{delete_history} NEW.member_id"),
        (PrivacySettings, "UPDATE", "WHEN NOT NEW.is_personalized", f"{delete_history} NEW.member_id"),
        (PrivacySettings, "DELETE", "", f"{delete_history} OLD.member_id"),
    ):
        name = trigger_name(model, event, PREFIX)
        yield f"DROP TRIGGER IF EXISTS {name}"
        yield f"CREATE TRIGGER {name} AFTER {event} ON {model._meta.db_table} {condition} BEGIN {action}; END"


def postgres_statements() -> Iterable[str]:
    """Yield the statements that install the triggers on PostgreSQL, where a trigger runs once per statement."""
    insert = f"INSERT INTO {CHANGE_TABLE} (before, after)"
    joined = "FROM old_rows JOIN new_rows USING (member_id) WHERE old_rows.reactions <> new_rows.reactions"
    old, new = "OLD TABLE AS old_rows", "NEW TABLE AS new_rows"
    delete_histories = f"DELETE FROM {HISTORY_TABLE} WHERE member_id IN"
    for model, event, referencing, action in (
        (ReactionHistory, "INSERT", new, f"{insert} SELECT '', reactions FROM new_rows"),
        (ReactionHistory, "UPDATE", f"{old} {new}", f"{insert} SELECT old_rows.reactions, new_rows.reactions {joined}"),
        (ReactionHistory, "DELETE", old, f"{insert} SELECT reactions, '' FROM old_rows"),
        *(
            (
                PrivacySettings,
                event,
                new,
                f"{delete_histories} (SELECT member_id FROM new_rows WHERE NOT is_personalized)",
            )
            for event in ("INSERT", "UPDATE")
        ),
        (PrivacySettings, "DELETE", old, f"{delete_histories} (SELECT member_id FROM old_rows)"),
    ):
        yield from postgres_trigger(model, event, action, f"REFERENCING {referencing}", prefix=PREFIX)
    # A TRUNCATE has no rows to take back one by one.
    clear_counts = f"DELETE FROM {CHANGE_TABLE}; DELETE FROM {COUNT_TABLE}"
    yield from postgres_trigger(ReactionHistory, "TRUNCATE", clear_counts, "", prefix=PREFIX)
