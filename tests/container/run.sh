#!/usr/bin/env bash
# Builds the image, runs it by compose.yaml, calls, restarts, stops and kills it: for real, with a Docker engine.
#
# It needs `docker` with a running engine on this machine, `docker-compose` or `docker compose`, and curl; no account: the
# CLI in the container talks to `couplet upstream`. All that it starts it removes.
#
#   COUPLET_TEST_IMAGE=name     use this image and build none
#   COUPLET_TEST_BUILD='…'      arguments for `docker build`, as --network=host or --build-arg=DEBIAN_IMAGE=mirror/debian:12
#   COUPLET_TEST_PORT=18000     the port on this machine's loopback
#   COUPLET_TEST_KEEP_IMAGE=1   leave the image that was built
set -euo pipefail
cd "$(dirname "$0")/../.."

port=${COUPLET_TEST_PORT:-18000}
url=http://127.0.0.1:$port
project=couplet-test-$$
key=made-up-key-of-the-test
token=sk-ant-oat01-made-up-token-of-the-test
folder=$(mktemp -d)
image=${COUPLET_TEST_IMAGE:-$project}
background=()
checks=0

if docker compose version > /dev/null 2>&1; then engine_compose=(docker compose); else engine_compose=(docker-compose); fi
compose() {
    # Nothing of the caller's environment gets into the container; .env in the folder is what counts.
    env -u COUPLET_API_KEYS -u CLAUDE_CODE_OAUTH_TOKEN IMAGE="$image" PUBLISHED_PORT="$port" \
        "${engine_compose[@]}" --project-name "$project" --project-directory "$folder" --file "$folder/compose.yaml" "$@"
}

clean_up() {
    local status=$?
    set +e
    if [ $status != 0 ]; then
        echo "--- the log of the container that was there last" >&2
        compose logs --no-color --tail 40 >&2
    fi
    for pid in "${background[@]}"; do kill "$pid" 2> /dev/null; done
    docker rm --force --volumes "$project-upstream" "$project-alone" > /dev/null 2>&1
    compose down --volumes --timeout 1 > /dev/null 2>&1
    if [ -z "${COUPLET_TEST_IMAGE:-}${COUPLET_TEST_KEEP_IMAGE:-}" ]; then docker rmi "$image" > /dev/null 2>&1; fi
    rm -rf "$folder"
    [ $status = 0 ] || echo "FAILED (exit status $status)" >&2
}
trap clean_up EXIT

heading() { printf '\n=== %s\n' "$1"; }
fail() { printf 'NOT SO: %s\n' "$1" >&2; exit 1; }
# holds WHAT COMMAND…: the command succeeds.
holds() { if "${@:2}"; then checks=$((checks + 1)); echo "ok: $1"; else fail "$1"; fi; }
# is WHAT EXPECTED FOUND
is() { if [ "$2" = "$3" ]; then checks=$((checks + 1)); echo "ok: $1 ($3)"; else fail "$1: expected $2, found $3"; fi; }
# says WHAT WORDS TEXT
says() { case "$3" in *"$2"*) checks=$((checks + 1)); echo "ok: $1" ;; *) fail "$1: no \"$2\" in: $3" ;; esac; }
lacks() { case "$3" in *"$2"*) fail "$1: \"$2\" is in: $3" ;; *) checks=$((checks + 1)); echo "ok: $1" ;; esac; }

# To be called after each start: `down` removes the container, and `up` makes another.
remember_container() { container=$(compose ps --quiet couplet); }
inspect() { docker inspect --format "$1" "$container"; }
inside() { docker exec "$container" "$@"; }
now() { date +%s.%N; }
since() { awk -v then="$1" -v now="$(now)" 'BEGIN { printf "%.2f", now - then }'; }
at_most() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a <= b) }'; }

# Waits until the container is healthy; seconds from its start to the end of the check that said so are in $healthy_after.
wait_healthy() {
    local started passed
    remember_container
    for _ in $(seq 600); do
        started=$(inspect '{{.State.StartedAt}}')
        # Checks of an earlier start are still in the list.
        passed=$(inspect "{{range .State.Health.Log}}{{if eq .ExitCode 0}}$one_time{{end}}{{end}}" |
            while read -r time; do seconds_between "$started" "$time"; done | awk '$1 > 0' | head -n 1)
        if [ -n "$passed" ] && [ "$(inspect '{{.State.Health.Status}}')" = healthy ]; then
            healthy_after=$passed
            return
        fi
        sleep 0.05
    done
    fail "the container is healthy within a minute: $(inspect '{{json .State.Health}}')"
}
one_time='{{.End.Format "2006-01-02T15:04:05.999999999Z07:00"}}{{"\n"}}'
seconds_between() {
    awk -v from="$(date --date "$1" +%s.%N)" -v to="$(date --date "$2" +%s.%N)" 'BEGIN { printf "%.2f\n", to - from }'
}

