"""What a cell's values depend on besides the device, as it is in this run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_gaitperf.baseline.cells import Fingerprint
from pytest_gaitperf.errors import GaitperfError
from pytest_gaitperf.files import content_hash
from pytest_gaitperf.load.data import DEFAULT_DATA
from pytest_gaitperf.metrics import GATED, PEAKS, QUANTITIES, of_energy

if TYPE_CHECKING:
    from pytest_gaitperf.engine.resources import Resources
    from pytest_gaitperf.measurement import Measurement
    from pytest_gaitperf.workload import Workload


class Fingerprints:
    """Gathers what measured cells depended on, to compare them with the past."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._hashes: dict[tuple[str, int], str] = {}

    def of(self, workload: Workload, measurement: Measurement) -> Fingerprint:
        """Return the fingerprint of a cell as it was measured."""
        server = self._resources.server
        model = server.model(workload.model, workload.version)
        shapes = dict(workload.shapes)
        open_ = any(
            spec.name in shapes and (spec.optional or -1 in spec.shape) for spec in model.inputs
        )
        rails = self._rails(measurement)
        beside = dict.fromkeys(PEAKS, "+".join(measurement.loads)) if measurement.loads else {}
        beside |= self._answers(measurement)
        return Fingerprint(
            triton=server.version,
            signature=model.signature,
            protocol=workload.protocol,
            transport=workload.transport,
            data="" if measurement.data == DEFAULT_DATA else measurement.data,
            rails={one: rails for one in GATED if of_energy(one)} if rails else beside,
            content=self._content_hash(workload.model),
            version=workload.version,
            shapes=shapes,
            # A file says itself which shapes were sent.
            open_shapes=open_ and not workload.data.startswith("sha256:"),
        )

    def known(self, workload: Workload, measurement: Measurement) -> Fingerprint | None:
        """Return it, None of a sustained load whose server is gone: what was measured is kept."""
        try:
            return self.of(workload, measurement)
        except GaitperfError:
            if measurement.sustained is None:
                raise
            return None

    def _answers(self, measurement: Measurement) -> dict[str, str]:
        """Name, by metric, what a model's answers were compared with, a model with its files."""
        found = measurement.accuracy
        if found is None:
            return {}
        name, _, version = found.reference.rpartition("@")
        content = self._content_hash(name) if version.isdecimal() else ""
        files = {"output_error": f" {content}" if content else ""}
        names = [one for one in QUANTITIES["accuracy"] if one in measurement.metrics]
        return {one: found.compared_with(one) + files.get(one, "") for one in names}

    def _rails(self, measurement: Measurement) -> str:
        """Name the rails of the total and their shunts; of an estimate, its watts."""
        if measurement.energy_estimated:
            return self._resources.settings.power
        rails, metering = "+".join(measurement.energy_rails), self._resources.opened_metering
        calibration = metering.calibration if rails and metering is not None else ""
        return f"{rails} ({calibration})" if calibration else rails

    def _content_hash(self, model: str) -> str:
        key = model, self._resources.starts  # a server started anew reads the files anew
        if key not in self._hashes:
            directory = self._resources.settings.triton_repository / model
            ours = self._resources.server.mode != "attach" and directory.is_dir()
            self._hashes[key] = content_hash(directory) if ours else ""
        return self._hashes[key]


def changed(workload: Workload, before: Fingerprint, now: Fingerprint) -> bool:
    """Return whether a cell is another one by now; a model by itself has more loads later."""
    return now != (replace(before, rails=now.rails) if workload.alone else before)
