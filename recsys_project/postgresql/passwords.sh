#!/bin/sh
# Gives the roles of roles.sql their passwords. The image of PostgreSQL runs it once, when the database is created.
set -eu
psql --set ON_ERROR_STOP=1 --quiet --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
    --set owner="$DATABASE_OWNER_PASSWORD" --set application="$DATABASE_PASSWORD" --set reader="$DATABASE_READER_PASSWORD" <<'SQL'
ALTER ROLE recsys_owner PASSWORD :'owner';
ALTER ROLE recsys_application PASSWORD :'application';
ALTER ROLE recsys_reader PASSWORD :'reader';
SQL
