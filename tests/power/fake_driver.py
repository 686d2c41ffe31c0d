"""A fake INA3221 driver: writes square waves into current files and logs what it served when.

Run with a JSON plan; ends when its stdin does. The values waver, as a real converter's do.
"""

from __future__ import annotations

import json
import os
import random
import select
import sys
import time


def main() -> None:
    plan = json.loads(sys.argv[1])
    begin, waver_ma = time.monotonic_ns(), plan["waver_ma"]
    for wave in plan["waves"]:
        wave["file"] = os.open(wave["current"], os.O_WRONLY)
        os.truncate(wave["file"], 0)
    step = 0
    digits = random.Random(1)  # noqa: S311 - noise
    with open(plan["log"], "w", buffering=1, encoding="ascii") as log:  # noqa: PTH123 - a script
        while True:
            now_s = (time.monotonic_ns() - begin) * 1e-9
            for wave in plan["waves"]:
                high = now_s % wave["period_s"] < wave["period_s"] / 2
                milliamps = int(wave["high_ma"] if high else wave["low_ma"])
                milliamps += digits.randint(0, waver_ma)
                # In place and of one width: a driver's file keeps its identity and is never empty.
                os.pwrite(wave["file"], b"%7d\n" % milliamps, 0)
                log.write(f"{wave['rail']} {time.monotonic_ns()} {milliamps}\n")
            if step == 0:
                sys.stdout.write("serving\n")
                sys.stdout.flush()
            step += 1
            wait_s = step * plan["update_s"] - (time.monotonic_ns() - begin) * 1e-9
            if select.select([sys.stdin], [], [], max(0.0, wait_s))[0]:
                return


if __name__ == "__main__":
    main()