# The scripted API listens on loopback only, so it runs in a container that shares Couplet's network.
start_upstream() {
    docker rm --force --volumes "$project-upstream" > /dev/null 2>&1 || true
    docker run --detach --name "$project-upstream" --no-healthcheck --network "container:$container" "$image" \
        upstream --port 9911 > /dev/null
    for _ in $(seq 100); do
        case "$(docker logs "$project-upstream" 2>&1)" in *9911*) return ;; esac
        sleep 0.05
    done
    fail "the scripted API starts"
}

body() { printf '{"model": "sonnet", "stream": %s, "messages": [{"role": "user", "content": "%s"}]}' "$1" "$2"; }
# call PATH [CURL ARGUMENTS]: the answer with its status in the last line.
call() {
    curl --silent --show-error --no-buffer --max-time 60 --write-out '\n%{http_code}' \
        --header "authorization: Bearer $key" --header 'content-type: application/json' "$url$1" "${@:2}"
}
chat() { call /v1/chat/completions --data "$(body "$@")"; }
status_of() { tail -n 1 <<< "$1"; }

# Opens a stream in the background, its answer going to a file, and waits for the first words of it.
open_stream() {
    stream=$folder/stream
    : > "$stream"
    call /v1/chat/completions --data "$(body true "$1")" > "$stream" 2>&1 &
    stream_pid=$!
    background+=("$stream_pid")
    for _ in $(seq 400); do
        if grep --quiet 'w0' "$stream"; then return; fi
        sleep 0.05
    done
    fail "the stream begins: $(cat "$stream")"
}

# Zombies in the container: none may stay.
zombies() { inside sh -c 'grep -l "^State:.Z" /proc/[0-9]*/status 2> /dev/null | wc -l'; }
# couplet_pid: its process id in the container, the server's and not a passing health check's.
# shellcheck disable=SC2016
couplet_pid() { inside sh -c 'for p in /proc/[0-9]*; do case "$(tr "\0" " " < $p/cmdline)" in "couplet serve "*) basename $p ;; esac; done'; }
memory() {
    inside sh -c "grep -hE '^(Pss|Rss|Private_Dirty):' /proc/$(couplet_pid)/smaps_rollup" |
        awk '{ printf "%s%s %.1f MB", sep, $1, $2 / 1024; sep = ", " } END { print "" }'
}
memory_mb() { inside sh -c "grep -h '^$1:' /proc/$(couplet_pid)/smaps_rollup" | awk '{ printf "%.1f", $2 / 1024 }'; }
# shellcheck disable=SC2016
claude_processes() { inside sh -c 'n=0; for p in /proc/[0-9]*; do case "$(readlink $p/exe)" in */claude) n=$((n + 1)) ;; esac; done; echo $n'; }
# How many processes are in that state, as /health tells.
count() { curl --silent --max-time 5 "$url/health" | grep --only-matching "\"$1\":[0-9]*" | cut -d : -f 2; }
# At rest there are the processes that wait, and no others.
wait_for_rest() {
    for _ in $(seq 200); do
        if [ "$(count starting)" = 0 ] && [ "$(count working)" = 0 ]; then
            waiting=$(($(count generic) + $(count prepared) + $(count live) + $(count parked)))
            if [ "$waiting" -gt 0 ] && [ "$(claude_processes)" = "$waiting" ]; then return; fi
        fi
        sleep 0.1
    done
    fail "no process of the CLI is left at rest but those that wait: $(curl --silent "$url/health")"
}

heading 'image'
if [ -z "${COUPLET_TEST_IMAGE:-}" ]; then
    began=$(now)
    # The arguments are words on purpose.
    # shellcheck disable=SC2086
    docker build ${COUPLET_TEST_BUILD:-} --tag "$image" . > "$folder/build.log" 2>&1 ||
        { tail -n 40 "$folder/build.log" >&2; fail 'the image builds'; }
    echo "built in $(since "$began") s"
fi
docker history --no-trunc --format '{{.Size}}\t{{.CreatedBy}}' "$image" | grep -v '^0B' | cut -c 1-110
echo "all: $(docker image inspect --format '{{.Size}}' "$image" | awk '{ printf "%.0f MB", $1 / 1e6 }')"
lacks 'the image holds no Node' node "$(docker run --rm --entrypoint sh "$image" -c 'ls /usr/bin /usr/local/bin')"
pinned=$(sed -n 's/.*"@anthropic-ai\/claude-code": "\(.*\)".*/\1/p' tests/claude-cli/package.json)
says 'the CLI is the pinned one' "$pinned" "$(docker run --rm --entrypoint claude "$image" --version)"

