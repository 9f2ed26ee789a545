#!/bin/sh
# Gives the roles of roles.sql their passwords, from files. The image of PostgreSQL runs it once, when the database is
# created.
set -eu
SECRETS=${SECRETS_DIR:-/run/secrets}
psql --set ON_ERROR_STOP=1 --quiet --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
    --set owner="$(cat "$SECRETS/database_owner_password")" \
    --set application="$(cat "$SECRETS/database_password")" \
    --set reader="$(cat "$SECRETS/database_reader_password")" <<'SQL'
ALTER ROLE recsys_owner PASSWORD :'owner';
ALTER ROLE recsys_application PASSWORD :'application';
ALTER ROLE recsys_reader PASSWORD :'reader';
SQL
