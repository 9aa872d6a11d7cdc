#!/bin/sh
# Installs Leoflow, or another version of it over the one that is there:
#
#   curl -fsSL https://github.com/leoflow/leoflow/releases/latest/download/install.sh | sh
#
# `sh install.sh --help` lists the settings. Everything is inside functions and the last line starts it, so that a
# download cut short runs nothing. What is the user's (workspace, database, config.yaml, environments) is never touched.
# Each step leaves a working Leoflow: the new version is unpacked and tried beside the old one, and one rename switches.

RELEASES=https://github.com/leoflow/leoflow/releases
PROGRAMS="leoflow leoflow-server leoflow-agent"
MARK="# added by Leoflow's install.sh"
# What the Node inside the archive needs.
LEAST_GLIBC_MINOR=28

usage() {
  cat <<'EOF'
Installs Leoflow, or another version of it over the one that is there. Your DAGs, database, settings and environments stay as they are.

  curl -fsSL https://github.com/leoflow/leoflow/releases/latest/download/install.sh | sh
  LEOFLOW_VERSION=0.1.0 sh install.sh

Environment:
  LEOFLOW_VERSION         the version to install, newer or older (default: the latest)
  LEOFLOW_INSTALL_DIR     folder for the commands (default: where they are already; /usr/local/bin if you may write there;
                          ~/.local/bin if it is on PATH; ~/.leoflow/bin). The files go into lib/leoflow beside it.
  LEOFLOW_NO_SETUP=1      do not run `leoflow setup` afterwards
  LEOFLOW_NO_PATH=1       do not add that folder to PATH in your shell's profile
  LEOFLOW_NONINTERACTIVE=1  ask nothing, also on a terminal
  LEOFLOW_OFFLINE=1       take the archive that also carries Python's and PostgreSQL's packages
  LEOFLOW_ARCHIVE=FILE    install this archive; its checksums.txt must be beside it
  LEOFLOW_BASE_URL        where releases are: http(s)://…, file://… or a folder
  LEOFLOW_HOME            where your settings and database are (~/.leoflow)
  NO_COLOR                no colours
EOF
}

main() {
  set -eu
  umask 022
  work='' incoming='' lock=''
  green='' red='' bold='' plain=''
  if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    green=$(printf '\033[32m') red=$(printf '\033[31m') bold=$(printf '\033[1m') plain=$(printf '\033[0m')
  fi
  case ${1:-} in
    '') ;;
    -h | --help) usage && exit 0 ;;
    *) exit_code=2 fail "unknown option '$1'" "\`sh install.sh --help\` lists the settings" ;;
  esac
  [ -n "${HOME:-}" ] || fail "HOME is not set" "set it to your home directory"
  leoflow_home=$(absolute "${LEOFLOW_HOME:-$HOME/.leoflow}")
  trap clean_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  trap 'exit 129' HUP

  find_platform
  choose_folders
  check_commands_are_ours
  work=$(mktemp -d "${TMPDIR:-/tmp}/leoflow-install.XXXXXX") ||
    fail "cannot make a temporary folder" "set TMPDIR to a folder of yours"
  find_archive
  download
  verify
  take_lock
  unpack
  switch
  drop_lock
  report
  put_on_path
  tell_running_lite
  set_up
}

# --- what this machine is -------------------------------------------------------------------------------------------

find_platform() {
  system=$(uname -s) machine=$(uname -m)
  case $system in
    Linux) os=linux ;;
    Darwin) os=darwin ;;
    MINGW* | MSYS* | CYGWIN* | Windows*)
      fail "Leoflow does not run on Windows itself" "use it inside WSL 2: run this script there" ;;
    *) fail "Leoflow does not run on $system" "use Linux or macOS" ;;
  esac
  case $machine in
    x86_64 | amd64) arch=x64 ;;
    aarch64 | arm64) arch=arm64 ;;
    *) fail "Leoflow does not run on $machine processors" "use a 64-bit x86 or ARM machine" ;;
  esac
  if [ "$os" = darwin ]; then
    # A shell under Rosetta says x86_64; the machine's own kind is faster.
    if [ "$arch" = x64 ] && [ "$(sysctl -n hw.optional.arm64 2>/dev/null || :)" = 1 ]; then arch=arm64; fi
    return 0
  fi
  if [ "$(getconf LONG_BIT 2>/dev/null || :)" = 32 ]; then
    fail "this is a 32-bit system" "use a 64-bit Linux"
  fi
  check_libc
}

