#!/usr/bin/env bash
# Puts a backup of the request log back, and keeps what was there before under another name.
#
#   restore.sh FILE.dump postgresql://user:password@host:5432/database
#   restore.sh FILE.db /var/lib/tidegate/data/tidegate.db
#
# --replace, in front, is needed where there is a request log already. PostgreSQL: the gateway may run; rows that come
# meanwhile wait in its spool. SQLite: stop the gateway first.
#
# Exit codes: 0 done, 1 it failed and nothing changed, 2 a call that makes no sense, 3 the backup cannot be read, 5 there is
# a request log already, or the gateway has it open.
set -euo pipefail
umask 077

say() { printf 'restore: %s\n' "$*" >&2; }
leave() { local code=$1; shift; say "$*"; exit "$code"; }

replace=no
if [ "${1:-}" = --replace ]; then
  replace=yes
  shift
fi
[ $# -eq 2 ] || leave 2 "two arguments: the backup, and where it goes (a postgresql:// address or a SQLite file)"
backup=$1 target=$2
[ -f "$backup" ] || leave 2 "$backup is not a file"
before=before_$(date -u +%Y%m%dT%H%M%SZ)

restore_postgres() {
  local address=$1 password old
  pg_restore --file=/dev/null "$backup" || leave 3 "$backup cannot be read to its end"
  # The password is not for the list of processes, and some parameters are known to Prisma only.
  if [[ $address =~ ^(postgres(ql)?://[^:/@]*):([^@/]*)@(.*)$ ]]; then
    address=${BASH_REMATCH[1]}@${BASH_REMATCH[4]} password=${BASH_REMATCH[3]}
    PGPASSWORD=$(printf '%b' "${password//%/\\x}")
    export PGPASSWORD
  fi
  address=$(sed -E 's/([?&])(connection_limit|pool_timeout|schema|pgbouncer|statement_cache_size|socket_timeout)=[^&]*/\1/g
    s/&+/\&/g; s/\?&/?/; s/[?&]$//' <<<"$address")
  sql() { psql --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 "$address" "$@"; }

  old=$(sql --command "SELECT count(*) FROM pg_namespace WHERE nspname = 'tidegate'") ||
    leave 1 "the database does not answer"
  if [ "$old" != 0 ] && [ "$replace" = no ]; then
    leave 5 "there is a schema tidegate already: --replace keeps it as tidegate_$before"
  fi
  # One transaction: a gateway that runs finds either the old tables or the new ones. Without COMMIT at its end nothing is.
  {
    echo "BEGIN; SET LOCAL lock_timeout = '30s';"
    [ "$old" = 0 ] || echo "ALTER SCHEMA tidegate RENAME TO tidegate_$before;"
    pg_restore --no-owner --no-acl --file=- "$backup"
    # Who might read may read on: `reader_role`, and whom somebody let in by hand.
    [ "$old" = 0 ] || cat <<SQL
DO \$\$
DECLARE
  given text;
BEGIN
  FOR given IN
    SELECT format('GRANT %s ON SCHEMA tidegate TO %s', privilege_type, grantee::regrole)
    FROM pg_namespace its, aclexplode(nspacl) WHERE its.oid = 'tidegate_$before'::regnamespace AND grantee NOT IN (0, nspowner)
    UNION ALL
    SELECT format('GRANT %s ON tidegate.%I TO %s', privilege_type, relname, grantee::regrole)
    FROM pg_class, aclexplode(relacl)
    WHERE relnamespace = 'tidegate_$before'::regnamespace AND relkind IN ('r', 'p', 'v') AND grantee NOT IN (0, relowner)
      AND to_regclass(format('tidegate.%I', relname)) IS NOT NULL
  LOOP
    EXECUTE given;
  END LOOP;
END
\$\$;
SQL
    # The short name, which stands outside of the schema. Whoever may not make it does without.
    cat <<'SQL'
DO $$
BEGIN
  EXECUTE 'CREATE OR REPLACE VIEW public.litellm_logs AS SELECT * FROM tidegate.litellm_logs';
EXCEPTION
  WHEN insufficient_privilege OR invalid_schema_name OR wrong_object_type OR invalid_table_definition THEN
    RAISE WARNING 'public.litellm_logs was not made; use tidegate.litellm_logs';
END
$$;
SQL
    echo "COMMIT;"
  } | sql --output=/dev/null || leave 1 "it failed; nothing changed"
  say "done: $(sql --command 'SELECT count(*) FROM tidegate.request_logs') rows"
  [ "$old" = 0 ] || say "what was there before: DROP SCHEMA tidegate_$before CASCADE"
}

restore_sqlite() {
  local file=$1 suffix tables
  [ "$(sqlite3 -readonly "$backup" 'PRAGMA integrity_check' 2>/dev/null)" = ok ] || leave 3 "$backup is damaged"
  tables=$(sqlite3 -readonly "$backup" "SELECT name FROM sqlite_schema WHERE name IN ('request_logs', 'responses')")
  [ -n "$tables" ] || leave 3 "$backup is no request log"
  mkdir -p "$(dirname "$file")"
  file=$(realpath -m "$file")
  if [ -e "$file" ]; then
    [ "$replace" = yes ] || leave 5 "$file is there already: --replace keeps it as $file.$before"
    if [ -n "$(find /proc/[0-9]*/fd -lname "$file" -print -quit 2>/dev/null)" ]; then
      leave 5 "$file is open: stop the gateway first"
    fi
  fi
  cp "$backup" "$file.part"
  [ ! -e "$file" ] || chown --reference="$file" "$file.part" 2>/dev/null || true
  [ ! -e "$file" ] || chmod --reference="$file" "$file.part"
  # What SQLite keeps beside the file belongs to the old one.
  for suffix in "" -wal -shm; do
    [ ! -e "$file$suffix" ] || mv "$file$suffix" "$file.$before$suffix"
  done
  mv "$file.part" "$file"
  say "done: $(sqlite3 -readonly "$file" "SELECT count(*) FROM ${tables%%$'\n'*}") rows"
  [ ! -e "$file.$before" ] || say "what was there before: $file.$before"
}

case $target in
  postgres://* | postgresql://*) restore_postgres "$target" ;;
  *://*) leave 2 "neither a postgresql:// address nor a file" ;;
  *) restore_sqlite "$target" ;;
esac
