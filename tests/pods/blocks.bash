# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# What test files of pods share: the commands that the documentation has for a user to paste.

# block FILE HEADING N: the Nth block of commands below that heading, and above the next one as high.
block() {
    awk -v heading="$2" -v wanted="$3" '
        !code && /^#+ / { level = index($0, " "); if (level <= index(heading, " ")) below = $0 == heading }
        /^```/ { code = !code; here = code && below && $0 == "```sh" && ++n == wanted; next }
        here' "$ROOT/$1"
}