check_libc() {
  glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null | sed -n 's/^glibc \([0-9][0-9.]*\).*/\1/p' || :)
  if [ -z "$glibc" ]; then
    about_ldd=$(ldd --version 2>&1 || :)
    case $about_ldd in
      *musl*) refuse_musl ;;
      *GLIBC* | *"GNU libc"*) glibc=$(printf '%s\n' "$about_ldd" | sed -n '1s/.* \([0-9][0-9]*\.[0-9][0-9.]*\)$/\1/p') ;;
      *) if [ -n "$(ls /lib/ld-musl-* 2>/dev/null || :)" ]; then refuse_musl; fi ;;
    esac
  fi
  # Where nothing tells, the new version is tried before it is switched to.
  [ -n "$glibc" ] || return 0
  major=${glibc%%.*}
  minor=${glibc#*.}
  minor=${minor%%.*}
  if [ "$major" -lt 2 ] || { [ "$major" -eq 2 ] && [ "$minor" -lt "$LEAST_GLIBC_MINOR" ]; }; then
    fail "this system has glibc $glibc, and Leoflow needs 2.$LEAST_GLIBC_MINOR or newer" \
      "use a newer system: Debian 10, Ubuntu 20.04, RHEL 8, or later"
  fi
}

refuse_musl() {
  fail "this system uses musl (Alpine?), and Leoflow needs glibc" \
    "use a Debian, Ubuntu, Fedora or RHEL system or container image"
}

# --- where it goes --------------------------------------------------------------------------------------------------

# Sets bin (as on PATH), physical_bin, lib and the text of the links. lib/leoflow is beside bin: <prefix>/{bin,lib/leoflow}.
choose_folders() {
  if [ -n "${LEOFLOW_INSTALL_DIR:-}" ]; then
    bin=$(absolute "$LEOFLOW_INSTALL_DIR")
  else
    present=$(command -v leoflow 2>/dev/null || :)
    case $present in /*) ;; *) present='' ;; esac
    if [ -n "$present" ] && is_ours "$present" && may_install "${present%/*}"; then
      bin=${present%/*}
    elif [ -d /usr/local/bin ] && may_install /usr/local/bin; then
      bin=/usr/local/bin
    elif on_path "$HOME/.local/bin" && may_install "$HOME/.local/bin"; then
      bin=$HOME/.local/bin
    else
      bin=$leoflow_home/bin
    fi
  fi
  make_leoflow_home
  mkdir -p "$bin" 2>/dev/null || cannot_write "$bin"
  # Links are relative, so a bin that is itself a link is looked through.
  physical_bin=$(cd "$bin" && pwd -P)
  lib=$(lib_of "$physical_bin")
  case $physical_bin in
    */bin) to_lib=../lib/leoflow ;;
    *) to_lib=lib/leoflow ;;
  esac
  mkdir -p "$lib" 2>/dev/null || cannot_write "$lib"
  for folder in "$physical_bin" "$lib"; do
    [ -w "$folder" ] || cannot_write "$folder"
  done
}

# Private from the beginning, as Leoflow itself makes it.
make_leoflow_home() {
  case $bin in
    "$leoflow_home"/*)
      [ -d "$leoflow_home" ] || (umask 077 && mkdir -p "$leoflow_home") 2>/dev/null || cannot_write "$leoflow_home" ;;
  esac
}

lib_of() {
  case $1 in
    */bin) printf '%s\n' "${1%/bin}/lib/leoflow" ;;
    *) printf '%s\n' "$1/lib/leoflow" ;;
  esac
}

