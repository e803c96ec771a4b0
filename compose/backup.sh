#!/usr/bin/env bash
# Backs up the request log, beside a running gateway, and checks that what was written can be read again.
#
#   backup.sh postgresql://user:password@host:5432/database    schema `tidegate`, as pg_dump's custom format
#   backup.sh /var/lib/tidegate/data/tidegate.db                a SQLite file, or tidegate.responses.db beside it
#   backup.sh                                                   what DATABASE_URL, or else SQLITE, names
#
# From the environment:
#   BACKUP_FOLDER     where backups go                                        (./backups)
#   BACKUP_KEEP       how many are kept of one kind                           (14)
#   BACKUP_PAYLOADS   yes: with the stored texts of requests and answers      (no)
#   BACKUP_METRICS    a file for node_exporter's textfile collector           (none)
#
# Exit codes: 0 done, 1 the backup failed, 2 a call that makes no sense, 3 what was written cannot be read, 4 another
# backup is running or the folder cannot be written. Nothing old is removed unless the new one is good.
set -euo pipefail
umask 077

say() { printf 'backup: %s\n' "$*" >&2; }
leave() { local code=$1; shift; say "$*"; exit "$code"; }

[ $# -le 1 ] || leave 2 "one argument: a postgresql:// address or a SQLite file"
source=${1:-${DATABASE_URL:-${SQLITE:-}}}
[ -n "$source" ] || leave 2 "what is to be backed up? Name a postgresql:// address or a SQLite file"
folder=${BACKUP_FOLDER:-backups}
keep=${BACKUP_KEEP:-14}
[[ $keep =~ ^[1-9][0-9]*$ ]] || leave 2 "BACKUP_KEEP is a number from 1 on, not \`$keep\`"

case $source in
  postgres://* | postgresql://*) store=postgres suffix=dump base=tidegate ;;
  *://*) leave 2 "neither a postgresql:// address nor a file" ;;
  *) store=sqlite suffix=db base=$(basename "$source" .db) ;;
esac

backups() { find "$folder" -maxdepth 1 -type f -name "$base-$store-*.$suffix" 2>/dev/null | sort -r; }

# For node_exporter, also when this fails: when the last good backup was made, and what came of this one.
started=$SECONDS
metrics() {
  local code=$? newest time=0 bytes=0
  [ -z "${part:-}" ] || rm -f -- "$part" "$part-journal"
  [ -n "${BACKUP_METRICS:-}" ] || exit "$code"
  newest=$(backups)
  newest=${newest%%$'\n'*}
  if [ -n "$newest" ]; then
    time=$(stat -c %Y "$newest")
    bytes=$(stat -c %s "$newest")
  fi
  {
    echo "# HELP tidegate_backup_last_success_timestamp_seconds When the newest good backup was made."
    echo "# TYPE tidegate_backup_last_success_timestamp_seconds gauge"
    echo "tidegate_backup_last_success_timestamp_seconds{store=\"$store\"} $time"
    echo "# HELP tidegate_backup_size_bytes How large the newest good backup is."
    echo "# TYPE tidegate_backup_size_bytes gauge"
    echo "tidegate_backup_size_bytes{store=\"$store\"} $bytes"
    echo "# HELP tidegate_backup_last_exit_code What the latest backup ended with; 0 is good."
    echo "# TYPE tidegate_backup_last_exit_code gauge"
    echo "tidegate_backup_last_exit_code{store=\"$store\"} $code"
    echo "# HELP tidegate_backup_last_duration_seconds How long the latest backup took."
    echo "# TYPE tidegate_backup_last_duration_seconds gauge"
    echo "tidegate_backup_last_duration_seconds{store=\"$store\"} $((SECONDS - started))"
  } >"$BACKUP_METRICS.part" || exit "$code"
  chmod 644 "$BACKUP_METRICS.part"
  mv "$BACKUP_METRICS.part" "$BACKUP_METRICS"
  exit "$code"
}
trap metrics EXIT

mkdir -p "$folder" || leave 4 "$folder cannot be made"
exec 9>"$folder/.lock" || leave 4 "$folder cannot be written"
flock --nonblock 9 || leave 4 "another backup is running"
name=$base-$store-$(date -u +%Y%m%dT%H%M%SZ).$suffix
part=$folder/.$name.part

if [ "$store" = postgres ]; then
  # The password is not for the list of processes, and some parameters are known to Prisma only.
  address=$source
  if [[ $address =~ ^(postgres(ql)?://[^:/@]*):([^@/]*)@(.*)$ ]]; then
    address=${BASH_REMATCH[1]}@${BASH_REMATCH[4]} password=${BASH_REMATCH[3]}
    PGPASSWORD=$(printf '%b' "${password//%/\\x}")
    export PGPASSWORD
  fi
  address=$(sed -E 's/([?&])(connection_limit|pool_timeout|schema|pgbouncer|statement_cache_size|socket_timeout)=[^&]*/\1/g
    s/&+/\&/g; s/\?&/?/; s/[?&]$//' <<<"$address")
  without=(--exclude-table-data='tidegate.request_payloads*')
  [ "${BACKUP_PAYLOADS:-no}" != yes ] || without=()
  pg_dump --format=custom --schema=tidegate --no-owner --no-acl --lock-wait-timeout=60s \
    "${without[@]}" --file="$part" "$address" || leave 1 "pg_dump failed"
  contents=$(pg_restore --list "$part") || leave 3 "the dump cannot be read"
  [[ $contents == *" TABLE tidegate request_logs "* ]] || leave 3 "the dump has no table tidegate.request_logs"
  # Every row is read once more: a dump that was cut short has a good list.
  pg_restore --file=/dev/null "$part" || leave 3 "the dump cannot be read to its end"
else
  [ -f "$source" ] || leave 2 "$source is not a file"
  # Written as a whole and compact; the gateway goes on writing meanwhile.
  sqlite3 -bail -cmd '.timeout 10000' "$source" "VACUUM INTO '${part//\'/\'\'}'" || leave 1 "sqlite3 failed"
  tables=$(sqlite3 -readonly "$part" "SELECT name FROM sqlite_schema WHERE type = 'table'") || leave 3 "the copy is damaged"
  grep -qxE 'request_logs|responses' <<<"$tables" || leave 3 "$source is no request log"
  if [ "${BACKUP_PAYLOADS:-no}" != yes ] && grep -qx request_payloads <<<"$tables"; then
    sqlite3 -bail "$part" 'DELETE FROM request_payloads; VACUUM' || leave 1 "the texts could not be left out"
  fi
  [ "$(sqlite3 -readonly "$part" 'PRAGMA integrity_check')" = ok ] || leave 3 "the copy is damaged"
fi

mv "$part" "$folder/$name" || leave 4 "$folder cannot be written"
backups | tail -n "+$((keep + 1))" | while IFS= read -r old; do rm -f -- "$old"; done
say "$folder/$name, $(stat -c %s "$folder/$name") bytes, $(backups | wc -l) kept"
