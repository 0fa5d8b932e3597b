#!/usr/bin/env bash
# The Kotlin API on the JVM of this machine: golden cases, life cycle, the API dump. Installs a JDK and Maven if missing.
set -uo pipefail
cd "$(dirname "$0")/.."
if ! command -v mvn >/dev/null || ! command -v javap >/dev/null; then
    { apt-get -o Acquire::Retries=5 update -qq && apt-get -o Acquire::Retries=5 install -y -qq --no-install-recommends \
        openjdk-17-jdk-headless maven >/dev/null; } ||
        { echo "SKIPPED: no JDK and Maven here, and they cannot be installed"; exit 0; }
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
bindings-android/build.sh 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
# Nothing that this repository does wrong reads so.
if [ "$status" -ne 0 ] && grep -q 'Could not transfer artifact' "$log"; then
    echo "SKIPPED: Maven's repository cannot be reached"
    exit 0
fi
[ "$status" -eq 0 ] || exit "$status"
reports=bindings-android/pocketbert/target/surefire-reports
echo "$(cat $reports/TEST-*.xml | grep -c '<testcase ') tests on the JVM passed; the API is that of api.txt"
