#!/usr/bin/env bash
# The ACLs that the daemon needs, all below the prefix of one migration (`log.prefix`). Adding them again changes nothing.
#
#   roles/kafka.sh --principal User:driftless --prefix shop -- --bootstrap-server kafka:9092 --command-config admin.properties
#
# `driftless uninstall` deletes topics and groups, which these rights do not allow: an administrator runs it.
# Arguments after `--` go to kafka-acls.sh, which must be on the PATH; KAFKA_ACLS names another program.
set -euo pipefail

usage() {
  sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
  exit 2
}

principal='' prefix=''
while [[ ${1:-} == --?* && $# -ge 2 ]]; do
  case $1 in
    --principal) principal=$2 ;;
    --prefix) prefix=$2 ;;
    *) usage ;;
  esac
  shift 2
done
[[ -n $principal && -n $prefix && ${1:-} == -- ]] || usage
connection=("${@:2}")

allow() {
  "${KAFKA_ACLS:-kafka-acls.sh}" "${connection[@]}" --add --force --allow-principal "$principal" "$@"
}

# The topics of the collections and the state topic.
allow --operation Read --operation Write --operation Create --operation Describe --operation DescribeConfigs \
  --topic "$prefix." --resource-pattern-type prefixed
# The leader's group and those of the sinks.
allow --operation Read --operation Describe --group "$prefix." --resource-pattern-type prefixed
# One writer per source stream.
allow --operation Write --operation Describe --transactional-id "$prefix." --resource-pattern-type prefixed
allow --operation IdempotentWrite --cluster
