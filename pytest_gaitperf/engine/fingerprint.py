"""What a cell's values depend on besides the device, as it is in this run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_gaitperf.baseline.cells import Fingerprint
from pytest_gaitperf.files import content_hash
from pytest_gaitperf.load.data import DEFAULT_DATA

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
        return Fingerprint(
            triton=server.version,
            signature=model.signature,
            protocol=workload.protocol,
            transport=workload.transport,
            data="" if measurement.data == DEFAULT_DATA else measurement.data,
            rails={"energy_per_inference": rails} if rails else {},
            content=self._content_hash(workload.model),
            version=workload.version,
            shapes=shapes,
            # A file says itself which shapes were sent.
            open_shapes=open_ and not workload.data.startswith("sha256:"),
        )

    def _rails(self, measurement: Measurement) -> str:
        """Name the rails of the total; an estimate also by its watts, so that they never mix."""
        if measurement.energy_estimated:
            return self._resources.settings.power
        return "+".join(measurement.energy_rails)

    def _content_hash(self, model: str) -> str:
        key = model, self._resources.starts  # a server started anew reads the files anew
        if key not in self._hashes:
            directory = self._resources.settings.triton_repository / model
            ours = self._resources.server.mode != "attach" and directory.is_dir()
            self._hashes[key] = content_hash(directory) if ours else ""
        return self._hashes[key]