# Whether both folders are there and ours to write, or can be made.
may_install() {
  may_write "$1" && may_write "$(lib_of "$1")"
}

may_write() {
  nearest=$1
  while [ ! -e "$nearest" ] && [ -n "$nearest" ]; do nearest=${nearest%/*}; done
  [ -d "${nearest:-/}" ] && [ -w "${nearest:-/}" ]
}

cannot_write() {
  fail "cannot write to $1" \
    "choose a folder of yours, for example LEOFLOW_INSTALL_DIR=$HOME/.local/bin, or run this as a user who may write there"
}

is_ours() {
  [ -L "$1" ] || return 1
  case $(readlink "$1") in
    *lib/leoflow/current/bin/leoflow*) return 0 ;;
  esac
  return 1
}

# Another program of the same name is the user's: said before anything is downloaded.
check_commands_are_ours() {
  for name in $PROGRAMS; do
    command_file=$physical_bin/$name
    if [ ! -e "$command_file" ] && [ ! -L "$command_file" ]; then continue; fi
    if is_ours "$command_file"; then continue; fi
    what="a file"
    if [ -L "$command_file" ]; then what="a link to $(readlink "$command_file")"; fi
    fail "$bin/$name is there already ($what) and does not come from this script; it was left alone" \
      "move it away (\`mv $bin/$name $bin/$name.old\`) and run this again, or set LEOFLOW_INSTALL_DIR to another folder"
  done
}

# --- the archive ----------------------------------------------------------------------------------------------------

# Sets version, archive (its name) and where it is got from.
find_archive() {
  if [ -n "${LEOFLOW_ARCHIVE:-}" ]; then
    given=$(absolute "$LEOFLOW_ARCHIVE")
    [ -f "$given" ] || fail "there is no file $given" "set LEOFLOW_ARCHIVE to an archive that you downloaded"
    archive=${given##*/}
    version=${archive#leoflow_}
    version=${version%%_*}
    case $archive in
      "leoflow_${version}_${os}_$arch.tar.gz" | "leoflow_${version}_${os}_${arch}_offline.tar.gz") ;;
      *) fail "$archive is not an archive for this machine" "it must be named leoflow_<version>_${os}_$arch.tar.gz" ;;
    esac
    check_version_text "$version" "the version in the name $archive"
    place=${given%/*}
    return 0
  fi
  base=${LEOFLOW_BASE_URL:-$RELEASES}
  case $base in
    file://localhost/*) base=${base#file://localhost} ;;
    file://*) base=${base#file://} ;;
  esac
  while [ "${base%/}" != "$base" ] && [ -n "${base%/}" ]; do base=${base%/}; done
  # GitHub has its own order: <releases>/download/<tag>/<file>, <releases>/latest/download/<file>.
  case $base in
    http://github.com/*/releases | https://github.com/*/releases)
      versions=$base/download latest=$base/latest/download/latest ;;
    *) versions=$base latest=$base/latest ;;
  esac
  version=${LEOFLOW_VERSION:-}
  if [ -z "$version" ] || [ "$version" = latest ]; then
    fetch "$latest" "$work/latest" || cannot_fetch "$latest" "there is no release yet, or LEOFLOW_BASE_URL is wrong"
    version=$(head -n 1 "$work/latest" | tr -d ' \r')
    version=${version#v}
    check_version_text "$version" "what $latest says"
  else
    version=${version#v}
    check_version_text "$version" LEOFLOW_VERSION
  fi
  suffix=''
  if is_set "${LEOFLOW_OFFLINE:-}"; then suffix=_offline; fi
  archive=leoflow_${version}_${os}_$arch$suffix.tar.gz
  place=$versions/v$version
}

check_version_text() {
  case $1 in
    *[!0-9A-Za-z.+-]* | '' | [!0-9]*)
      fail "$2 is not a version: '$(printf '%.40s' "$1")'" "set LEOFLOW_VERSION to one like 0.1.0" ;;
  esac
}