heading 'refusals'
said=$(docker run --rm "$image" 2>&1) && status=0 || status=$?
is 'without keys it does not start' 2 "$status"
says 'and says what to set' COUPLET_API_KEYS "$said"
said=$(docker run --rm --env COUPLET_API_KEYS="$key" "$image" 2>&1) && status=0 || status=$?
is 'without a sign-in it does not start' 2 "$status"
says 'and says how to get one' 'claude setup-token' "$said"
cp compose.yaml "$folder/compose.yaml"
echo > "$folder/.env"
said=$(compose config 2>&1) && fail 'compose wants keys'
says 'compose wants keys' COUPLET_API_KEYS "$said"

heading 'start'
cat > "$folder/.env" << END
COUPLET_API_KEYS=$key
CLAUDE_CODE_OAUTH_TOKEN=$token
ANTHROPIC_BASE_URL=http://127.0.0.1:9911
HOST=127.0.0.1
END
said=$(compose up --detach --no-build 2>&1) || fail "it starts: $said"
wait_healthy
holds "healthy $healthy_after s after its start, 3 s at most" at_most "$healthy_after" 3
start_upstream
wait_for_rest
echo "memory of Couplet after the start: $(memory)"

heading 'what it may do'
is 'it runs as a user of its own' 10001 "$(inside id -u)"
is 'it has no capabilities' 0000000000000000 "$(inside sed -n 's/^CapEff:\t//p' "/proc/$(couplet_pid)/status")"
is 'nor can it get any' 0000000000000000 "$(inside sed -n 's/^CapBnd:\t//p' "/proc/$(couplet_pid)/status")"
is 'it gets no new privileges' 1 "$(inside sed -n 's/^NoNewPrivs:\t//p' "/proc/$(couplet_pid)/status")"
said=$(inside touch /usr/local/x 2>&1) && fail 'its files are read-only'
says 'its files are read-only' 'Read-only' "$said"
is 'limits: cores (10⁻⁹), bytes, processes' '2000000000 4294967296 1024' \
    "$(inspect '{{.HostConfig.NanoCpus}} {{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}')"
is 'the log is rotated' 'json-file 10m 3' \
    "$(inspect '{{.HostConfig.LogConfig.Type}} {{index .HostConfig.LogConfig.Config "max-size"}} {{index .HostConfig.LogConfig.Config "max-file"}}')"
is 'it is on loopback only' 127.0.0.1 "$(inspect '{{(index (index .HostConfig.PortBindings "8000/tcp") 0).HostIp}}')"

heading 'the CLI in there'
said=$(inside couplet doctor) || { echo "$said" >&2; fail 'it fits (couplet doctor)'; }
says 'it fits (couplet doctor)' ' 0 failed' "$said"
tail -n 1 <<< "$said"

heading 'calls'
is 'without a key nothing is served' 401 "$(curl --silent --output /dev/null --write-out '%{http_code}' "$url/v1/models")"
said=$(call /v1/models)
is 'the models are listed' 200 "$(status_of "$said")"
says 'by the CLI' '"sonnet"' "$said"
said=$(chat false '[[say it works]]')
is 'a chat is answered' 200 "$(status_of "$said")"
says 'with what the API said' 'it works' "$said"
says 'and ends well' '"finish_reason":"stop"' "$said"
lacks 'by the real thing, no demo' '-demo' "$said"
said=$(chat true '[[words 5]]')
is 'a chat is streamed' 200 "$(status_of "$said")"
says 'to its end' 'data: [DONE]' "$said"
pids=()
for number in 1 2 3 4 5 6 7 8; do
    chat false "[[say number $number]] [[first 0.5]]" > "$folder/answer-$number" &
    pids+=($!)
done
most=0
for _ in $(seq 20); do
    # With cgroups of version 1, or of version 2.
    threads=$(inside sh -c 'cat /sys/fs/cgroup/pids/pids.current /sys/fs/cgroup/pids.current 2> /dev/null' || true)
    if [ "$threads" -gt "$most" ]; then most=$threads; fi
    sleep 0.1
done
wait "${pids[@]}"
is 'eight at once are answered' 8 "$(cat "$folder"/answer-* | grep --count '"number [1-8]"')"
echo "most processes and threads in the container with eight answers at once: $most"
wait_for_rest
is 'no zombie stays' 0 "$(zombies)"
echo "memory of Couplet after all this: $(memory)"
holds 'Couplet at rest takes 15 MB at most (PSS)' at_most "$(memory_mb Pss)" 15
holds 'Couplet at rest takes 15 MB at most (RSS)' at_most "$(memory_mb Rss)" 15
lacks 'the token is not in the log' "$token" "$(compose logs --no-color 2>&1)"
# An orphan goes to process 1, which must wait for its end.
inside sh -c '(sleep 0.2 &) &'
sleep 0.5
is 'an orphan that ended is no zombie' 0 "$(zombies)"

