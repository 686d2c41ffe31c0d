"""A self-hosted runner of GitHub's on this machine: one of them, and not as root."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_gaitperf.doctor.finding import Finding
from pytest_gaitperf.host.files import text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_gaitperf.doctor.finding import Machine

_SERVICES = "etc/systemd/system"


def runner(machine: Machine) -> Iterator[Finding]:
    """Find the runner's services, as its ``svc.sh install`` writes them; see docs/ci.md."""
    services = sorted((machine.root / _SERVICES).glob("actions.runner.*.service"))
    if not services:
        what = "no self-hosted runner is a service here (needed for CI only: docs/ci.md)"
        yield Finding("runner", "ok", what)
        return
    if len(services) > 1:
        what = f"{len(services)} runners on one device measure beside each other"
        command = f"sudo systemctl disable --now {services[-1].name}"
        yield Finding("runner", "fix", what, "leave one of them", command)
    for service in services:
        user = re.search(r"^User=(\S+)", text(service) or "", re.MULTILINE)
        name = user[1] if user else "root"
        if name == "root":
            what = f"{service.name} runs as root: whoever may start a job owns the device"
            advice = "give it a user of its own, and install the service for that one (docs/ci.md)"
            command = "sudo ./svc.sh uninstall && sudo ./svc.sh install USER"
            yield Finding("runner", "warn", what, advice, command)
        else:
            yield Finding("runner", "ok", f"{service.name} runs as {name}")


CHECKS = (runner,)