download() {
  fetch "$place/checksums.txt" "$work/checksums.txt" ||
    cannot_fetch "$place/checksums.txt" "there is no version $version there; LEOFLOW_VERSION chooses another"
  expected=$(awk -v name="$archive" '$2 == name || $2 == "*" name { print $1; exit }' "$work/checksums.txt")
  if [ -z "$expected" ]; then
    fail "Leoflow $version has no $archive" "choose another version with LEOFLOW_VERSION"
  fi
  printf '  Downloading Leoflow %s for %s-%s …\n' "$version" "$os" "$arch"
  fetch "$place/$archive" "$work/$archive" shown || cannot_fetch "$place/$archive" "run this again"
}

verify() {
  actual=$(sha256_of "$work/$archive") ||
    fail "there is no program to check SHA-256 with" "install coreutils (sha256sum), Perl (shasum) or openssl"
  if [ "$actual" != "$expected" ]; then
    fail "$archive is damaged: its SHA-256 is $actual, and checksums.txt says $expected; nothing was installed" \
      "run this again; if it stays, a proxy or mirror on the way changes or keeps an old file"
  fi
  good "Checked its SHA-256"
}

sha256_of() {
  for tool in "sha256sum" "shasum -a 256" "openssl dgst -sha256"; do
    command -v "${tool%% *}" >/dev/null 2>&1 || continue
    # Without a name in its output the sum is the first word, or the one behind "(stdin)= ".
    # shellcheck disable=SC2086 # a command and its arguments
    sum=$($tool <"$1" 2>/dev/null | sed 's/^.*= *//; s/ .*//' || :)
    if [ ${#sum} -eq 64 ]; then
      printf '%s\n' "$sum"
      return 0
    fi
  done
  return 1
}

# fetch FROM TO [shown]: status 2 where there is no such file, 1 for other failures; why is in $work/why.
fetch() {
  : >"$work/why"
  case $1 in
    http://* | https://*) ;;
    *)
      [ -f "$1" ] || return 2
      cp "$1" "$2" 2>"$work/why"
      return ;;
  esac
  status=0
  if command -v curl >/dev/null 2>&1; then
    allowed='=https'
    case $1 in http://*) allowed='=http,https' ;; esac
    set -- "$@" ''
    if [ "$3" = shown ] && [ -t 2 ]; then
      curl -fL --progress-bar --proto "$allowed" --connect-timeout 20 --speed-time 60 --speed-limit 1 --retry 2 \
        -o "$2" "$1" || status=$?
    else
      curl -fsSL --proto "$allowed" --connect-timeout 20 --speed-time 60 --speed-limit 1 --retry 2 \
        -o "$2" "$1" 2>"$work/why" || status=$?
    fi
  elif command -v wget >/dev/null 2>&1; then
    # busybox's has no more options that work: 1.35 crashes with -T.
    patience=''
    case $(wget --version 2>/dev/null || :) in *GNU*) patience='-T60 -t3' ;; esac
    # shellcheck disable=SC2086 # two options or none
    wget $patience -O "$2" "$1" 2>"$work/why" || status=$?
  else
    fail "neither curl nor wget is there to download with" \
      "install one of them, or download the archive and its checksums.txt and set LEOFLOW_ARCHIVE to it"
  fi
  [ "$status" -ne 0 ] || return 0
  if grep -q -E '(error:|ERROR|HTTP/[0-9.]+) (404|403|410)' "$work/why"; then return 2; fi
  return 1
}

# To be called right after a failed fetch, whose status tells the two cases apart.
cannot_fetch() {
  if [ $? -eq 2 ]; then fail "$1 does not exist" "$2"; fi
  why=$(grep -v '^ *$' "$work/why" | tail -n 1 || :)
  fail "could not get $1${why:+: $why}" \
    "check the network (behind a proxy set https_proxy) and the free disk space, and run this again"
}

# --- installing -----------------------------------------------------------------------------------------------------

