#!/usr/bin/env bash
# Runs once, when the database is made: a role that reads and never writes, for Grafana and the MCP server. What it may read, the
# gateway says (`reader_role`).
set -euo pipefail
password=$(cat "${READER_PASSWORD_FILE:-/run/secrets/reader_password}")
psql --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --set ON_ERROR_STOP=1 --set password="$password" <<'SQL'
CREATE ROLE tidegate_ro LOGIN PASSWORD :'password' NOSUPERUSER NOCREATEDB NOCREATEROLE CONNECTION LIMIT 20;
ALTER ROLE tidegate_ro SET default_transaction_read_only = on;
ALTER ROLE tidegate_ro SET statement_timeout = '30s';
SQL
