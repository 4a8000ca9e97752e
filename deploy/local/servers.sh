# shellcheck shell=bash disable=SC2154
# Part of `stack`, sourced by it: how a process is started, recognised, awaited
# and stopped, and what is special about each server.

# ---------------------------------------------------------------- processes

# Prints the state letter and the start time of a process, nothing when it is gone.
process_stat() {
  local stat
  { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 0
  # After the program's name in parentheses: fields 3 (state) to 22 (start time).
  read -r -a stat <<<"${stat##*) }"
  echo "${stat[0]} ${stat[19]}"
}

# Distinguishes a process from a later one with the same number.
identity() {
  local stat
  stat=$(process_stat "$1")
  [[ -z $stat ]] || echo "$(</proc/sys/kernel/random/boot_id) ${stat#* }"
}

pid_of() { cat "$DIR/$1/pid" 2>/dev/null; }

# True when the process that this instance recorded for the server still runs. While
# other threads of a killed process end, its first one is a zombie already, but ports and
# files are not free yet.
running() {
  local pid stat threads
  pid=$(pid_of "$1") || return 1
  [[ $pid =~ ^[0-9]+$ ]] || return 1
  stat=$(process_stat "$pid")
  threads=("/proc/$pid/task"/*)
  [[ -n $stat ]] && { [[ ${stat%% *} != [ZX] ]] || ((${#threads[@]} > 1)); } || return 1
  [[ $(identity "$pid") == "$(cat "$DIR/$1/identity" 2>/dev/null)" ]]
}

# launch SERVER COMMAND...: starts a detached process, records it. The locks
# are closed in it: they must not outlive this script.
launch() {
  local server=$1 pid
  shift
  (cd / && exec setsid "$@") >>"$DIR/$server/log" 2>&1 </dev/null 8>&- 9>&- &
  pid=$!
  identity "$pid" >"$DIR/$server/identity"
  echo "$pid" >"$DIR/$server/pid.new"
  mv "$DIR/$server/pid.new" "$DIR/$server/pid"
}

# The signal that stops a server in a given mode.
stop_signal() {
  case $2/$1 in
    fast/postgres) echo INT ;;
    fast/*) echo TERM ;;
    immediate/postgres) echo QUIT ;;
    *) echo KILL ;;
  esac
}

stop_server() {
  local server=$1 mode=$2 pid deadline
  if running "$server"; then
    pid=$(pid_of "$server")
    kill -s "$(stop_signal "$server" "$mode")" "$pid" || true
    deadline=$((SECONDS + STOP_SECONDS))
    while running "$server"; do
      if ((SECONDS >= deadline)); then
        say "$server did not stop within $STOP_SECONDS s: killing it"
        kill -s KILL "$pid" || true
        deadline=$((SECONDS + STOP_SECONDS))
      fi
      sleep 0.05
    done
    [[ $server != postgres ]] || { place_postgres && end_orphans; }
    say "$server stopped"
  fi
  rm -f "$DIR/$server/pid" "$DIR/$server/identity"
}

probe() { PYTHONPATH=$CACHE/pymongo-$PYMONGO_VERSION python3 -B "$HERE/probe.py" "$@"; }

# Waits until the server answers; on failure shows the end of its log.
await() {
  local server=$1 pid status=0
  pid=$(pid_of "$server")
  probe "$server" "$(port "$server")" --pid "$pid" --timeout "$START_SECONDS" || status=$?
  report_start "$server" "$status"
}

report_start() {
  case $2 in
    0) say "$1 is ready on port $(port "$1")" && return ;;
    2) say "$1 ended while it started" ;;
    *) say "$1 did not answer within $START_SECONDS s" ;;
  esac
  say "the end of $DIR/$1/log:"
  tail -n "$LOG_LINES" "$DIR/$1/log" >&2
  return 1
}

# ---------------------------------------------------------------- MongoDB

launch_mongo() {
  local member=$1 cache_gb=0.5
  ((MEMBERS == 1)) || cache_gb=0.25
  mkdir -p "$DIR/$member/data"
  # A member that stops would wait 15 s for its clients to look elsewhere.
  launch "$member" "$CACHE/mongodb-$MONGO_VERSION/mongod" \
    --dbpath "$DIR/$member/data" --port "$(port "$member")" --bind_ip 127.0.0.1 --nounixsocket \
    --replSet rs0 --wiredTigerCacheSizeGB "$cache_gb" --oplogSize 4096 \
    --setParameter enableTestCommands=0 \
    --setParameter diagnosticDataCollectionEnabled=false \
    --setParameter shutdownTimeoutMillisForSignaledShutdown=100
}

# await_mongo MEMBER...: waits for the set: those members that run answer and,
# when they are a majority, one of them is primary. Initiates a new set.
await_mongo() {
  local member status=0 ports pids=() running_ports=()
  for member in $(members); do
    running "$member" || continue
    pids+=("$(pid_of "$member")")
    running_ports+=("$(port "$member")")
  done
  mapfile -t ports < <(member_ports)
  probe mongo "${ports[@]}" --running "${running_ports[@]}" --pid "${pids[@]}" \
    --timeout "$START_SECONDS" || status=$?
  for member in "$@"; do
    running "$member" || { report_start "$member" 2 || return 1; }
    report_start "$member" "$status" || return 1
  done
}

# ---------------------------------------------------------------- Kafka

kafka_java() {
  "$(java_home)/bin/java" -Dlog4j2.configurationFile="$HERE/kafka-log4j2.properties" \
    -cp "$CACHE/kafka-$KAFKA_VERSION/*" "$@"
}

launch_kafka() {
  local config=$DIR/kafka/server.properties
  mkdir -p "$DIR/kafka"
  sed -e "s|@PORT@|$(port kafka)|; s|@CONTROLLER_PORT@|$(port controller)|" \
    -e "s|@DATA@|$DIR/kafka/data|" "$HERE/kafka-server.properties" >"$config"
  if [[ ! -e $DIR/kafka/data/meta.properties ]]; then
    kafka_java kafka.tools.StorageTool format -t "$(kafka_cluster_id)" -c "$config" \
      --ignore-formatted >>"$DIR/kafka/log" 2>&1 || { report_start kafka 2 || return 1; }
  fi
  launch kafka "$(java_home)/bin/java" -Xms256m -Xmx512m \
    -Dlog4j2.configurationFile="$HERE/kafka-log4j2.properties" \
    -cp "$CACHE/kafka-$KAFKA_VERSION/*" kafka.Kafka "$config"
}

# Kafka takes 22 characters of base64 for 16 bytes, the first one not a dash.
kafka_cluster_id() {
  python3 -c 'import base64, uuid
print("A" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22])'
}

# ---------------------------------------------------------------- PostgreSQL

# PostgreSQL refuses root: then it runs as another user.
postgres_user() {
  if ((EUID != 0)); then
    id -un
  elif id -u postgres >/dev/null 2>&1; then
    echo postgres
  else
    echo nobody
  fi
}

as_postgres() {
  local user
  if ((EUID != 0)); then
    "$@"
  else
    user=$(postgres_user)
    setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups -- "$@"
  fi
}

# Sets POSTGRES_BIN and POSTGRES_DATA. Both are in the usual places unless
# PostgreSQL's user cannot get there, as below a home folder of root: then
# both are in a folder for temporary files, whose name is recorded.
place_postgres() {
  local version=${POSTGRES_VERSIONS[$POSTGRES]} home=$DIR/postgres
  local binaries=$CACHE/postgres-$version
  mkdir -p "$home"
  if ! as_postgres test -x "$binaries/bin/postgres" || ! as_postgres test -x "$home"; then
    home=$(postgres_refuge)
    binaries=$home/postgres-$version
    [[ -d $binaries ]] || copy_binaries "$CACHE/postgres-$version" "$binaries"
  fi
  POSTGRES_BIN=$binaries/bin
  POSTGRES_DATA=$home/data-$POSTGRES
}

copy_binaries() {
  rm -rf "$2.new"
  cp -r "$1" "$2.new"
  mv "$2.new" "$2"
}

# Prints the recorded folder, or makes and records a new one.
postgres_refuge() {
  local record=$DIR/postgres/location folder parent
  folder=$(cat "$record" 2>/dev/null || true)
  if [[ -n $folder && -d $folder && -O $folder ]]; then
    echo "$folder"
    return
  fi
  [[ -z $folder ]] || say "$folder, where PostgreSQL's data was, is gone: starting with none"
  for parent in "${TMPDIR:-/tmp}" /tmp /var/tmp; do
    as_postgres test -x "$parent" || continue
    folder=$(mktemp -d "$parent/driftless-postgres-XXXXXX")
    chmod 755 "$folder"
    echo "$folder" >"$record"
    echo "$folder"
    return
  done
  die "found no folder that user $(postgres_user) can reach; set TMPDIR to one"
}

# Prints the processes of PostgreSQL's data folder, where all of them are at home.
postgres_processes() {
  local process
  for process in /proc/[0-9]*; do
    [[ $process/cwd -ef $POSTGRES_DATA && $process/exe -ef $POSTGRES_BIN/postgres ]] || continue
    echo "${process#/proc/}"
  done
}

# Waits for the processes that a killed postmaster left behind: no server starts beside them.
# Each ends when it notices; one that computes never does, and is killed. What is left then
# of the postmaster is a file with a number that another process may have by now.
end_orphans() {
  local deadline=$((SECONDS + ORPHAN_SECONDS)) file=$POSTGRES_DATA/postmaster.pid postmaster='' orphans
  [[ ! -r $file ]] || read -r postmaster <"$file" || true
  while mapfile -t orphans < <(postgres_processes) && ((${#orphans[@]})); do
    # A postmaster that runs has no orphans. It is not ours: PostgreSQL's log will say so.
    [[ " ${orphans[*]} " != *" $postmaster "* ]] || return 0
    if ((SECONDS >= deadline)); then
      say "PostgreSQL's processes ${orphans[*]} outlived their postmaster: killing them"
      kill -s KILL "${orphans[@]}" 2>/dev/null || true
      deadline=$((SECONDS + ORPHAN_SECONDS))
    fi
    sleep 0.05
  done
  rm -f "$file"
}

launch_postgres() {
  place_postgres
  end_orphans
  if [[ ! -e $POSTGRES_DATA/PG_VERSION ]]; then
    init_postgres >>"$DIR/postgres/log" 2>&1 || { report_start postgres 2 || return 1; }
  fi
  as_postgres_launch "$POSTGRES_BIN/postgres" -D "$POSTGRES_DATA" -p "$(port postgres)"
}

as_postgres_launch() {
  local user
  if ((EUID != 0)); then
    launch postgres "$@"
  else
    user=$(postgres_user)
    launch postgres setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups -- "$@"
  fi
}

# The data folder gets its name when it is complete.
init_postgres() {
  local fresh=$POSTGRES_DATA.new
  rm -rf "$fresh" &&
    mkdir -m 700 "$fresh" &&
    { ((EUID != 0)) || chown "$(postgres_user):" "$fresh"; } &&
    (cd / && as_postgres "$POSTGRES_BIN/initdb" -A trust -U postgres --locale=C.UTF-8 -E UTF8 \
      --no-instructions -D "$fresh") &&
    cat "$HERE/postgresql.conf" >>"$fresh/postgresql.conf" &&
    mv -T "$fresh" "$POSTGRES_DATA"
}

# ---------------------------------------------------------------- Prometheus

prometheus_program() {
  if [[ -x $CACHE/prometheus/prometheus ]]; then
    echo "$CACHE/prometheus/prometheus"
  else
    command -v prometheus
  fi
}

launch_prometheus() {
  local dir=$DIR/prometheus
  mkdir -p "$dir"
  [[ -e $dir/targets.json ]] || echo '[{"targets": ["127.0.0.1:9464"]}]' >"$dir/targets.json"
  sed -e "s|@RULES@|$ROOT/dashboards/*.rules.yml|" -e "s|@TARGETS@|$dir/targets.json|" \
    "$HERE/prometheus.yml" >"$dir/prometheus.yml"
  launch prometheus "$(prometheus_program)" --config.file="$dir/prometheus.yml" \
    --storage.tsdb.path="$dir/data" --web.listen-address="127.0.0.1:$(port prometheus)" \
    --web.enable-lifecycle
}