heading 'restart'
inside sh -c 'touch /var/lib/couplet/kept; find /var/lib/couplet -type f | head -n 3'
compose restart > /dev/null 2>&1
wait_healthy
holds "healthy $healthy_after s after a restart, 3 s at most" at_most "$healthy_after" 3
compose down > /dev/null 2>&1
compose up --detach --no-build > /dev/null 2>&1
wait_healthy
holds 'the volume outlives the container' inside test -f /var/lib/couplet/kept
start_upstream
is 'a chat is answered again' 200 "$(status_of "$(chat false '[[say again]]')")"

heading 'SIGTERM'
open_stream '[[words 40]] [[slow 0.1]]'
began=$(now)
compose stop > /dev/null 2>&1
echo "stopped after $(since "$began") s"
wait "$stream_pid"
says 'an open stream goes on to its end' 'w39' "$(cat "$stream")"
says 'and ends well' 'data: [DONE]' "$(cat "$stream")"
is 'exit status' 'exited 0' "$(inspect '{{.State.Status}} {{.State.ExitCode}}')"

compose up --detach --no-build > /dev/null 2>&1
wait_healthy
start_upstream
open_stream '[[words 1000]] [[slow 0.1]]'
began=$(now)
docker kill --signal TERM "$container" > /dev/null
sleep 0.3
said=$(inside couplet healthcheck 2>&1) && fail 'it is not ready while it drains'
says 'it is not ready while it drains' 'shutting down' "$said"
is 'and takes no new requests' 503 "$(status_of "$(chat false hi)")"
wait "$stream_pid" || true
took=$(since "$began")
holds "a stream that is too long is ended after the grace time ($took s)" at_most "$took" 10
says 'with an error' '"error":' "$(cat "$stream")"
lacks 'and not as if it were whole' '[DONE]' "$(cat "$stream")"
for _ in $(seq 100); do
    if [ "$(inspect '{{.State.Running}}')" = false ]; then break; fi
    sleep 0.1
done
is 'exit status' 'exited 0' "$(inspect '{{.State.Status}} {{.State.ExitCode}}')"

heading 'SIGKILL'
compose up --detach --no-build > /dev/null 2>&1
wait_healthy
start_upstream
open_stream '[[words 1000]] [[slow 0.1]]'
on_this_machine=$(docker top "$container" -eo pid,args)
says 'the CLI is at work' /usr/local/bin/claude "$on_this_machine"
on_this_machine=$(awk 'NR > 1 { print $1 }' <<< "$on_this_machine")
restarts=$(inspect '{{.RestartCount}}')
inside sh -c "kill -KILL $(couplet_pid)" || true
for _ in $(seq 100); do
    if [ "$(inspect '{{.RestartCount}}')" != "$restarts" ]; then break; fi
    sleep 0.05
done
left=
for pid in $on_this_machine; do if [ -e "/proc/$pid" ]; then left="$left $pid"; fi; done
is 'no process outlives a killed server' '' "$left"
wait_healthy
holds 'and the server comes back' true
wait "$stream_pid" || true
lacks 'its stream does not end well' '[DONE]' "$(cat "$stream")"

heading 'Couplet as process 1, without tini'
start_alone() {
    docker run --detach --name "$project-alone" --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
        --entrypoint couplet --env COUPLET_API_KEYS="$key" --env CLAUDE_CODE_OAUTH_TOKEN="$token" "$image" > /dev/null
}
start_alone
for _ in $(seq 100); do
    if docker exec "$project-alone" couplet healthcheck 2> /dev/null; then break; fi
    sleep 0.1
done
docker stop --time 12 "$project-alone" > /dev/null
is 'SIGTERM ends it with status' 0 "$(docker inspect --format '{{.State.ExitCode}}' "$project-alone")"
docker rm --volumes "$project-alone" > /dev/null

heading 'the token as a secret file'
compose down > /dev/null 2>&1
sed -E 's/^( *)#([A-Za-z])/\1\2/' compose.yaml > "$folder/compose.yaml"
printf '%s\n' "$token" > "$folder/claude-token.txt"
chmod 644 "$folder/claude-token.txt"
sed -i '/^CLAUDE_CODE_OAUTH_TOKEN=/d' "$folder/.env"
compose up --detach --no-build > /dev/null 2>&1
wait_healthy
start_upstream
is 'a chat is answered' 200 "$(status_of "$(chat false '[[say by file]]')")"
lacks 'the token is in no environment' "$token" "$(inspect '{{.Config.Env}}')"

echo
echo "container: $checks passed, 0 failed"
