#!/bin/sh
# Makes deploy/.env and deploy/secrets once: passwords nobody has seen, for the eyes of this user and of the containers.
# What is there stays as it is: remove a file to have it made anew (and tell the server that knew the old password).
set -eu
cd "$(dirname "$0")"
umask 077
drawn() { head -c 32 /dev/urandom | od -An -v -t x1 | tr -d ' \n'; }

[ -e .env ] || cp .env.example .env
# Nobody but this user gets through the folder; a container sees the one file that it is handed, as a user of its own.
mkdir -p secrets
[ -e secrets/postgres_password ] || drawn >secrets/postgres_password
[ -e secrets/redis_password ] || drawn >secrets/redis_password
rows=$(cat secrets/postgres_password) queue=$(cat secrets/redis_password)
[ -e secrets/redis.conf ] || cat >secrets/redis.conf <<END
requirepass $queue
dir /data
appendonly yes
appendfsync everysec
save ""
maxmemory 768mb
maxmemory-policy noeviction
END
[ -e secrets/store.env ] || echo "QFRAME_STORE=postgresql://qframe:$rows@postgres:5432/qframe" >secrets/store.env
[ -e secrets/sink.env ] || cat >secrets/sink.env <<END
QFRAME_RELAY_FROM=redis://:$queue@redis:6379/0
QFRAME_RELAY_TO=postgresql://qframe:$rows@postgres:5432/qframe
END
[ -e secrets/keys.env ] || cat >secrets/keys.env <<'END'
# Keys of exchanges and messengers, for sessions alone, such as
# BINANCE_API_KEY=...
# BINANCE_SECRET=...
# QFRAME_ACCOUNT_MAIN_API_KEY=...
# APPRISE_URLS=...
END
chmod 0444 secrets/postgres_password secrets/redis.conf
chmod 0600 .env secrets/redis_password secrets/store.env secrets/sink.env secrets/keys.env
echo "ready: settings in $(pwd)/.env, secrets in $(pwd)/secrets"
