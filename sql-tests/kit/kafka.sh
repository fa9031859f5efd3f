#!/bin/sh
# A one-node Apache Kafka 3.9.1 broker (KRaft) on 127.0.0.1 for tests.
#
#   kafka.sh fetch              get the jars into the cache (once; needs Maven and a JDK >= 17)
#   kafka.sh start DIR PORT     start a broker with its data in DIR; prints its bootstrap address
#   kafka.sh stop DIR           stop it (DIR is kept)
#   kafka.sh topic DIR NAME PARTITIONS [KEY=VALUE ...]   create a topic, if it is not there
#
# PORT+1 is taken by the controller, PORT+2 by a listener with TLS and SASL: PLAIN for the
# user alice (password plain-secret), SCRAM-SHA-512 for bob (scram-secret); the certificate to
# trust is DIR/broker.pem. Starting a running broker prints its address again.
# A stopped broker started in the same DIR keeps its topics. Exit code 77: this machine
# cannot have the broker (message on stderr); 1: anything else that went wrong.
set -eu

VERSION=3.9.1
KIT=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
CACHE=${HEADWATER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/headwater}
LIBS=$CACHE/kafka-$VERSION
START_WAIT_S=${KAFKA_START_WAIT_S:-90}
STOP_WAIT_S=20
# Quick to start; a broker that has to be fast for long is better off with the JVM's own choice.
JVM_OPTIONS=${KAFKA_JVM_OPTIONS:--XX:TieredStopAtLevel=1 -XX:+UseSerialGC}
FETCH_WAIT_S=${KAFKA_FETCH_WAIT_S:-900}

cannot() {
    printf '\n*** kafka.sh: no Kafka broker: %s\n\n' "$*" >&2
    exit 77
}

fail() {
    printf 'kafka.sh: %s\n' "$*" >&2
    exit 1
}

