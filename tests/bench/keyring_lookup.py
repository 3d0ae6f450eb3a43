# SPDX-License-Identifier: GPL-3.0-or-later
"""What one look-up takes in a Python that runs already, with the backend that keyring finds in it.

Prints as JSON the seconds of each of COUNT look-ups (after a first one, which loads everything), and the
start of the token's SHA-256, to compare it.

Usage: python -I keyring_lookup.py URL COUNT
"""

from __future__ import annotations

import hashlib
import json
import sys
import time

import keyring


def main() -> int:
    """Look up and tell."""
    url, count = sys.argv[1], int(sys.argv[2])
    found = keyring.get_credential(url, None)
    if found is None:
        print(f"no credential for {url} from {type(keyring.get_keyring()).__module__}")
        return 1
    seconds = []
    for _number in range(count):
        start = time.perf_counter()
        again = keyring.get_credential(url, None)
        seconds.append(round(time.perf_counter() - start, 7))
        if again is None or again.password != found.password:
            print("a later look-up did not find the same")
            return 1
    json.dump(
        {"seconds": seconds, "digest": hashlib.sha256(found.password.encode()).hexdigest()[:16]}, sys.stdout
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