# One installation at a time into this folder. The lock is a link that names its process; one left by a killed
# installation is taken away.
take_lock() {
  while ! ln -s "$$" "$lib/.lock" 2>/dev/null; do
    holder=$(readlink "$lib/.lock" 2>/dev/null || :)
    if [ -z "$holder" ]; then
      [ -w "$lib" ] || cannot_write "$lib"
      continue
    fi
    if is_alive "$holder"; then
      fail "another installation into $lib runs (process $holder)" "wait until it has ended, and run this again"
    fi
    # Should another one have taken its own lock meanwhile, it is given back.
    rm -f "$lib/.lock.$$"
    mv "$lib/.lock" "$lib/.lock.$$" 2>/dev/null || continue
    if [ "$(readlink "$lib/.lock.$$")" != "$holder" ]; then mv "$lib/.lock.$$" "$lib/.lock"; fi
    rm -f "$lib/.lock.$$"
  done
  lock=$lib/.lock
}

drop_lock() {
  [ -z "$lock" ] || rm -f "$lock"
  lock=''
}

is_alive() {
  kill -0 "$1" 2>/dev/null || [ -d "/proc/$1" ]
}

# Beside its final place, tried there, and moved whole.
unpack() {
  # What a killed installation left.
  for left in "$lib"/.incoming.* "$lib"/*.new.* "$physical_bin"/leoflow*.new.*; do
    if [ -e "$left" ] || [ -L "$left" ]; then rm -rf "$left"; fi
  done
  incoming=$lib/.incoming.$$
  mkdir "$incoming"
  command -v tar >/dev/null 2>&1 || fail "tar is not there to unpack with" "install tar and gzip, and run this again"
  # -o: the files are ours, also when root unpacks.
  tar -xzof "$work/$archive" -C "$incoming" 2>"$work/why" ||
    fail "could not unpack $archive: $(tail -n 1 "$work/why")" \
      "free some space where $lib is (\`df -h $lib\`), and run this again"
  fresh=$incoming/leoflow-$version
  node=$fresh/lib/node
  # The launchers' own home and settings play no part in this.
  said=$("$fresh/bin/leoflow" version 2>&1) || said="exit code $?: $said"
  case $said in
    "leoflow $version "*) ;;
    *)
      case $said in
        *libstdc++* | *libatomic*) way_out="install the library that it names (libstdc++6, libatomic1) and run this again" ;;
        *) way_out="report it with these lines; what was installed before is as it was" ;;
      esac
      fail "Leoflow $version does not run on this machine. \`leoflow version\` says: $said" "$way_out" ;;
  esac
  good "Unpacked and tried it"

  folder=$lib/$version-$(printf '%.12s' "$expected")
  number=1
  until [ ! -e "$folder" ]; do
    # The same version once more: its files are used again, or, where they were changed, left to whoever runs on them.
    if diff -rq "$fresh" "$folder" >/dev/null 2>&1; then break; fi
    number=$((number + 1))
    folder=$lib/$version-$(printf '%.12s' "$expected").$number
  done
  if [ ! -e "$folder" ]; then move "$fresh" "$folder"; fi
  node=$folder/lib/node
  rm -rf "$incoming"
  incoming=''
}

# rename(2), which `mv` is not where the target is a link to a folder. The new version's own Node was just tried.
move() {
  # shellcheck disable=SC2016 # JavaScript
  "$node" -e 'require("fs").renameSync(process.argv[1], process.argv[2])' "$1" "$2" >"$work/why" 2>&1 ||
    fail "could not rename $1 to $2: $(grep -m 1 Error "$work/why" || :)" "look at that folder, and run this again"
}

put_link() {
  rm -f "$2.new.$$"
  ln -s "$1" "$2.new.$$"
  move "$2.new.$$" "$2"
}

switch() {
  name=${folder##*/}
  before=''
  if [ -L "$lib/current" ]; then before=$(readlink "$lib/current"); fi
  if [ -n "$before" ] && [ "$before" != "$name" ] && [ -d "$lib/$before" ]; then put_link "$before" "$lib/previous"; fi
  put_link "$name" "$lib/current"
  for program in $PROGRAMS; do
    link=$to_lib/current/bin/$program
    if [ "$(readlink "$physical_bin/$program" 2>/dev/null || :)" != "$link" ]; then
      put_link "$link" "$physical_bin/$program"
    fi
  done
  remove_old_versions
}