usage() {
    sed -n '2,14s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

# The first java of version 17 or later: JAVA_HOME, PATH, then the usual places.
find_java() {
    for java in "${JAVA_HOME:-/nonexistent}/bin/java" "$(command -v java || true)" \
        /usr/lib/jvm/*/bin/java; do
        [ -x "$java" ] || continue
        major=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
        if [ "${major:-0}" -ge 17 ]; then
            JAVA=$java
            return 0
        fi
    done
    cannot "no JDK of version 17 or later found; install openjdk-17-jre-headless or set JAVA_HOME"
}

fetch() {
    [ -f "$LIBS/complete" ] && return 0
    find_java
    command -v mvn >/dev/null 2>&1 || cannot "Maven (mvn) is not installed; install the package 'maven'"
    mkdir -p "$CACHE"
    part=$(mktemp -d "$CACHE/kafka-$VERSION.part.XXXXXX")
    trap 'rm -rf "$part"' EXIT
    printf 'kafka.sh: fetching Kafka %s with Maven\n' "$VERSION" >&2
    JAVA_HOME=$(dirname "$(dirname "$(readlink -f "$JAVA")")")
    export JAVA_HOME
    timeout "$FETCH_WAIT_S" mvn -q -B -f "$KIT/pom.xml" dependency:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$part" >"$CACHE/kafka-fetch.log" 2>&1 || {
        tail -n 20 "$CACHE/kafka-fetch.log" >&2
        cannot "Maven could not fetch the jars (log: $CACHE/kafka-fetch.log)"
    }
    touch "$part/complete"
    # Another run may have been faster; either copy is good.
    if [ ! -f "$LIBS/complete" ]; then
        rm -rf "$LIBS"
        mv "$part" "$LIBS"
    fi
    rm -rf "$part"
    trap - EXIT
}

running() {
    [ -f "$1/kafka.pid" ] || return 1
    pid=$(cat "$1/kafka.pid")
    [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null
}

# A key pair of the broker's own, and its certificate for clients.
write_certificate() {
    dir=$1
    [ -f "$dir/broker.pem" ] && return 0
    tool=$(dirname "$(readlink -f "$JAVA")")/keytool
    "$tool" -genkeypair -alias broker -keyalg RSA -keysize 2048 -validity 30 -dname CN=127.0.0.1 \
        -ext san=ip:127.0.0.1 -storetype PKCS12 -keystore "$dir/broker.p12" \
        -storepass key-secret >"$dir/keytool.log" 2>&1 &&
        "$tool" -exportcert -rfc -alias broker -keystore "$dir/broker.p12" \
            -storepass key-secret >"$dir/broker.pem" 2>>"$dir/keytool.log" || {
        cat "$dir/keytool.log" >&2
        fail "cannot make a certificate"
    }
}

write_configuration() {
    dir=$1
    port=$2
    controller=$((port + 1))
    secure=$((port + 2))
    cat >"$dir/server.properties" <<CONF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller,SECURE://127.0.0.1:$secure
advertised.listeners=PLAINTEXT://127.0.0.1:$port,SECURE://127.0.0.1:$secure
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.secure.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_alice="plain-secret";
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.type=PKCS12
ssl.keystore.location=$dir/broker.p12
ssl.keystore.password=key-secret
log.dirs=$dir/data
num.partitions=4
auto.create.topics.enable=false
delete.topic.enable=true
group.initial.rebalance.delay.ms=0
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
transaction.max.timeout.ms=3600000
message.max.bytes=20971520
replica.fetch.max.bytes=20971520
# Records with timestamps of long ago are test data too: nothing is deleted by age unless a
# topic sets retention.ms itself.
log.retention.ms=-1
log.retention.check.interval.ms=1000
log.segment.delete.delay.ms=1000
file.delete.delay.ms=1000
CONF
    cat >"$dir/log4j.properties" <<CONF
log4j.rootLogger=INFO, file
log4j.appender.file=org.apache.log4j.FileAppender
log4j.appender.file.File=$dir/kafka.log
log4j.appender.file.layout=org.apache.log4j.PatternLayout
log4j.appender.file.layout.ConversionPattern=[%d] %p %m (%c)%n
CONF
}

start() {
    [ $# -eq 2 ] || usage
    case $2 in '' | *[!0-9]*) usage ;; esac
    mkdir -p "$1"
    dir=$(CDPATH='' cd -- "$1" && pwd)
    if running "$dir"; then
        cat "$dir/kafka.address"
        return 0
    fi
    fetch
    find_java
    write_certificate "$dir"
    write_configuration "$dir" "$2"
    if [ ! -f "$dir/data/meta.properties" ]; then
        id=$("$JAVA" -cp "$LIBS/*" kafka.tools.StorageTool random-uuid 2>/dev/null | tail -n 1)
        "$JAVA" -cp "$LIBS/*" kafka.tools.StorageTool format -t "$id" \
            --add-scram 'SCRAM-SHA-512=[name=bob,password=scram-secret]' \
            -c "$dir/server.properties" >"$dir/format.log" 2>&1 || {
            cat "$dir/format.log" >&2
            fail "cannot format $dir/data"
        }
    fi
    : >"$dir/kafka.log"
    # shellcheck disable=SC2086 # several options are several words
    nohup "$JAVA" -Xms256m -Xmx1g $JVM_OPTIONS \
        -Dlog4j.configuration="file:$dir/log4j.properties" -cp "$LIBS/*" \
        kafka.Kafka "$dir/server.properties" >"$dir/kafka.out" 2>&1 </dev/null &
    echo $! >"$dir/kafka.pid"
    waited=0
    until grep -q 'Kafka Server started' "$dir/kafka.log" 2>/dev/null; do
        if ! running "$dir" || [ "$waited" -ge $((START_WAIT_S * 5)) ]; then
            tail -n 20 "$dir/kafka.log" "$dir/kafka.out" >&2
            stop "$dir"
            fail "the broker did not start within $START_WAIT_S s (logs in $dir)"
        fi
        sleep 0.2
        waited=$((waited + 1))
    done
    echo "127.0.0.1:$2" | tee "$dir/kafka.address"
}

stop() {
    [ $# -eq 1 ] || usage
    if running "$1"; then
        pid=$(cat "$1/kafka.pid")
        kill "$pid" 2>/dev/null || true
        waited=0
        while kill -0 "$pid" 2>/dev/null; do
            if [ "$waited" -ge $((STOP_WAIT_S * 5)) ]; then
                kill -9 "$pid" 2>/dev/null || true
                break
            fi
            sleep 0.2
            waited=$((waited + 1))
        done
    fi
    rm -f "$1/kafka.pid" "$1/kafka.address"
}

topic() {
    [ $# -ge 3 ] || usage
    running "$1" || fail "no broker runs in $1"
    find_java
    address=$(cat "$1/kafka.address")
    name=$2
    partitions=$3
    shift 3
    configs=
    for pair in "$@"; do
        configs="$configs --config $pair"
    done
    # shellcheck disable=SC2086 # each --config is two words on purpose
    "$JAVA" -cp "$LIBS/*" org.apache.kafka.tools.TopicCommand --bootstrap-server "$address" \
        --create --if-not-exists --topic "$name" --partitions "$partitions" $configs >&2
}

command=${1:-}
[ $# -gt 0 ] && shift
case $command in
fetch) fetch ;;
start) start "$@" ;;
stop) stop "$@" ;;
topic) topic "$@" ;;
*) usage ;;
esac
