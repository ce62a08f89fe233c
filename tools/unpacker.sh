#!/bin/sh
# ztunnel @VERSION@ for @ARCH@: a runtime and a program behind this script, unpacked once into a folder of yours, then started.
# ZTUNNEL_UNPACK_DIR says where; else XDG_CACHE_HOME, ~/.cache, /var/tmp or /tmp, the first that can be written.
set -eu
mask=$(umask)
umask 077
# Else a relative folder would be looked for elsewhere.
unset CDPATH

fail() {
  printf 'ztunnel: %s\n' "$1" >&2
  exit 1
}

case $(uname -m) in
  @MACHINE@) ;;
  *) fail "this file is for @ARCH@, this machine is $(uname -m)" ;;
esac

self=$0
case $self in
  */*) ;;
  *) self=$(command -v -- "$0") || fail "cannot find myself as $0" ;;
esac

# A folder somebody else can write, or has made, may hold a program of theirs.
trusted() {
  [ -d "$1" ] && [ ! -L "$1" ] || return 1
  facts=$(ls -ldn -- "$1") || return 1
  # shellcheck disable=SC2086 # the fields are wanted
  set -- $facts
  case $1 in
    drwx------ | drwx------.) [ "$3" = "$(id -u)" ] ;;
    *) return 1 ;;
  esac
}

# Whether nobody but us and root can take away what is put there; of a folder that is to be made, where it will be.
safe() {
  at=$1
  until [ -e "$at" ] || [ -L "$at" ]; do
    at=${at%/*}
    [ -n "$at" ] || at=/
  done
  facts=$(ls -ldnL -- "$at" 2>/dev/null) || return 1
  # shellcheck disable=SC2086 # the fields are wanted
  set -- $facts
  case $3 in 0 | "$(id -u)") ;; *) return 1 ;; esac
  # All may write, and it is not as /tmp, where everybody's own stays.
  case $1 in ????????w[!tT]*) return 1 ;; esac
}

# Every byte that will run is what was packed.
intact() {
  (cd -- "$1" && sha256sum -c --status -) 2>/dev/null <<'SUMS'
@SUMS@
SUMS
}

# In this order: in a place that all can write, what is checked before it is known whose it is may be another's.
ready() {
  trusted "$1" && intact "$1"
}

base=${ZTUNNEL_UNPACK_DIR-}
if [ -z "$base" ]; then
  for base in "${XDG_CACHE_HOME-}" "${HOME:+$HOME/.cache}" /var/tmp /tmp; do
    case $base in /*) ;; *) continue ;; esac
    safe "$base" && mkdir -p -- "$base" 2>/dev/null && [ -w "$base" ] && break
    base=
  done
  [ -n "$base" ] || fail "no safe folder to unpack into can be written; name one with ZTUNNEL_UNPACK_DIR"
else
  case $base in /*) ;; *) base=$PWD/$base ;; esac
  mkdir -p -- "$base" || fail "cannot make ZTUNNEL_UNPACK_DIR=$base"
fi

# The user is part of the name, so that two users of /tmp do not meet.
dir=$base/ztunnel-$(id -u)-@ID@
refuse_foreign() {
  if [ -e "$dir" ] || [ -L "$dir" ]; then
    trusted "$dir" || fail "$dir is not a folder of yours with mode 0700; remove it, or name another place with ZTUNNEL_UNPACK_DIR"
  fi
}
refuse_foreign
if ! ready "$dir"; then
  # One at a time: another start may be unpacking, or have done so meanwhile.
  lock=$dir.lock waited=0
  until mkdir -- "$lock" 2>/dev/null; do
    holder=
    [ ! -f "$lock/pid" ] || holder=$(cat -- "$lock/pid" 2>/dev/null || :)
    if [ -n "$holder" ] && ! kill -0 "$holder" 2>/dev/null; then
      rm -rf -- "$lock"
      continue
    fi
    [ -d "$lock" ] || [ -w "$base" ] || fail "cannot write to $base; name another place with ZTUNNEL_UNPACK_DIR"
    if [ "$waited" -ge 60 ]; then
      # Nobody takes so long: a start was killed, and its number is another's now. Two at once would not hurt.
      rm -rf -- "$lock" 2>/dev/null || fail "$lock has been there for a minute and is not ours to remove"
      waited=0
      continue
    fi
    waited=$((waited + 1))
    sleep 1
  done
  fresh=$dir.$$
  trap 'rm -rf -- "$fresh" "$lock"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  echo $$ >"$lock/pid"
  refuse_foreign
  if ! ready "$dir"; then
    [ ! -e "$dir" ] || printf 'ztunnel: %s is damaged, unpacking it again\n' "$dir" >&2
    rm -rf -- "$fresh"
    mkdir -- "$fresh"
    tail -n +@HEAD_LINES@ -- "$self" | gzip -dc | tar -xf - -C "$fresh" || fail "cannot unpack into $fresh"
    intact "$fresh" || fail "$self is damaged: what it carries has another checksum"
    rm -rf -- "$dir"
    mv -- "$fresh" "$dir"
  fi
  rm -rf -- "$lock"
  trap - EXIT INT TERM
  trusted "$dir" || fail "$dir was changed while it was unpacked"
fi

why=$("$dir/deno" --version 2>&1) ||
  fail "$dir/deno cannot be run: $why (if $base is mounted noexec, name another place with ZTUNNEL_UNPACK_DIR)"

# No folder for the runtime's caches: nothing is written at run time, and nothing is asked of the network.
DENO_DIR=/dev/null DENO_NO_UPDATE_CHECK=1
export DENO_DIR DENO_NO_UPDATE_CHECK
umask "$mask"
exec "$dir/deno" run @FLAGS@ "$dir/app/main.js" "$@"