# The previous one stays: it is the way back. So does one that something still runs on.
remove_old_versions() {
  previous=$(readlink "$lib/previous" 2>/dev/null || :)
  for old in "$lib"/[0-9]*; do
    case ${old##*/} in "$name" | "$previous") continue ;; esac
    if [ ! -d "$old" ] || is_running "$old"; then continue; fi
    rm -rf "$old" || :
  done
}

is_running() {
  if [ -e /proc/self/exe ]; then
    # shellcheck disable=SC2010,SC2012 # one process instead of one for each link
    ls -l /proc/[0-9]*/exe 2>/dev/null | grep -q -F " $1/"
  else
    # shellcheck disable=SC2009 # pgrep cannot search for fixed strings
    ps -axww -o args= 2>/dev/null | grep -v grep | grep -q -F "$1/"
  fi
}

report() {
  was=''
  if [ -n "$before" ] && [ "$before" != "$name" ]; then was=" (was ${before%-*})"; fi
  good "${bold}Leoflow $version is installed$plain$was"
  printf '    commands   %s/{leoflow,leoflow-server,leoflow-agent}\n' "$bin"
  printf '    files      %s\n' "$folder"
  if [ -n "$was" ]; then printf '    previous   %s\n' "$lib/$before"; fi
}

# --- afterwards -----------------------------------------------------------------------------------------------------

put_on_path() {
  if on_path "$bin"; then
    first=$(command -v leoflow 2>/dev/null || :)
    if [ -n "$first" ] && [ "$first" != "$bin/leoflow" ] && [ ! "$first" -ef "$bin/leoflow" ]; then
      warn "\`leoflow\` is $first, which comes before $bin on PATH: remove it, or call $bin/leoflow"
    fi
    return 0
  fi
  if is_set "${LEOFLOW_NO_PATH:-}" || is_sudo; then
    warn "$bin is not on PATH: call $bin/leoflow, or add that folder"
    return 0
  fi
  case $bin in
    *[:\'\"\\\$\`]*)
      warn "$bin is not on PATH, and its name is too odd to be added by a script"
      return 0 ;;
  esac
  sh_line="case \":\$PATH:\" in *\":$bin:\"*) ;; *) export PATH=\"$bin:\$PATH\" ;; esac $MARK"
  case ${SHELL:-/bin/sh} in
    */zsh) add_line "${ZDOTDIR:-$HOME}/.zshrc" "$sh_line" ;;
    */fish) add_line "${XDG_CONFIG_HOME:-$HOME/.config}/fish/config.fish" "contains -- \"$bin\" \$PATH; or set -gx PATH \"$bin\" \$PATH $MARK" ;;
    */bash)
      add_line "$HOME/.bashrc" "$sh_line"
      # A login shell reads only the first of these, and not always .bashrc from there.
      login=$HOME/.profile
      if [ "$os" = darwin ]; then login=$HOME/.bash_profile; fi
      for profile in .bash_login .bash_profile; do
        if [ -f "$HOME/$profile" ]; then login=$HOME/$profile; fi
      done
      add_line "$login" "$sh_line" ;;
    *) add_line "$HOME/.profile" "$sh_line" ;;
  esac
  printf '    Open a new terminal, or type this in the one you have:\n      %s\n' "export PATH=\"$bin:\$PATH\""
}

# Appended, so that a profile is never half written; never twice. `leoflow uninstall` finds the files by this list.
add_line() {
  if [ -f "$1" ] && grep -q -x -F -- "$2" "$1" 2>/dev/null; then return 0; fi
  new_line=''
  if [ -s "$1" ] && [ -n "$(tail -c 1 "$1" 2>/dev/null)" ]; then
    new_line='
'
  fi
  if mkdir -p "${1%/*}" 2>/dev/null && printf '%s%s\n' "$new_line" "$2" 2>/dev/null >>"$1"; then
    grep -q -x -F -- "$1" "$lib/profiles" 2>/dev/null || printf '%s\n' "$1" >>"$lib/profiles"
    good "Added $bin to PATH in $1"
  else
    warn "could not write to $1; to have \`leoflow\` on PATH add: $2"
  fi
}

tell_running_lite() {
  lite_pid=$(sed -n 's/.*"pid": *\([0-9][0-9]*\).*/\1/p' "$leoflow_home/lite.lock" 2>/dev/null || :)
  if [ -z "$lite_pid" ] || ! is_alive "$lite_pid"; then return 0; fi
  # The number may have gone to another program since.
  lite_started=$(sed -n 's/.*"started": *"\([^"]*\)".*/\1/p' "$leoflow_home/lite.lock")
  if [ -r "/proc/$lite_pid/stat" ] &&
    [ "$(sed 's/^.*) //' "/proc/$lite_pid/stat" | cut -d ' ' -f 20)" != "$lite_started" ]; then return 0; fi
  warn "Leoflow Lite is running (process $lite_pid) and goes on with the version it was started from."
  printf '    %s\n' "restart it to use $version: press Ctrl-C where it runs (or \`kill $lite_pid\`), then \`leoflow lite\`"
}

# Keeps everything that exists. The script itself usually comes through stdin, so questions go to the terminal.
set_up() {
  if is_set "${LEOFLOW_NO_SETUP:-}"; then
    printf '    next       leoflow setup, then leoflow lite\n'
    return 0
  fi
  if is_sudo; then
    printf '    next       leoflow setup, as %s and without sudo, then leoflow lite\n' "${SUDO_USER:-${DOAS_USER:-yourself}}"
    return 0
  fi
  printf '\n'
  status=0
  if ! is_set "${LEOFLOW_NONINTERACTIVE:-}" && [ -t 1 ] && (: </dev/tty) 2>/dev/null; then
    "$bin/leoflow" setup </dev/tty || status=$?
  else
    "$bin/leoflow" setup --yes </dev/null || status=$?
  fi
  [ "$status" -ne 0 ] || return 0
  warn "Leoflow $version is installed, but its set-up did not finish; run \`leoflow setup\` again"
  exit "$status"
}

# The files of the user who called sudo must not become root's.
is_sudo() {
  [ "$(id -u)" -eq 0 ] && [ -n "${SUDO_USER:-}${DOAS_USER:-}" ] && [ "${SUDO_USER:-}" != root ]
}

# --- small things ---------------------------------------------------------------------------------------------------

absolute() {
  # shellcheck disable=SC2088 # a tilde that no shell has looked at
  case $1 in
    '~') set -- "$HOME" ;;
    '~/'*) set -- "$HOME/${1#??}" ;;
    /*) ;;
    *) set -- "$PWD/$1" ;;
  esac
  while [ "${1%/}" != "$1" ] && [ -n "${1%/}" ]; do set -- "${1%/}"; done
  printf '%s\n' "$1"
}

on_path() {
  case ":$PATH:" in
    *":$1:"* | *":$1/:"*) return 0 ;;
  esac
  return 1
}

is_set() {
  case $1 in
    '' | 0 | false | no) return 1 ;;
  esac
}

good() {
  printf '  %s✓%s %s\n' "$green" "$plain" "$1"
}

warn() {
  printf '  ! %s\n' "$1"
}

fail() {
  printf '%serror:%s %s\n  fix: %s\n' "$red" "$plain" "$1" "$2" >&2
  exit "${exit_code:-1}"
}

clean_up() {
  status=$?
  trap - EXIT
  [ -z "$work" ] || rm -rf "$work"
  [ -z "$incoming" ] || rm -rf "$incoming"
  drop_lock
  exit "$status"
}

main "$@"
